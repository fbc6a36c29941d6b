"""Which step is taken against a loop: pure, from the detection and the agent's limits.

The level of the detection says how far the answer may go. `warn` only says so. From `nudge` on the steps that let the call go on are
taken in the order of the ladder, one further for each further model call on which the loop goes on, and those before it stay: who is
asked to be somebody else is still told why. `block` refuses, or asks a person first. Where it stands is read from the history that the
request brings, so every replica gives the same answer, and a loop that is over has left no trace.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from proxy.loops.detection import LEVELS, Detection, Level
from proxy.model import LADDER, LoopLimits, Persona
from proxy.wire.call import Message, Steer

GENTLE = ("nudge", "persona", "downgrade", "strip_tools")
"""The steps that let a call go on."""
HOUSE_PERSONA = Persona(
    "You are a debugger who was called in because an agent repeats itself. Read the conversation as evidence. Say what was tried and what "
    "came of it, name the assumption that does not hold, and then either do one thing that was not tried yet or answer with what is known "
    "and what is missing. Do not repeat a call that was made before."
)
"""Who is called in where no file names anybody."""
OPENING = "[Note from the gateway that carries this conversation; not from the user.]"
"""How a note to the model begins."""
ASKED_AGAIN = 10
"""Steps that go on by one approval of a person."""


@dataclass(frozen=True, slots=True)
class Rung:
    """Where an agent stands on its ladder.

    Attributes:
        level: of the answer, as the reply's header says it.
        steps: what is done, in order; at level `block` nothing but it, or `escalate`.
    """

    level: Level = "none"
    steps: tuple[str, ...] = ()

    @property
    def action(self) -> str:
        """The furthest step where that is more than the level says, else empty."""
        return self.steps[-1] if self.steps and self.steps[-1] not in LEVELS else ""


def rung(found: Detection, limits: LoopLimits, usable: Collection[str], persisted: Callable[[], int]) -> Rung:
    """Return what is done about `found`.

    Args:
        found: what the detector saw.
        limits: the agent's ladder.
        usable: the steps of `GENTLE` that can be taken here.
        persisted: tells on how many earlier model calls the loop could have been nudged; asked only where it matters.
    """
    if found.level in ("none", "warn"):
        return Rung(found.level)
    if found.level == "block" and limits.act == "block":
        return Rung("block", ("escalate",) if "escalate" in limits.ladder else ("block",))
    gentle = tuple(step for step in GENTLE if step in limits.ladder and step in usable)
    if not gentle:
        return Rung("warn")
    return Rung("nudge", gentle[: 1 + (persisted() if len(gentle) > 1 else 0)])


def earlier(messages: Sequence[Message], detect: Callable[[Sequence[Message]], Detection], most: int = len(LADDER)) -> int:
    """Return how many model calls before the one that `messages` asks for found the loop at `nudge` or above, at most `most`.

    What such a call was asked with is the history without the last step of the assistant's and what came after it.
    """
    count, end = 0, len(messages)
    while count < most:
        while end and not _spoke(messages[end - 1]):
            end -= 1
        while end and _spoke(messages[end - 1]):
            end -= 1
        if not end or LEVELS.index(detect(messages[:end]).level) < LEVELS.index("nudge"):
            break
        count += 1
    return count


def _spoke(message: Message) -> bool:
    return message.role in ("assistant", "reasoning") or bool(message.tool_calls)


def note(found: Detection) -> str:
    """Return what the model is told: short, honest about who says it, without a word of the conversation."""
    seen = ", ".join(filter(None, (found.names, found.evidence)))
    return (
        f"{OPENING} You are repeating yourself{f': {seen}' if seen else ''}. "
        f"It began {found.since + 1} steps ago and nothing new has come of it since. "
        "Do not do the same again. Change the approach, or finish: say what you found and what is missing."
    )


def steer(step: Rung, found: Detection, limits: LoopLimits) -> Steer:
    """Return what the steps of `step` change in the request."""
    persona = (limits.persona or HOUSE_PERSONA) if "persona" in step.steps else None
    return Steer(
        note=note(found) if "nudge" in step.steps else "",
        system=None if persona is None else persona.system,
        temperature=None if persona is None else persona.temperature,
        no_tools="strip_tools" in step.steps,
    )


def room(steer: Steer) -> int:
    """Return the tokens that `steer` adds to a request at most: no token is less than a byte."""
    return 32 + len(steer.note.encode("utf-8", "replace")) + len((steer.system or "").encode("utf-8", "replace"))


def question(found: Detection) -> str:
    """Return the digest under which a person is asked about a loop: one decision holds for some steps, and then they are asked again."""
    asked = f"{found.rule}\0{found.since // ASKED_AGAIN}\0{chr(0).join(found.tools)}"
    return hashlib.blake2b(asked.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
