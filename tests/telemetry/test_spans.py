"""The spans of finished exchanges: their shape, their times, what they say, and that nothing in a record can break one."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_samples import MS, REFUSED, SERVED, STRANGER

from proxy.engine.record import Record
from proxy.engine.trace import begun
from proxy.telemetry.content import Content, Part, Turn
from proxy.telemetry.otlp_messages import Resource, span_message, traces_request
from proxy.telemetry.semconv import MAX_TEXT, TABLE, attributes, table, text, vendor_of
from proxy.telemetry.spans import MAX_CHILDREN, MAX_EVENTS, Details, Kept, Span, spans_of

ID = "0123456789ab" + "c0ffee" * 3 + "01"
START = 1_795_244_760_500_000_000
DETAILS = Details(
    "POST",
    "/v1/chat/completions",
    "/v1/chat/completions",
    reply_id="chatcmpl-1",
    finish="tool_calls",
    served="gpt-5-mini-2026",
    tools=(("read_file", "c1", True), ("rm", "c2", False)),
    max_output=800,
    modes=(("secrets", "redact"), ("pii", "block"), ("log_content", "hash")),
    links=(("ab" * 16, "cd" * 8),),
)


def kept(record: Record = SERVED, details: Details = DETAILS) -> Kept:
    trace = begun(ID, None, 1.0)
    trace.attempts = 1
    return Kept(replace(record, id=ID), trace, details)


def made(record: Record = SERVED, details: Details = DETAILS) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = {}
    for span in spans_of(kept(record, details)):
        found.setdefault(span.span, []).append(span)
    return found


def test_they_form_one_tree() -> None:
    spans = spans_of(kept())
    assert [span.name for span in spans] == [
        "POST /v1/chat/completions",
        "admit",
        "chat gpt-5-mini",
        "execute_tool read_file",
        "execute_tool rm",
        "run_guardrail secrets",
        "run_guardrail model_not_allowed",
    ]
    own, _, model, *_ = spans
    assert [span.parent for span in spans] == ["", own.span_id, own.span_id, model.span_id, model.span_id, own.span_id, own.span_id]
    assert len({span.span_id for span in spans}) == len(spans)
    assert {span.trace_id for span in spans} == {ID}


def test_they_lie_within_the_exchange() -> None:
    found = made()
    (own,), (admit,), (model,) = found["exchange"], found["admit"], found["model"]
    assert (own.start, own.end) == (START, START + 1004 * MS)
    assert (admit.start, admit.end) == (START, START + 2 * MS)
    assert (model.start, model.end) == (START + 3 * MS, START + 1003 * MS)
    assert all(own.start <= span.start <= span.end <= own.end for spans in found.values() for span in spans)


def test_the_exchange_says_who_and_what_became_of_it() -> None:
    (own,) = made()["exchange"]
    said = own.attributes
    assert said["gen_ai.agent.id"] == said["agent.name"] == "invoice-triage"
    assert said["gen_ai.conversation.id"] == said["session.id"] == "s-1"
    assert said["gen_ai.agent.version"] == "1.4.0"
    assert said["openinference.span.kind"] == "AGENT"
    assert said["http.response.status_code"] == 200
    assert said["fleetgate.request_id"] == ID
    assert said["fleetgate.cost_usd"] == pytest.approx(0.012345678)
    assert said["fleetgate.difficulty"] == 0.12
    assert own.links == (("ab" * 16, "cd" * 8),)
    assert [event.attributes["fleetgate.stage"] for event in own.events] == ["policy", "budget"]
    assert not own.failed
    assert "fleetgate.reason" not in said


def test_the_model_says_what_it_used() -> None:
    (model,) = made()["model"]
    said = model.attributes
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.provider.name"] == said["llm.provider"] == said["fleetgate.provider"] == "openai"
    assert (said["gen_ai.request.model"], said["gen_ai.response.model"]) == ("gpt-5-mini", "gpt-5-mini-2026")
    assert said["fleetgate.model_asked"] == "gpt-5"
    assert said["gen_ai.usage.input_tokens"] == said["llm.token_count.prompt"] == 5000 + 2000 + 42
    assert said["gen_ai.usage.output_tokens"] == 600
    assert said["llm.token_count.total"] == 7642
    assert said["gen_ai.usage.cache_read.input_tokens"] == 2000
    assert said["gen_ai.usage.cache_creation.input_tokens"] == 42
    assert said["gen_ai.usage.reasoning.output_tokens"] == 100
    assert said["gen_ai.response.finish_reasons"] == ("tool_calls",)
    assert said["gen_ai.request.max_tokens"] == 800
    assert said["gen_ai.response.time_to_first_chunk"] == 0.4
    assert said["llm.cost.total"] == said["fleetgate.cost_usd"] == pytest.approx(0.012345678)
    assert "error.type" not in said


def test_tool_calls_say_whether_they_passed() -> None:
    read, rm = made()["tool"]
    assert (read.attributes["gen_ai.tool.name"], read.attributes["fleetgate.tool.passed"]) == ("read_file", True)
    assert (rm.attributes["gen_ai.tool.call.id"], rm.attributes["fleetgate.tool.passed"]) == ("c2", False)
    assert read.attributes["gen_ai.operation.name"] == "execute_tool"


def verdicts(record: Record, details: Details = DETAILS) -> list[tuple[object, ...]]:
    """Guard, verdict, action and rule of each guard span."""
    keys = ("component.name", "verdict.type", "action.type", "security.policy.rule.id")
    return [tuple(span.attributes.get(f"gen_ai.guardrail.{key}") for key in keys) for span in made(record, details)["guard"]]


def test_verdict_and_action_are_apart() -> None:
    findings = (("secrets/aws-key", "1 place"), ("pii/iban", ""), ("injection/override", ""), ("shadow/model_not_allowed", "AGENTS.md:9"))
    assert verdicts(replace(SERVED, findings=findings)) == [
        ("secrets", "modify", "modify", "secrets/aws-key"),
        ("pii", "deny", "allow", "pii/iban"),
        ("injection", "warn", "allow", "injection/override"),
        ("model_not_allowed", "deny", "allow", "model_not_allowed"),
    ]


def test_what_a_guard_stopped_is_a_deny_in_both() -> None:
    record = replace(SERVED, findings=(("pii/iban", ""), ("tool_call_blocked", "AGENTS.md:12")))
    assert verdicts(record) == [("pii", "deny", "deny", "pii/iban"), ("tool_call_blocked", "deny", "deny", "tool_call_blocked")]


def test_a_refusal_is_told_by_the_stage_that_refused() -> None:
    record = replace(REFUSED, decisions=(("policy", "fine"), ("budget", "refused: fleet-month is spent. [budgets/fleet.yaml:3]")))
    assert verdicts(record, Details("POST")) == [("budget", "deny", "deny", "budget_exceeded")]
    found = made(record, Details("POST"))
    assert set(found) == {"exchange", "admit", "guard"}
    assert found["exchange"][0].attributes["fleetgate.rule"] == "budgets/fleet.yaml:3 budgets[0].limit"
    assert not found["exchange"][0].failed, "a refusal is no failure of the server"


def test_failures_have_the_status_error() -> None:
    record = replace(SERVED, status=502, upstream_status=500, outcome="upstream_error", reason="upstream_error")
    found = made(record)
    assert found["exchange"][0].failed == found["exchange"][0].attributes["error.type"] == "upstream_error"
    assert found["model"][0].failed == found["model"][0].attributes["error.type"] == "500"


def test_replaced_targets_have_spans_of_their_own_before_the_one_that_served() -> None:
    record = replace(SERVED, fallbacks=(("local", "small", "slow", 10, 2, 5_000, MS), ("local", "other", "empty", 0, 0, 0, MS)))
    first, second, served = made(record)["model"]
    assert (first.name, second.name, served.name) == ("chat small", "chat other", "chat gpt-5-mini")
    assert (first.start, first.end, second.end) == (START + MS, START + 2 * MS, START + 3 * MS)
    assert first.attributes["fleetgate.fallback.cause"] == first.failed == "slow"
    assert served.attributes["fleetgate.cost_usd"] == pytest.approx(0.012345678 - 0.000005)
    assert served.span_id == begun(ID, None, 1.0).attempt(3)


def test_who_is_not_known_says_little() -> None:
    found = made(STRANGER, Details("GET", "/nowhere"))
    assert found["exchange"][0].name == "GET"
    assert "gen_ai.agent.id" not in found["exchange"][0].attributes


def test_gemini_and_embeddings_have_their_operations() -> None:
    assert made(replace(SERVED, protocol="gemini"))["model"][0].name == "generate_content gpt-5-mini"
    (model,) = made(replace(SERVED, operation="embeddings"))["model"]
    assert model.attributes["openinference.span.kind"] == "EMBEDDING"
    (other,) = made(replace(SERVED, operation="count_tokens"))["model"]
    assert "gen_ai.usage.input_tokens" not in other.attributes


def test_baggage_is_behind_a_prefix() -> None:
    found = kept()
    found.trace.baggage = (("user.id", "ann\u202e"),)
    assert spans_of(found)[0].attributes["baggage.user.id"] == "ann�"


def test_what_one_exchange_brings_is_bounded() -> None:
    record = replace(SERVED, findings=(("a/b", ""),) * 1000, decisions=(("s", "w" * 5000),) * 1000, agent="x" * 10_000)
    found = made(record, replace(DETAILS, tools=(("t", "c", True),) * 1000))
    assert len(found["guard"]) == len(found["tool"]) == MAX_CHILDREN
    assert len(found["exchange"][0].events) == MAX_EVENTS
    assert len(str(found["exchange"][0].attributes["agent.name"])) == MAX_TEXT
    assert len(str(found["exchange"][0].events[0].attributes["fleetgate.words"])) == 1024


NASTY = st.text(st.characters(), max_size=50) | st.sampled_from(["<script>", '"', "\u202eabc", "=cmd()", "\ud800", "\0", "x" * 5000])


@given(NASTY, NASTY, st.integers(0, 1 << 70))
def test_any_words_become_a_message(words: str, more: str, number: int) -> None:
    record = replace(SERVED, input_tokens=number, findings=((words, more),), decisions=((more, words),))
    for name in [f.name for f in fields(Record) if f.type == "str" and f.name != "id"]:
        setattr(record, name, words)
    details = replace(DETAILS, method="POST", path=words, http_route=more, tools=((words, more, True),), served=words, finish=more)
    spans = spans_of(kept(record, details))
    message = traces_request(Resource({"service.name": "fleetgate"}, "1"), [span_message(span) for span in spans])
    sent = [value.value.string_value for span in message.resource_spans[0].scope_spans[0].spans for value in span.attributes]
    assert all(value.isprintable() for value in sent)


def test_each_name_stands_for_one_fact_of_a_span() -> None:
    for span in ("exchange", "admit", "model", "tool", "guard"):
        names = [name for row in TABLE if span in row.spans for name in row.names]
        assert len(names) == len(set(names)), span


def test_a_fact_without_a_name_is_a_mistake_of_ours() -> None:
    with pytest.raises(KeyError):
        attributes("tool", {"cost": 1.0})


def test_vendors_have_their_well_known_names() -> None:
    assert vendor_of("openai-eu") == "openai"
    assert vendor_of("azure-openai") == "azure.ai.openai"
    assert vendor_of("google") == vendor_of("gemini") == "gcp.gemini"
    assert vendor_of("our-own") == "our-own"


def test_texts_are_cut_and_cleaned() -> None:
    assert text("plain") == "plain"
    assert text("a\nb\u202ec\ud800") == "a�b�c�"
    assert text("é" * 300) == "é" * 255 + "…"


def test_the_table_can_be_shown() -> None:
    assert "| `gen_ai.tool.name`, `tool.name` | tool |" in table()


SAID = Content(
    "x", 1.0, "a", "a/s", "redacted", 2.0,
    (
        Turn("user", (Part("text", "hi \u202e<b>"), Part("media", name="image_url", size=9))),
        Turn("tool", (Part("tool_result", "found", id="c1"), Part("tool_result", ""))),
    ),
    reply=(Turn("assistant", (Part("tool_call", '{"a": 1}', "read", "c2"), Part("tool_call", '{"a": ', "read"))),),
    finish="stop",
)  # fmt: skip
CONTENT = ("gen_ai.input.messages", "gen_ai.output.messages", "input.value", "output.value", "input.mime_type", "output.mime_type")


def test_what_was_said_is_told_as_the_conventions_have_it() -> None:
    found = made(details=replace(DETAILS, content=SAID))
    (own,), (model,) = found["exchange"], found["model"]
    assert not set(CONTENT) & set(own.attributes)
    asked, given_ = (json.loads(str(model.attributes[name])) for name in CONTENT[:2])
    assert asked == [
        {"role": "user", "parts": [{"type": "text", "content": "hi \u202e<b>"}, {"type": "image_url", "size": 9}]},
        {
            "role": "tool",
            "parts": [
                {"type": "tool_call_response", "id": "c1", "response": "found"},
                {"type": "tool_call_response", "id": None, "response": ""},
            ],
        },
    ]
    call = {"type": "tool_call", "id": "c2", "name": "read", "arguments": {"a": 1}}
    cut = {"type": "tool_call", "id": None, "name": "read", "arguments": '{"a": '}
    assert given_ == [{"role": "assistant", "parts": [call, cut], "finish_reason": "stop"}]
    assert [model.attributes[name] for name in CONTENT[2:4]] == [model.attributes[name] for name in CONTENT[:2]]
    assert {model.attributes[name] for name in CONTENT[4:]} == {"application/json"}


def test_of_a_refused_call_the_exchange_tells_it() -> None:
    (own,) = made(REFUSED, replace(DETAILS, content=SAID))["exchange"]
    assert "found" in str(own.attributes["gen_ai.input.messages"])
    assert "gen_ai.output.messages" not in own.attributes


@pytest.mark.parametrize("content", [None, replace(SAID, level="hash"), replace(SAID, request=(), reply=())])
def test_where_no_text_is_kept_none_is_told(content: Content | None) -> None:
    for spans in made(details=replace(DETAILS, content=content)).values():
        assert not any(set(CONTENT) & set(span.attributes) for span in spans)


def test_a_long_text_is_not_cut_for_then_it_would_be_no_json() -> None:
    long = replace(SAID, request=(Turn("user", (Part("text", "€" * 100_000),)),))
    (model,) = made(details=replace(DETAILS, content=long))["model"]
    assert json.loads(str(model.attributes["gen_ai.input.messages"]))[0]["parts"][0]["content"] == "€" * 100_000
