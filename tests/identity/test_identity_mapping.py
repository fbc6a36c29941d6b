"""From a proven name to an agent: rules in order, parts of names, and nobody where no agent comes out."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.identity.mapping import AgentMap, MapError, Rule, claim_at

K8S = "system:serviceaccount:"


@pytest.mark.parametrize(
    ("rules", "value", "agent"),
    [
        ({f"{K8S}payments:*": "invoice-triage"}, f"{K8S}payments:bot", "invoice-triage"),
        ({f"{K8S}payments:*": "invoice-triage"}, f"{K8S}payments-evil:bot", ""),
        ({f"{K8S}payments:*": "invoice-triage"}, f"{K8S}payments:", ""),
        ({f"{K8S}payments:*": "invoice-triage"}, f"{K8S}payments:a:b", ""),
        ({f"{K8S}payments:*": "invoice-triage"}, f"x{K8S}payments:a", ""),
        ({f"{K8S}payments:*": "invoice-triage"}, f"{K8S}payments:a\n", ""),
        ({f"{K8S}{{ns}}:{{name}}": "{ns}/{name}"}, f"{K8S}payments:bot", "payments/bot"),
        ({f"{K8S}{{ns}}:{{name}}": "{name}"}, f"{K8S}payments:*", ""),
        ({f"{K8S}{{ns}}:{{name}}": "{name}"}, f"{K8S}payments:Bot", ""),
        ({f"{K8S}{{ns}}:{{name}}": "{name}"}, f"{K8S}payments:{'b' * 65}", ""),
        ({f"{K8S}{{ns}}:*": "{ns}/*"}, f"{K8S}payments:bot", "payments/*"),
        ({f"{K8S}{{ns}}:*": "{ns}/*"}, f"{K8S}*:bot", ""),
        ({"spiffe://td/ns/{ns}/sa/{sa}": "{ns}/{sa}"}, "spiffe://td/ns/a/sa/b", "a/b"),
        ({"spiffe://td/ns/{ns}/sa/{sa}": "{ns}/{sa}"}, "spiffe://td/ns/a/sa/b/c", ""),
        ({"a": "first", "*": "second"}, "a", "first"),
        ({"a": "first", "*": "second"}, "b", "second"),
        ({"{x}": "{x}", "*": "second"}, "NOT A NAME", ""),
        ({"a.c": "x"}, "abc", ""),
        ({}, "crawler", "crawler"),
        ({}, "team/crawler", "team/crawler"),
        ({}, "Crawler", ""),
        ({}, "team/*", ""),
        ({}, "*", ""),
        ({}, "", ""),
        ({"*": "a"}, "x" * 513, ""),
        ({}, "x" * 65, ""),
        ({}, "../etc", ""),
        ({}, "a\n", ""),
    ],
)
def test_a_name_speaks_for_an_agent(rules: dict[str, str], value: str, agent: str) -> None:
    assert AgentMap(rules.items()).agent(value) == agent


def test_a_glob_of_the_issuer_is_a_fleet_only_where_that_is_set() -> None:
    assert AgentMap((), fleets=True).agent("team/*") == "team/*"
    assert AgentMap((), fleets=True).agent("Team/*") == ""


@pytest.mark.parametrize(
    ("pattern", "agent", "why"),
    [
        ("", "a", "1 to 300 printable"),
        ("x" * 301, "a", "1 to 300 printable"),
        ("a\n", "a", "1 to 300 printable"),
        ("a*b", "a", "a placeholder ends a part"),
        ("**", "a", "a placeholder ends a part"),
        ("{a}{b}", "a", "a placeholder ends a part"),
        ("{a}:{a}", "a", "stands twice in the pattern"),
        ("{A}", "a", "a brace that is no"),
        ("a}", "a", "a brace that is no"),
        ("{a}", "{b}", "{b} stands in the agent and not in the pattern"),
        ("a", "Not A Name", "is no agent's name"),
        ("a", "{", "is no agent's name"),
        ("a", "", "is no agent's name"),
        ("a", "x" * 65, "is no agent's name"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(pattern: str, agent: str, why: str) -> None:
    with pytest.raises(MapError) as e:
        Rule(pattern, agent)
    assert why in str(e.value)


CLAIMS: dict[str, Any] = {
    "a": {"b": {"c": 1}, "b.c": 2},
    "a.b": 3,
    "kubernetes.io": {"serviceaccount": {"name": "bot"}},
    "https://example.com/agent": "x",
    "text": "y",
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("text", "y"),
        ("a.b", 3),
        ("a.b.c", 2),
        ("kubernetes.io.serviceaccount.name", "bot"),
        ("https://example.com/agent", "x"),
        ("text.more", None),
        ("nothing", None),
        ("kubernetes.io.nothing", None),
        ("..", None),
    ],
)
def test_a_claim_is_found_by_its_path(path: str, value: Any) -> None:
    assert claim_at(CLAIMS, path) == value
