"""Which guards look at an agent's traffic, how strictly, and the refusal that a finding becomes. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from proxy.guards.base import Hit, Mode, TextGuard
from proxy.model import Deny, Grant, Reason

MODES: tuple[Mode, ...] = ("off", "warn", "redact", "block")


@dataclass(frozen=True, slots=True)
class Watch:
    """The guards that look at one agent's traffic, and the mode of each; `key` names the set in the memo.

    Where a shadow layer asks for more than the enforced ones, `dry` has what it asks for: it is told of and not done.
    """

    guards: tuple[TextGuard, ...]
    modes: Mapping[str, Mode]
    key: str
    dry: Mapping[str, Mode] = field(default_factory=dict)
    texts: tuple[TextGuard, ...] = field(init=False)
    """Those that look at texts of replies; `arguments`: at those of tool calls."""
    arguments: tuple[TextGuard, ...] = field(init=False)
    reaches: tuple[int | None, ...] = field(init=False)

    def __post_init__(self) -> None:
        texts = tuple([guard for guard in self.guards if "reply" in guard.surfaces])
        object.__setattr__(self, "texts", texts)
        object.__setattr__(self, "arguments", tuple([guard for guard in self.guards if "tool_call" in guard.surfaces]))
        object.__setattr__(self, "reaches", tuple([guard.reach for guard in texts]))

    def strictest(self, mode: Mode) -> bool:
        """Tell whether any guard is set to `mode`."""
        return mode in self.modes.values()


def watch_of(guards: Sequence[TextGuard], grant: Grant) -> Watch:
    """Return what looks at the traffic of an agent with `grant`."""
    asked = {guard.name: _mode(grant.data.get(guard.name, "off")) for guard in guards}
    active = tuple(guard for guard in guards if asked[guard.name] != "off")
    firm = {name: _mode(grant.firm_data.get(name, "off")) for name in asked} if grant.shadow else asked
    modes: dict[str, Mode] = {name: "warn" if mode == "off" and asked[name] != "off" else mode for name, mode in firm.items()}
    dry = {name: mode for name, mode in asked.items() if MODES.index(mode) > MODES.index(modes[name])}
    seen = hashlib.blake2b(" ".join(f"{g.name}:{g.digest}" for g in active).encode(), digest_size=8).hexdigest()
    return Watch(active, modes, seen, dry)


def _mode(value: str) -> Mode:
    return value if value in MODES else "block"


def refuses(mode: Mode | None, unseen: bool) -> bool:
    """Tell whether something found is refused in `mode`; `unseen`: nothing that stands in its place would hide it all."""
    return mode == "block" or (mode == "redact" and unseen)


def refusal(hit: Hit, grant: Grant, where: str, shadow: bool = False) -> Deny:
    """Return the refusal for `hit`, which stands in `where`."""
    guard = hit.rule.partition("/")[0]
    what = hit.detail or hit.rule
    return Deny(
        Reason.CONTENT_BLOCKED,
        f"{where[:1].upper()}{where[1:]} holds what agent {grant.agent} must not pass on: {what}.",
        rule=f"{hit.rule} (data.{guard}: block)",
        remedy="Take it out. Where it came from a tool, have the tool leave it out.",
        shadow=shadow,
    )


def unhideable(grant: Grant) -> Deny:
    """Return the refusal of a request in which something must be hidden that stands there in a spelling which cannot be replaced."""
    return Deny(
        Reason.CONTENT_BLOCKED,
        f"The request holds what agent {grant.agent} must not pass on, written so that it cannot be hidden.",
        rule="redaction",
        remedy="Take it out, or write it as plain text: not as a number, the name of a member, or with escapes inside JSON text.",
    )
