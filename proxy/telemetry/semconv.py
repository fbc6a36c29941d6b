"""What the facts of a span are called outside: the one table of attribute names.

The conventions for generative AI are still moving, so nobody else writes such a name: spans are made of facts, and this says how each is
spelled in OpenTelemetry's conventions, in OpenInference (which Phoenix reads) and, where neither has a word, with our own prefix.
docs/tracing.md shows the same table; a test compares them. Pure.

Source: OpenTelemetry semantic conventions v1.42 (HTTP, general; all of gen_ai is of status Development) and its successor repository
semantic-conventions-genai (guardrail spans, proposed); OpenInference semantic conventions, autumn 2026.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

SpanKind = Literal["exchange", "admit", "model", "tool", "guard"]
Value = str | bool | int | float | tuple[str, ...]
Facts = dict[str, Value]

MAX_TEXT = 256
"""Characters of an attribute's text that are kept: agents, sessions and paths are other people's words."""
MAX_LONG = 1024
"""The same of what is a sentence."""
LONG = frozenset({"message", "words", "remedy", "route_why"})
CONTENT = frozenset({"input_messages", "output_messages"})
"""What is bounded where it is kept (`telemetry.capture_kb`), and JSON that would be none when it is cut."""
OURS = "fleetgate."


@dataclass(frozen=True, slots=True)
class Named:
    """One fact: its names outside, the kinds of spans that may have it, and what it is."""

    fact: str
    names: tuple[str, ...]
    spans: tuple[SpanKind, ...]
    words: str


def _all(fact: str, names: str, words: str) -> Named:
    return Named(fact, tuple(names.split()), ("exchange", "admit", "model", "tool", "guard"), words)


def _of(spans: str, fact: str, names: str, words: str) -> Named:
    return Named(fact, tuple(names.split()), tuple(spans.split()), words)  # type: ignore[arg-type]


TABLE = (
    _all("kind", "openinference.span.kind", "`AGENT`, `CHAIN`, `LLM`, `TOOL` or `GUARDRAIL`"),
    _all("agent", "gen_ai.agent.id gen_ai.agent.name agent.name", "The agent"),
    _all("session", "gen_ai.conversation.id session.id", "The session, in the agent's namespace"),
    _of("exchange", "version", "gen_ai.agent.version", "The version of its file"),
    _of("exchange", "team", "fleetgate.team", "Its team"),
    _of("exchange", "run", "fleetgate.run", "The run that it draws from"),
    _of("exchange", "parent", "fleetgate.parent", "Who began it"),
    _of("exchange", "id", "fleetgate.request_id", "The request id: `fleetgate explain ID`"),
    _of("exchange", "method", "http.request.method", "The client's request"),
    _of("exchange", "path", "url.path", "Its path, without the query"),
    _of("exchange", "http_route", "http.route", "The same with a model's name left out"),
    _of("exchange", "status", "http.response.status_code", "The status that the client got"),
    _of("exchange", "bytes_in", "http.request.body.size", "Bytes of the request's body"),
    _of("exchange", "bytes_out", "http.response.body.size", "Bytes of the reply's body"),
    _of("exchange", "protocol", "fleetgate.protocol", "The client's dialect"),
    _of("exchange", "outcome", "fleetgate.outcome", "`ok`, `denied`, `upstream_error`, `client_gone`, `error`"),
    _of("exchange", "reason", "fleetgate.reason", "The reason of a refusal or cut (docs/errors.md)"),
    _of("exchange", "rule", "fleetgate.rule", "The rule that refused, with file and line"),
    _of("exchange", "route", "fleetgate.route", "`requested`, `local`, `fallback`, `downgrade`"),
    _of("exchange", "route_why", "fleetgate.route.why", "Why"),
    _of("exchange", "difficulty", "fleetgate.difficulty", "The score, where there is one"),
    _of("exchange", "loop", "fleetgate.loop", "What the loop detector said"),
    _of("exchange", "saved", "fleetgate.saved_usd", "Dollars saved by the route"),
    _of("exchange", "policy", "fleetgate.policy_digest", "The digest of the effective policy"),
    _of("exchange", "config", "fleetgate.config", "The version of the configuration"),
    _of("exchange model", "cost", "fleetgate.cost_usd", "Dollars charged"),
    _of("exchange", "carbon", "fleetgate.carbon.gco2e", "Grams of CO2 equivalents that it took, at most, as estimated"),
    _of("exchange", "carbon_low", "fleetgate.carbon.gco2e_low", "The same, at least"),
    _of("exchange", "energy", "fleetgate.energy.wh", "Watt-hours that it took, at most, as estimated"),
    _of("exchange", "energy_low", "fleetgate.energy.wh_low", "The same, at least"),
    _of("exchange model", "error", "error.type", "What failed: a reason, or a provider's status"),
    _of("model", "paid", "llm.cost.total", "The same, where OpenInference looks for it"),
    _of("model", "operation", "gen_ai.operation.name", "`chat`, `generate_content`, `text_completion`, `embeddings`"),
    _of("model", "vendor", "gen_ai.provider.name llm.provider", "The provider by its well-known name, else by yours"),
    _of("model", "provider", "fleetgate.provider", "The provider as the configuration calls it"),
    _of("model", "asked", "gen_ai.request.model", "The model that the provider was asked for"),
    _of("model", "served", "gen_ai.response.model llm.model_name", "The model that it says has answered, else the same"),
    _of("model", "wanted", "fleetgate.model_asked", "The model that the client wrote"),
    _of("model", "stream", "gen_ai.request.stream", "Whether it is a stream"),
    _of("model", "max_output", "gen_ai.request.max_tokens", "The output ceiling that was sent"),
    _of("model", "choices", "gen_ai.request.choice.count", "How many answers were asked for, if not one"),
    _of("model", "reply_id", "gen_ai.response.id", "The provider's id of the reply"),
    _of("model", "finish", "gen_ai.response.finish_reasons", "Why it ended"),
    _of("model", "ttft", "gen_ai.response.time_to_first_chunk", "Seconds to the first byte of a stream"),
    _of("model", "input", "gen_ai.usage.input_tokens llm.token_count.prompt", "Tokens of input, cached ones among them"),
    _of("model", "output", "gen_ai.usage.output_tokens llm.token_count.completion", "Tokens of output, reasoning among them"),
    _of("model", "total", "llm.token_count.total", "Both"),
    _of(
        "model",
        "cache_read",
        "gen_ai.usage.cache_read.input_tokens llm.token_count.prompt_details.cache_read",
        "Of the input: read from the provider's cache",
    ),
    _of(
        "model",
        "cache_write",
        "gen_ai.usage.cache_creation.input_tokens llm.token_count.prompt_details.cache_write",
        "Of the input: written to it",
    ),
    _of(
        "model",
        "reasoning",
        "gen_ai.usage.reasoning.output_tokens llm.token_count.completion_details.reasoning",
        "Of the output: hidden reasoning",
    ),
    _of("model", "exact", "fleetgate.usage_exact", "Whether the provider said so; else it is a bound"),
    _of("model", "upstream_status", "http.response.status_code", "The provider's status"),
    _of("model", "cause", "fleetgate.fallback.cause", "Why another one took its place"),
    _of(
        "exchange model",
        "input_messages",
        "gen_ai.input.messages input.value",
        "What was new in the request, where `telemetry.capture` is on and the agent's `data.log_content` is `redacted` or `full`; on the "
        "exchange where no model was asked",
    ),
    _of("exchange model", "input_kind", "input.mime_type", "`application/json`"),
    _of("model", "output_messages", "gen_ai.output.messages output.value", "What the client was given, likewise"),
    _of("model", "output_kind", "output.mime_type", "`application/json`"),
    _of("tool", "tool_operation", "gen_ai.operation.name", "`execute_tool`"),
    _of("tool", "tool", "gen_ai.tool.name tool.name", "The tool that the model called"),
    _of("tool", "call_id", "gen_ai.tool.call.id tool_call.id", "The id of the call"),
    _of("tool", "passed", "fleetgate.tool.passed", "Whether the call was let through to the client"),
    _of("guard", "guard_operation", "gen_ai.operation.name", "`run_guardrail`"),
    _of("guard", "guard", "gen_ai.guardrail.component.name", "The guard or stage"),
    _of("guard", "verdict", "gen_ai.guardrail.verdict.type", "What it found: `warn`, `modify`, `deny`"),
    _of("guard", "action", "gen_ai.guardrail.action.type", "What was done: `allow`, `modify`, `deny`; `allow` after `deny` is a dry run"),
    _of("guard", "rule_id", "gen_ai.guardrail.security.policy.rule.id", "The rule"),
    _of("guard", "policy_id", "gen_ai.guardrail.security.policy.id", "Where it is written"),
    _of("guard", "words", "gen_ai.guardrail.verdict.reason", "Its words"),
)
"""Every attribute that a span can have, but for the members of baggage, which are named as they came behind `BAGGAGE`."""
BAGGAGE = "baggage."
DECISION = "fleetgate.decision"
"""The event for what a stage noted; its attributes are `fleetgate.stage` and `fleetgate.words`."""

_BY_SPAN: dict[str, dict[str, tuple[str, ...]]] = {}
for _row in TABLE:
    for _span in _row.spans:
        _BY_SPAN.setdefault(_span, {})[_row.fact] = _row.names

VENDORS = {
    "anthropic": "anthropic",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "groq": "groq",
    "mistral": "mistral_ai",
    "openai": "openai",
    "perplexity": "perplexity",
    "vertex": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
"""Well-known values of `gen_ai.provider.name` by a word in the provider's name, looked for in this order."""


def vendor_of(provider: str) -> str:
    """Return what the conventions call the provider of that name in the configuration; itself where they do not know it."""
    low = provider.lower()
    return next((known for word, known in VENDORS.items() if word in low), provider)


def attributes(span: SpanKind, facts: Mapping[str, Value]) -> dict[str, Value]:
    """Return `facts` by their names outside, bounded. Empty texts are left out; a fact that such a span has no name for is an error.

    Raises:
        KeyError: the table has no such fact for such a span.
    """
    names = _BY_SPAN[span]
    found: dict[str, Value] = {}
    for fact, value in facts.items():
        if isinstance(value, str):
            if not value:
                continue
            if fact not in CONTENT:
                value = text(value, MAX_LONG if fact in LONG else MAX_TEXT)
        for name in names[fact]:
            found[name] = value
    return found


def text(value: str, most: int = MAX_TEXT) -> str:
    """Return `value` cut to `most` characters, as what UTF-8 can carry and without control characters."""
    cut = value if len(value) <= most else value[: most - 1] + "…"
    if cut.isprintable():
        return cut.encode("utf-8", "replace").decode() if not cut.isascii() else cut
    return "".join([c if c.isprintable() else "�" for c in cut]).encode("utf-8", "replace").decode()


def table(rows: Iterable[Named] = TABLE) -> str:
    """Return the table of docs/tracing.md."""
    lines = ["| attribute | spans | what it is |", "|---|---|---|"]
    for row in rows:
        where = "all" if len(row.spans) == 5 else ", ".join(row.spans)
        lines.append(f"| {', '.join(f'`{name}`' for name in row.names)} | {where} | {row.words} |")
    return "\n".join(lines)
