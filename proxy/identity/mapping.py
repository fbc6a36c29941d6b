"""Which agent a proven name speaks for: the value of a token's claim, through the operator's map.

Rules are looked at in order, the first that matches decides. In a pattern `*` and `{name}` stand for one part of a name, that is for
characters other than `:`, `/` and space; what `{name}` stood for can be put into the agent. Whatever does not come out as the name of an
agent is nobody. Only the operator's own words can make a fleet (`team-a/*`): a star that comes out of a token never does, unless the
setting `fleet_claims` says that the issuer may write them. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from proxy.globs import is_glob
from proxy.identity.fields import MAX_ID, SLUG

MAX_PATTERN = 300
MAX_VALUE = 512
"""A longer value is nobody's name."""
MOST_RULES = 1000
AGENT = r"[a-z0-9*?][a-z0-9._*?-]*(/[a-z0-9*?][a-z0-9._*?-]*)*"
"""An agent, or a glob of agents."""
_HOLE = re.compile(r"\*|\{([a-z][a-z0-9_]{0,31})\}")
_PART = r"[^:/\s]"


class MapError(ValueError):
    """A rule that cannot be used; the message says why."""


class Rule:
    """One rule: `pattern` and the agent that it gives.

    Raises:
        MapError: the pattern or the agent cannot be used.
    """

    __slots__ = ("_agent", "_find", "pattern")

    def __init__(self, pattern: str, agent: str) -> None:
        if not pattern or len(pattern) > MAX_PATTERN or not pattern.isprintable():
            raise MapError(f"a pattern is 1 to {MAX_PATTERN} printable characters")
        self.pattern, self._agent = pattern, agent
        self._find, names = _expression(pattern)
        used = {m.group(1) for m in _HOLE.finditer(agent) if m.group(1)}
        if unknown := sorted(used - names):
            raise MapError(f"{{{unknown[0]}}} stands in the agent and not in the pattern")
        sample = _HOLE.sub(lambda m: "a" if m.group(1) else m.group(), agent)
        if not re.fullmatch(AGENT, sample) or len(sample) > MAX_ID:
            raise MapError(f"{agent!r} is no agent's name, and no glob of such")

    def agent(self, value: str) -> str | None:
        """Return the agent for `value`; nothing where what comes out is no agent's name, None where the pattern does not match."""
        found = self._find.fullmatch(value)
        if found is None:
            return None
        parts = found.groupdict()
        if not all(re.fullmatch(SLUG, part) for name, part in parts.items() if f"{{{name}}}" in self._agent):
            return ""
        agent = _HOLE.sub(lambda m: parts[m.group(1)] if m.group(1) else m.group(), self._agent)
        return agent if len(agent) <= MAX_ID else ""


class AgentMap:
    """The rules, in order. Without any a value is itself the agent; `fleets` says whether it may then be a glob."""

    __slots__ = ("_fleets", "_rules")

    def __init__(self, rules: Iterable[tuple[str, str]], fleets: bool = False) -> None:
        self._rules, self._fleets = tuple(Rule(pattern, agent) for pattern, agent in rules), fleets

    def agent(self, value: str) -> str:
        """Return the agent, or glob of agents, that `value` speaks for; nothing where it is nobody."""
        if not value or len(value) > MAX_VALUE:
            return ""
        if self._rules:
            return next((agent for rule in self._rules if (agent := rule.agent(value)) is not None), "")
        if len(value) > MAX_ID or not re.fullmatch(AGENT, value):
            return ""
        return value if self._fleets or not is_glob(value) else ""


def claim_at(claims: Mapping[str, Any], path: str) -> Any:
    """Return the claim at the dotted `path`, None where there is none.

    A name may itself have dots (`kubernetes.io`, a URL): the longest one that is there is taken at each step.
    """
    if path in claims:
        return claims[path]
    parts = path.split(".")
    for n in range(len(parts) - 1, 0, -1):
        inner = claims.get(".".join(parts[:n]))
        if isinstance(inner, Mapping):
            return claim_at(inner, ".".join(parts[n:]))
    return None


def _expression(pattern: str) -> tuple[re.Pattern[str], set[str]]:
    """Return the expression of a pattern and its names. Each hole takes all of its part at once, so nothing is tried twice."""
    text, at, names = "", 0, set()
    for hole in _HOLE.finditer(pattern):
        text += _literal(pattern[at : hole.start()])
        at, name, rest = hole.end(), hole.group(1), pattern[hole.end() :]
        if name in names:
            raise MapError(f"{{{name}}} stands twice in the pattern")
        stop = rest[:1]
        if stop and stop not in ":/":
            raise MapError(f"a placeholder ends a part: `:`, `/` or nothing follows it, not {stop!r}")
        names |= {name} if name else set()
        text += f"(?P<{name}>{_PART}+)" if name else f"{_PART}+"
    return re.compile(text + _literal(pattern[at:])), names


def _literal(text: str) -> str:
    if "{" in text or "}" in text:
        raise MapError("a brace that is no {name}")
    return re.escape(text)
