"""Which provider serves which model name, and what is said when none does."""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import globs
from proxy.model import FREE, Price
from proxy.routing.models import MAX_NAME, REMEMBERED, ModelTable

PRICE = Price(((0, 1),), ((0, 2),))


@dataclass(frozen=True)
class Rule:
    pattern: str
    provider: str
    upstream_model: str | None = None
    price: Mapping[str, float] | None = None
    failover: tuple[Rule, ...] = ()
    context: int | None = None
    tools: bool | None = None
    images: bool | None = None
    json: bool | None = None
    footprint: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Upstream:
    protocols: tuple[str, ...]
    local: bool = False
    operations: tuple[str, ...] = ()
    region: str = ""


RULES = (
    Rule("gpt-4o", "openai", "gpt-4o-2024-11-20"),
    Rule("gpt-*", "openai"),
    Rule("claude-?-*", "anthropic"),
    Rule("local/qwen3", "local", "qwen3:8b"),
    Rule("local/dear", "local", None, {"input": 1, "output": 1}),
    Rule("lost", "nowhere"),
)
PROVIDERS = {"openai": Upstream(("openai",)), "anthropic": Upstream(("anthropic",)), "local": Upstream(("openai",), local=True)}


class Asked:
    """A price table that remembers what it was asked."""

    def __init__(self) -> None:
        self.of: list[tuple[str, str, Mapping[str, float] | None]] = []

    def __call__(self, provider: str, model: str, override: Mapping[str, float] | None) -> Price | None:
        self.of.append((provider, model, override))
        return PRICE


def table(price_of: Asked | None = None) -> ModelTable:
    return ModelTable(RULES, PROVIDERS, price_of or Asked(), lambda model: f"vocabulary of {model}")


@pytest.mark.parametrize(
    ("model", "protocol", "provider", "upstream"),
    [
        ("gpt-4o", "openai", "openai", "gpt-4o-2024-11-20"),
        ("gpt-4o-mini", "openai", "openai", "gpt-4o-mini"),
        ("claude-4-opus", "anthropic", "anthropic", "claude-4-opus"),
        ("local/qwen3", "openai", "local", "qwen3:8b"),
    ],
)
def test_the_first_rule_that_matches_wins(model: str, protocol: str, provider: str, upstream: str) -> None:
    found = table().target(model, protocol)
    assert found is not None
    assert (found.provider, found.model, found.upstream_model, found.protocol) == (provider, model, upstream, protocol)
    assert found.tokenizer == f"vocabulary of {upstream}"


@pytest.mark.parametrize(
    ("model", "protocol", "words"),
    [
        (
            "gpt-4o",
            "anthropic",
            "'gpt-4o' matches `gpt-4o`, served by openai, which speaks openai and not anthropic; call /v1/chat/completions",
        ),
        (
            "claude-4-x",
            "openai",
            "'claude-4-x' matches `claude-?-*`, served by anthropic, which speaks anthropic and not openai; call /v1/messages",
        ),
        ("gemini", "openai", "no rule of `models` matches 'gemini'; known: gpt-4o, gpt-*, claude-?-*, local/qwen3, local/dear, lost"),
        (
            "gpt-4o",
            "anthropic.count_tokens",
            "'gpt-4o' matches `gpt-4o`, served by openai, which speaks openai and not anthropic, and count_tokens is not translated",
        ),
        ("lost", "openai", "'lost' matches `lost`, whose provider nowhere is not configured"),
        ("", "openai", "a model name has 1 to 256 characters"),
        ("gpt-" + "x" * MAX_NAME, "openai", "a model name has 1 to 256 characters"),
    ],
)
def test_says_why_nobody_serves_a_model(model: str, protocol: str, words: str) -> None:
    assert table().target(model, protocol) is None
    assert table().explain_missing(model, protocol).startswith(words)


@pytest.mark.parametrize(
    ("model", "dialect", "wire", "protocol"),
    [
        ("gpt-4o", "openai.chat", "", "openai"),
        ("gpt-4o", "anthropic.messages", "openai.chat", "openai"),
        ("claude-4-x", "openai.chat", "anthropic.messages", "anthropic"),
        ("claude-4-x", "anthropic.messages", "", "anthropic"),
        ("claude-4-x", "anthropic.count_tokens", "", "anthropic"),
    ],
)
def test_a_chat_is_translated_where_the_provider_does_not_speak_it(model: str, dialect: str, wire: str, protocol: str) -> None:
    found = table().target(model, dialect)
    assert found is not None
    assert (found.wire, found.protocol) == (wire, protocol)


def test_local_servers_are_free_unless_a_rule_has_a_price() -> None:
    asked = Asked()
    models = table(asked)
    free, dear, paid = (models.target(name, "openai") for name in ("local/qwen3", "local/dear", "gpt-5"))
    assert free is not None
    assert dear is not None
    assert paid is not None
    assert (free.price, free.local, dear.price, dear.local, paid.local) == (FREE, True, PRICE, True, False)
    assert asked.of == [("local", "local/dear", {"input": 1, "output": 1}), ("openai", "gpt-5", None)]


def test_what_was_resolved_is_outdated_once_a_price_is_another() -> None:
    prices = {"gpt-4o": PRICE, "gpt-5": PRICE}
    found = ModelTable(RULES, PROVIDERS, lambda provider, model, override: prices.get(model), str)
    assert found.target("gpt-5", "openai") is not None
    prices["gpt-4o"] = FREE
    assert not found.outdated(), "nobody asked for that one"
    prices["gpt-5"] = FREE
    assert found.outdated()


def test_remembers_what_it_resolved_within_a_bound() -> None:
    asked = Asked()
    models = table(asked)
    for _ in range(3):
        models.target("gpt-5", "openai")
    assert len(asked.of) == 1
    for n in range(3 * REMEMBERED):
        models.target(f"no-{n}", "openai")
        assert len(models._known) <= REMEMBERED
    models.target("x" * 100_000, "openai")
    assert max(len(model) for model, _ in models._known) < 20


def test_names_are_the_rules_without_wildcards() -> None:
    assert table().names() == ("gpt-4o", "local/qwen3", "local/dear", "lost")


@given(st.text("ab*?", max_size=8), st.text("ab\n", max_size=10))
def test_patterns_match_as_globs_do(pattern: str, name: str) -> None:
    assert globs.matcher((pattern,))(name) == fnmatch.fnmatchcase(name, pattern)


@pytest.mark.parametrize(
    ("pattern", "name", "fits"), [("a[b]", "a[b]", True), ("a[b]", "ab", False), ("a.b", "axb", False), ("A", "a", False)]
)
def test_all_but_star_and_question_mark_stand_for_themselves(pattern: str, name: str, fits: bool) -> None:
    assert globs.matcher((pattern,))(name) is fits


SPARES = (
    Rule("m", "openai", "m-1", failover=(Rule("", "azure"), Rule("", "router", "vendor/m", {"input": 1, "output": 1}), Rule("", "gone"))),
    Rule("u", "openai", failover=(Rule("", "unpriced"), Rule("", "anthropic"), Rule("", "local"))),
    Rule("a", "anthropic", failover=(Rule("", "openai"),)),
)
PLACES = {
    **PROVIDERS,
    "azure": Upstream(("openai",)),
    "router": Upstream(("openai",)),
    "unpriced": Upstream(("openai",)),
}


def spares() -> ModelTable:
    def price_of(provider: str, model: str, override: Mapping[str, float] | None) -> Price | None:
        return None if provider == "unpriced" else Price(((0, 1),), ((0, 2),), source=f"{provider}/{model}/{override}")

    return ModelTable(SPARES, PLACES, price_of, lambda model: "o200k_base")


def test_failover_comes_behind_each_with_its_own_name_and_price() -> None:
    found = spares().targets("m", "openai.chat")
    assert [(t.provider, t.model, t.upstream_model) for t in found] == [
        ("openai", "m", "m-1"),
        ("azure", "m", "m-1"),
        ("router", "m", "vendor/m"),
    ]
    assert [t.price.source for t in found if t.price] == [
        "openai/m-1/None",
        "azure/m-1/None",
        "router/vendor/m/{'input': 1, 'output': 1}",
    ]
    assert spares().target("m", "openai.chat") == found[0]


def test_failover_leaves_out_what_has_no_price_and_translates_where_that_can_be() -> None:
    found = spares().targets("u", "openai.chat")
    assert [(t.provider, t.wire, t.price == FREE) for t in found] == [
        ("openai", "", False),
        ("anthropic", "anthropic.messages", False),
        ("local", "", True),
    ]
    assert [t.provider for t in spares().targets("u", "openai.embeddings")] == ["openai", "local"]


def test_failover_is_for_what_the_rule_serves_itself() -> None:
    assert spares().targets("a", "openai.embeddings") == ()
    assert [t.provider for t in spares().targets("a", "anthropic.messages")] == ["anthropic", "openai"]
