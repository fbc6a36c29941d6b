"""Stages, and the proof that they stand in the right order.

A stage declares which fields of the exchange it needs and which it gives. `compile_plan` walks the list once, at start: a field that
is needed before it was given is a mistake of ours that never reaches a request. Hooks that a stage does not override are left out of
the plan, so they cost nothing.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from proxy.model import Deny
from proxy.wire.call import Event

if TYPE_CHECKING:
    from proxy.engine.exchange import Exchange
    from proxy.engine.inspector import Inspector


class Tap(Protocol):
    """Watches the events of one stream as they pass; a Deny cuts the stream before that event is sent."""

    def __call__(self, event: Event) -> Deny | None:
        """Look at one event."""
        ...


class Stage:
    """One concern's look at an exchange. Subclasses override the hooks that they use.

    A hook that raises is a Deny: `StoreError` as `store_unavailable`, anything else as `internal`.
    """

    name: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset()
    gives: ClassVar[frozenset[str]] = frozenset()

    async def request(self, ex: Exchange) -> Deny | None:
        """Look at the request before anything is sent."""
        return None

    async def reply(self, ex: Exchange) -> Deny | None:
        """Look at a whole buffered reply before the client sees it."""
        return None

    def tap(self, ex: Exchange) -> Tap | None:
        """Return a watcher for the events of this exchange's stream, or None."""
        return None

    def inspect(self, ex: Exchange) -> Inspector | None:
        """Return what judges the texts and tool calls of this exchange's reply, streamed or not, or None. One stage of a plan has it."""
        return None


Hook = Callable[["Exchange"], Awaitable[Deny | None]]


@dataclass(frozen=True, slots=True)
class Plan:
    """The hooks to run, in order, each with its stage's name."""

    request: tuple[tuple[str, Hook], ...]
    reply: tuple[tuple[str, Hook], ...]
    taps: tuple[Callable[[Exchange], Tap | None], ...]
    inspect: Callable[[Exchange], Inspector | None] | None = None


class PlanError(Exception):
    """The stages stand in an order that cannot work."""


def compile_plan(stages: Sequence[Stage], given: Iterable[str]) -> Plan:
    """Return the plan of `stages`, whose first finds the fields `given` already set.

    Raises:
        PlanError: a stage needs what no earlier one gives, two stages give the same field, or two have one name.
    """
    have, names = set(given), set()
    for stage in stages:
        missing = stage.needs - have
        if missing:
            raise PlanError(f"stage {stage.name} needs {', '.join(sorted(missing))}, which no stage before it gives")
        twice = stage.gives & have
        if twice or stage.name in names:
            raise PlanError(f"stage {stage.name} gives {', '.join(sorted(twice)) or 'its name'} a second time")
        have |= stage.gives
        names.add(stage.name)
    inspectors = [s.inspect for s in stages if type(s).inspect is not Stage.inspect]
    if len(inspectors) > 1:
        raise PlanError("two stages inspect replies; one must do it for both")
    return Plan(
        request=tuple((s.name, s.request) for s in stages if type(s).request is not Stage.request),
        reply=tuple((s.name, s.reply) for s in stages if type(s).reply is not Stage.reply),
        taps=tuple(s.tap for s in stages if type(s).tap is not Stage.tap),
        inspect=inspectors[0] if inspectors else None,
    )
