"""Policy is an intersection: for any layers, more layers never allow more, and shadow never weakens what is enforced."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.identity import show
from proxy.identity.agents_md import parse_agents
from proxy.identity.grants import combine, smallest
from proxy.identity.layers import Layer
from proxy.model import Grant, Limit, Reason, RoutingLimits, Source


def layer(policy: str, file: str = "AGENTS.md") -> Layer:
    read = parse_agents(f"---\nname: a\npolicy: {policy}\n---\n", file)
    assert read.errors == ()
    found = read.agents[0].layer
    assert found is not None
    return found


def grant(*policies: str) -> Grant:
    """The grant of a baseline (the first policy) and files (the others)."""
    files = [layer(p, f"{'d/' * i}AGENTS.md") for i, p in enumerate(policies[1:])]
    return combine("a", layer(policies[0], "policies/baseline.yaml.md"), files)


NAMES = ("gpt-5", "gpt-5-mini", "claude-x", "local/q")
names = st.lists(st.sampled_from(["gpt-*", "claude-*", "*", "local/q", "gpt-5", "*-mini"]), max_size=3)
limit = st.one_of(st.none(), st.integers(1, 9))


@st.composite
def policies(draw: st.DrawFn) -> str:
    parts = [f"mode: {draw(st.sampled_from(['enforce', 'shadow']))}"]
    for kind in ("models", "tools"):
        allow = draw(st.one_of(st.none(), names))
        given_allow = "" if allow is None else f"allow: {allow}, "
        parts.append(f"{kind}: {{{given_allow}deny: {draw(names)}}}")
    usd, out, turns = draw(limit), draw(limit), draw(limit)
    session = "" if usd is None else f"session: {{usd: {usd}}}, "
    request = "" if out is None else f"request: {{max_output_tokens: {out}}}, "
    parts.append(f"budgets: {{{session}{request}on_exceed: {draw(st.sampled_from(['deny', 'warn']))}}}")
    if turns is not None:
        parts += [f"maxTurns: {turns}", f"loops: {{identical: {{warn: {turns}, block: {turns}}}}}"]
    local = draw(st.one_of(st.none(), st.booleans()))
    if local is not None:
        parts.append(f"routing: {{local_ok: {str(local).lower()}}}")
    return "{" + ", ".join(parts) + "}"


def firm(limits: Sequence[Limit]) -> int:
    return min((one.value for one in limits if not one.shadow), default=10**9)


def allowed(one: Grant) -> set[str]:
    return {n for n in NAMES if one.may_use(n)}


def money(one: Grant) -> int:
    return min((b.limit for b in one.budgets if b.unit == "usd" and not b.shadow and b.on_exceed == "deny"), default=10**12)


@given(policies(), st.lists(policies(), max_size=3), policies())
def test_another_file_never_widens(baseline: str, files: list[str], more: str) -> None:
    before, after = grant(baseline, *files), grant(baseline, *files, more)
    assert allowed(after) <= allowed(before)
    assert all(firm(getattr(after, k)) <= firm(getattr(before, k)) for k in ("max_output", "max_turns"))
    assert money(after) <= money(before)
    assert after.local_ok <= before.local_ok or before.local_ok_source is None
    if before.loops.source is not None and not before.loops.shadow:
        assert after.loops.block <= before.loops.block
        assert not after.loops.shadow


@given(policies(), policies())
def test_a_name_passes_when_it_passes_every_enforced_layer(one: str, other: str) -> None:
    both, first, second = grant(one, other), grant(one), grant("{}", other)
    assert allowed(both) == allowed(first) & allowed(second)


@given(policies(), st.lists(policies(), max_size=2))
def test_the_digest_depends_on_what_is_allowed_alone(baseline: str, files: list[str]) -> None:
    assert grant(baseline, *files).digest == grant(baseline, *files).digest
    moved = combine("a", layer(baseline, "other/place.md"), [layer(f, f"{'x/' * i}AGENTS.md") for i, f in enumerate(files)])
    assert moved.digest == grant(baseline, *files).digest
    assert grant(baseline, *files, "{models: {deny: [never-seen]}}").digest != grant(baseline, *files).digest


def test_a_shadow_file_cannot_replace_an_enforced_value() -> None:
    found = grant("{budgets: {session: {usd: 5}}}", "{mode: shadow, budgets: {session: {usd: 1}, day: {usd: 9}}, models: {deny: ['*']}}")
    assert {b.name: (b.limit // 10**9, b.shadow) for b in found.budgets} == {
        "agent:a/session/usd": (5, False),
        "agent:a/session/usd/shadow": (1, True),
        "agent:a/day/usd/shadow": (9, True),
    }
    assert found.may_use("x")
    assert found.shadow
    looser = grant("{budgets: {session: {usd: 5}}}", "{mode: shadow, budgets: {session: {usd: 7}}}")
    assert [b.name for b in looser.budgets] == ["agent:a/session/usd"]


def test_budgets_are_rules_of_the_agent() -> None:
    found = grant("{}", "{budgets: {session: {usd: 1}, day: {llm_calls: 5}, on_exceed: warn, warn_at: [0.8, 0.5]}, maxTurns: 3}")
    session, day, turns = found.budgets
    assert (session.name, session.scope, session.window) == ("agent:a/session/usd/warn", (("agent", "a"), ("session", "*")), "session")
    assert (session.on_exceed, session.warn_at) == ("warn", (0.5, 0.8))
    assert (day.name, day.scope, day.window, day.unit) == ("agent:a/day/llm_calls/warn", (("agent", "a"),), "day", "requests")
    assert (turns.name, turns.reason, turns.on_exceed) == ("agent:a/session/max_turns", Reason.STEP_LIMIT, "deny")
    assert len({b.name for b in found.budgets}) == 3


def test_carbon_is_a_budget_of_the_agent_that_files_only_tighten() -> None:
    found = grant("{budgets: {day: {gco2e: 40}}}", "{budgets: {session: {gco2e: 2.5}, day: {gco2e: 80}, run: {gco2e: 0.000001}}}")
    assert {b.name: (b.unit, b.limit, b.window) for b in found.budgets} == {
        "agent:a/day/gco2e": ("gco2e", 40_000_000, "day"),
        "agent:a/session/gco2e": ("gco2e", 2_500_000, "session"),
        "agent:a/run/gco2e": ("gco2e", 1, "run"),
    }
    assert show.as_json(found)["budgets"][0]["limit"] == "40"


@pytest.mark.parametrize(
    ("given_policies", "expected"),
    [
        (("{}",), (3, 5, "block", False)),
        (("{}", "{mode: shadow}"), (3, 5, "block", True)),
        (("{loops: {identical: {block: 4}}}", "{loops: {identical: {warn: 2, block: 9}, on_detect: warn}}"), (2, 4, "block", False)),
        (("{loops: {on_detect: block}}", "{loops: {on_detect: warn}}"), (3, 5, "block", False)),
        (("{loops: {identical: {block: 4}}}", "{mode: shadow, loops: {identical: {block: 2}}}"), (3, 4, "block", False)),
        (("{}", "{mode: shadow, loops: {identical: {block: 2}}}"), (2, 2, "block", True)),
    ],
)
def test_loops_take_the_tightest_enforced_word(given_policies: tuple[str, ...], expected: tuple[int, int, str, bool]) -> None:
    loops = grant(*given_policies).loops
    assert (loops.warn, loops.block, loops.act, loops.shadow) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [((), False), (("true",), True), (("true", "true"), True), (("true", "false"), False), (("false", "true"), False)],
)
def test_local_needs_every_word_that_is_spoken(words: tuple[str, ...], expected: bool) -> None:
    found = grant("{}", *(f"{{routing: {{local_ok: {w}}}}}" for w in words))
    assert found.local_ok is expected
    assert (found.local_ok_source is None) == (not words)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), RoutingLimits()),
        (("{local_ok: true}",), RoutingLimits()),
        (("{threshold: 0.4}", "{threshold: 0.2, max_threshold: 0.6}", "{threshold: 0.9, pinned: false}"), RoutingLimits(0.2, 0.6, False)),
        (("{pinned: true}", "{pinned: false}"), RoutingLimits(pinned=True)),
        (("{pinned: false}", "{pinned: true, threshold: 0}"), RoutingLimits(0.0, None, True)),
    ],
)
def test_routing_takes_the_lowest_thresholds_and_any_pin(words: tuple[str, ...], expected: RoutingLimits) -> None:
    found = grant("{}", *(f"{{routing: {w}}}" for w in words))
    assert found.routing == expected
    assert (found.digest == grant("{}", *("{}" for _ in words)).digest) == (expected == RoutingLimits() and "local_ok" not in str(words))


def test_data_takes_the_stricter_value() -> None:
    one = "{data: {pii: warn, classification: restricted, residency: [eu, us], retention_days: 30, log_content: hash}}"
    other = "{data: {pii: block, classification: public, residency: [us, asia], retention_days: 90, secrets: off}}"
    expected = {
        "pii": "block",
        "classification": "restricted",
        "residency": "us",
        "retention_days": "30",
        "log_content": "hash",
        "secrets": "off",
    }
    assert dict(grant(one, other).data) == expected
    assert dict(grant(other, one).data) == expected


def test_the_nearest_file_gives_the_words_that_restrict_nothing() -> None:
    found = grant(
        "{models: {default: m0}, owner: ops}", "{models: {default: m1, fallback: [f1]}, owner: {team: t1}}", "{models: {default: m2}}"
    )
    assert (found.default_model, found.fallback, found.team) == ("m2", ("f1",), "t1")


def test_the_file_digest_is_the_files_own_or_one_of_all() -> None:
    one, two = layer("{}"), layer("{mode: shadow}")
    assert combine("a", None, [one]).file_digest == one.digest
    assert combine("a", None, [one, two]).file_digest not in (one.digest, two.digest, "")
    assert combine("a", None, []).file_digest == ""


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans())))
def test_the_smallest_limits(values: list[tuple[int, bool]]) -> None:
    found = smallest(Limit(v, Source("f", i), dry) for i, (v, dry) in enumerate(values))
    firm_values = [v for v, dry in values if not dry]
    dry_values = [v for v, dry in values if dry]
    expected = [(min(firm_values), False)] if firm_values else []
    if dry_values and (not firm_values or min(dry_values) < min(firm_values)):
        expected.append((min(dry_values), True))
    assert [(one.value, one.shadow) for one in found] == expected


def test_runs_prompts_and_answers_have_budgets_of_their_own_and_ways_to_go_on() -> None:
    found = grant("{}", "{budgets: {run: {usd: 2, input_tokens: 9}, day: {output_tokens: 7}, on_exceed: {downgrade: small}}}")
    rules = {rule.name: (rule.unit, rule.window, rule.scope, rule.on_exceed) for rule in found.budgets}
    each = (("agent", "a"), ("run", "*"))
    assert rules == {
        "agent:a/run/usd/downgrade:small": ("usd", "run", each, "downgrade:small"),
        "agent:a/run/input_tokens/downgrade:small": ("input_tokens", "run", each, "downgrade:small"),
        "agent:a/day/output_tokens/downgrade:small": ("output_tokens", "day", (("agent", "a"),), "downgrade:small"),
    }
    for asked, done in (("local", "local"), ("downgrade", "deny")):  # a model that nobody named serves nothing
        (rule,) = grant("{}", f"{{budgets: {{day: {{usd: 1}}, on_exceed: {asked}}}}}").budgets
        assert rule.on_exceed == done
