"""The rules that can hold for one agent, in words: the last section of `fleetgate agents show`. Pure formatting."""

from __future__ import annotations

from typing import Any

from proxy.model import Grant
from proxy.policy.rules import Rule, RuleSet


def section(rules: RuleSet, grant: Grant) -> str:
    """Return a line a rule, those of the operator's files first; nothing where no rule can hold."""
    lines = [f"    {_words(rule)}  [{rule.source.file}:{rule.source.line}]" for rule in rules.view(grant).rules]
    return "\n".join(["  rules:", *lines]) if lines else ""


def _words(rule: Rule) -> str:
    dry = " (dry run)" if rule.shadow else ""
    return f"{rule.id}: {rule.action}{dry}"


def as_json(rules: RuleSet, grant: Grant) -> list[dict[str, Any]]:
    """Return the same as plain data."""
    return [
        {
            "id": rule.id,
            "title": rule.title,
            "severity": rule.severity,
            "owasp": list(rule.owasp),
            "action": rule.action,
            "mode": "shadow" if rule.shadow else "enforce",
            "directions": sorted(rule.directions),
            "shipped": rule.shipped,
            "source": f"{rule.source.file}:{rule.source.line}",
        }
        for rule in rules.view(grant).rules
    ]
