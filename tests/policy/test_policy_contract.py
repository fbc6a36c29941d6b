"""The contract's rules: what passes, what is refused by which line of which file, and that shadow never hides enforcement."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity.agents_md import parse_agents
from proxy.identity.grants import combine
from proxy.model import Deny, Grant, Reason
from proxy.policy import contract
from proxy.wire.call import Call, Message, ToolCall, ToolSpec


def grant(*policies: str) -> Grant:
    layers = []
    for i, policy in enumerate(policies):
        read = parse_agents(f"---\nname: a\npolicy: {policy}\n---\n", f"{'d/' * i}AGENTS.md")
        assert read.errors == ()
        assert read.agents[0].layer is not None
        layers.append(read.agents[0].layer)
    return combine("a", None, layers)


def tools(*names: str) -> tuple[ToolSpec, ...]:
    return tuple(ToolSpec(n) for n in names)


def history(*roles: str) -> Call:
    call = ToolCall("1", "t", "{}", b"")
    made = tuple(Message(str(i).encode(), r.rstrip("+"), (), (call,) if r.endswith("+") else ()) for i, r in enumerate(roles))
    return Call("chat", "m", b"", messages=made)


def test_an_agent_without_any_allow_list_may_ask_for_every_model() -> None:
    assert contract.check_model(grant("{}"), "anything") is None


@pytest.mark.parametrize(
    ("policies", "model", "rule", "words"),
    [
        (
            ("{models: {allow: [gpt-*]}}",),
            "claude-x",
            "AGENTS.md:3 policy.models.allow",
            "may not use model claude-x: only gpt-* is allowed",
        ),
        (("{models: {allow: [gpt-*], deny: [gpt-4]}}",), "gpt-4", "AGENTS.md:3 policy.models.deny", "gpt-4 is denied"),
        (("{models: {deny: ['*-pro']}}",), "x-pro", "AGENTS.md:3 policy.models.deny", "*-pro is denied"),
        (("{models: {allow: []}}",), "x", "AGENTS.md:3 policy.models.allow", "the rule allows none"),
        (("{models: {allow: ['*']}}", "{models: {allow: [y]}}"), "x", "d/AGENTS.md:3 policy.models.allow", "only y is allowed"),
        (("{models: {allow: [a, b, c, d, e, f, g]}}",), "x", "AGENTS.md:3 policy.models.allow", "only a, b, c, d, e and 2 more is allowed"),
        (("{models: {allow: [y]}}",), "\x07" * 200, "AGENTS.md:3 policy.models.allow", "?" * 80 + "..."),
        (("{models: {allow: [y]}}",), "", "AGENTS.md:3 policy.models.allow", "(no name)"),
    ],
)
def test_a_model_is_refused_by_the_rule_that_says_so(policies: tuple[str, ...], model: str, rule: str, words: str) -> None:
    deny = contract.check_model(grant(*policies), model)
    assert deny is not None
    assert (deny.reason, deny.rule, deny.shadow) == (Reason.MODEL_NOT_ALLOWED, rule, False)
    assert words in deny.message
    assert deny.remedy.endswith(".")


@pytest.mark.parametrize(
    ("policy", "remedy"),
    [
        ("{models: {allow: [y], default: y}}", "Ask for y."),
        ("{models: {allow: [y], default: z}}", "Ask for a model that the rule allows: y."),
        ("{models: {deny: [x]}}", "Ask whoever keeps AGENTS.md."),
    ],
)
def test_the_remedy_names_what_would_pass(policy: str, remedy: str) -> None:
    deny = contract.check_model(grant(policy), "x")
    assert deny is not None
    assert deny.remedy == remedy


@pytest.mark.parametrize(
    ("policies", "passes"),
    [
        (("{}",), True),
        (("{models: {allow: [llama3]}}",), True),
        (("{models: {allow: ['llama3:latest']}}",), True),
        (("{models: {allow: ['llama3:8b']}}",), False),
        (("{models: {deny: [llama3]}}",), False),
        (("{models: {deny: ['llama3:latest']}}",), False),
        (("{models: {deny: ['LLAMA3:latest']}}",), False),
        (("{models: {deny: ['*:latest']}}",), False),
        (("{models: {allow: ['*'], deny: ['llama3:latest']}}",), False),
        (("{models: {allow: [llama3], deny: ['llama3:latest']}}",), False),
        (("{models: {allow: [llama3]}}", "{models: {allow: ['*:latest']}}"), True),
        (("{models: {allow: [llama3]}}", "{models: {deny: ['*:latest']}}"), False),
    ],
)
def test_a_model_of_several_names_needs_one_allowed_and_none_denied(policies: tuple[str, ...], passes: bool) -> None:
    deny = contract.check_model(grant(*policies), "llama3", ("llama3:latest",))
    assert (deny is None) is passes


@pytest.mark.parametrize("model", ["llama3:latest", "LLAMA3:Latest", "library/llama3", "registry.ollama.ai/library/llama3", "llama3:local"])
def test_a_denied_model_is_denied_however_an_ollama_server_may_be_asked_for_it(model: str) -> None:
    deny = contract.check_spelling(grant("{models: {deny: [llama3]}}"), model)
    assert deny is not None
    assert (deny.reason, deny.rule) == (Reason.MODEL_NOT_ALLOWED, "AGENTS.md:3 policy.models.deny")
    assert contract.check_spelling(grant("{models: {deny: [llama4, 'x:latest']}}"), model) is None
    assert contract.check_spelling(grant("{models: {allow: [x]}}"), model) is None


@pytest.mark.parametrize("model", ["llama3", "llama3:8b", "me/llama3", "gpt-4o", ""])
def test_other_names_have_one_spelling(model: str) -> None:
    assert contract.check_spelling(grant("{models: {deny: ['*']}}"), model) is None


@pytest.mark.parametrize("model", ["models/gemini-x", "Models/GEMINI-x"])
def test_a_denied_model_is_denied_under_the_longer_name_that_google_has_for_it(model: str) -> None:
    assert contract.check_spelling(grant("{models: {deny: [gemini-x]}}"), model) is not None
    assert contract.check_spelling(grant("{models: {deny: [gemini-y]}}"), model) is None


def test_auto_is_left_to_routing() -> None:
    assert contract.check_model(grant("{models: {allow: [x]}}"), "auto") is None


def test_tools_are_refused_by_name_and_rule() -> None:
    found = grant("{tools: {allow: ['read_*', 'Bash(git:*)'], deny: [read_secret]}}")
    assert contract.check_tools(found, tools("read_a", "Bash")) is None
    for name, rule in (("write", "policy.tools.allow"), ("read_secret", "policy.tools.deny")):
        deny = contract.check_tools(found, tools("read_a", name, "zzz"))
        assert deny is not None
        assert (deny.reason, deny.rule) == (Reason.TOOL_NOT_ALLOWED, f"AGENTS.md:3 {rule}")
        assert f"may not offer tool {name}" in deny.message
        assert name in deny.remedy


NAMES = st.lists(st.sampled_from(["a", "b", "c", "*"]), max_size=2)


@given(st.lists(st.tuples(st.booleans(), st.one_of(st.none(), NAMES), NAMES), max_size=4), st.sampled_from("abc"))
def test_an_enforced_refusal_wins_over_a_dry_one(layers: list[tuple[bool, list[str] | None, list[str]]], name: str) -> None:
    def text(kind: str) -> list[str]:
        return [
            f"{{mode: {'shadow' if dry else 'enforce'}, {kind}: {{{'' if allow is None else f'allow: {allow}, '}deny: {deny}}}}}"
            for dry, allow, deny in layers
        ]

    def refuses(allow: Sequence[str] | None, deny: Sequence[str]) -> bool:
        return name in deny or "*" in deny or (allow is not None and name not in allow and "*" not in allow)

    firm = any(refuses(allow, deny) for dry, allow, deny in layers if not dry)
    any_dry = any(refuses(allow, deny) for dry, allow, deny in layers if dry)
    expected = "firm" if firm else "dry" if any_dry else "none"
    for deny in (contract.check_model(grant(*text("models")), name), contract.check_tools(grant(*text("tools")), tools(name))):
        assert ("none" if deny is None else "dry" if deny.shadow else "firm") == expected
    assert grant(*text("models")).may_use(name) is not firm


@pytest.mark.parametrize(("given_limit", "asked", "expected"), [(5, None, 5), (5, 6, 5), (5, 5, None), (5, 1, None)])
def test_an_output_ceiling_is_lowered_never_raised(given_limit: int, asked: int | None, expected: int | None) -> None:
    found = grant(f"{{budgets: {{request: {{max_output_tokens: {given_limit}}}}}}}")
    limit = contract.output_ceiling(found, asked)
    assert (limit.value if limit else None) == expected
    assert contract.dry_ceiling(found, asked) is None
    dry = grant(f"{{mode: shadow, budgets: {{request: {{max_output_tokens: {given_limit}}}}}}}")
    assert contract.output_ceiling(dry, asked) is None
    assert (contract.dry_ceiling(dry, asked) is not None) == (expected is not None)


@pytest.mark.parametrize(
    ("roles", "count"),
    [
        ((), 0),
        (("user", "assistant", "user", "assistant"), 2),
        (("user", "assistant", "assistant"), 2),
        (("user", "assistant", "assistant+", "assistant+", "tool", "tool", "assistant+"), 2),
        (("user", "assistant+", "tool", "assistant+", "tool"), 2),
        (("user", "model+", "user"), 1),
    ],
)
def test_turns_of_a_history(roles: tuple[str, ...], count: int) -> None:
    assert contract.turns(history(*roles).messages) == count


@pytest.mark.parametrize(("most", "taken", "refused"), [(3, 2, False), (3, 3, True), (3, 4, True), (1, 0, False), (1, 1, True)])
def test_the_history_may_not_hold_more_turns_than_allowed(most: int, taken: int, refused: bool) -> None:
    found = grant(f"{{maxTurns: {most}}}")
    assert contract.check_turns(found, history()) is None
    deny = contract.check_turns(found, history("user", *["assistant+", "tool"] * taken))
    assert (deny is not None) is refused
    if deny is not None:
        assert (deny.reason, deny.rule) == (Reason.STEP_LIMIT, "AGENTS.md:3 policy.maxTurns")
        assert f"{taken} turns" in deny.message


def test_no_turn_limit_refuses_nothing() -> None:
    assert contract.check_turns(grant("{}"), history(*["assistant"] * 500)) is None


def test_firmest() -> None:
    dry, firm = Deny(Reason.POLICY_DENIED, "d", shadow=True), Deny(Reason.POLICY_DENIED, "f")
    assert contract.firmest([None, dry, firm]) is firm
    assert contract.firmest([dry, None]) is dry
    assert contract.firmest([]) is None


def test_a_tool_that_asks_another_model_is_held_to_the_rule_on_models() -> None:
    found = grant("{models: {allow: [small]}}")
    assert contract.check_tools(found, (ToolSpec("advisor", "advisor", "small"), ToolSpec("t"))) is None
    for model in ("large", "auto"):
        deny = contract.check_tools(found, (ToolSpec("advisor", "advisor", model),))
        assert deny is not None
        assert (deny.reason, deny.rule) == (Reason.MODEL_NOT_ALLOWED, "AGENTS.md:3 policy.models.allow")
