"""Decides whether the end of a conversation is a loop, how sure that is, and since when.

Two rules speak, and the higher level holds. **identical** counts equal steps in a row, against the limits of the agent's file. The
**score** adds up, from the newest step back, how much each step that was done before counts (`score`), until one that is new; it sees
cycles, reworded calls and errors that come again. Both look only at what stands after the last turn of a human, at no more than a window
of it, and at nothing but the conversation: the same request gets the same answer everywhere. Pure.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from proxy.loops.detection import LEVELS, NOTHING, Detection, Level, capped
from proxy.loops.facts import DONE, ERROR
from proxy.loops.score import EXACT, WEIGHTS, Again, Weights, again, total
from proxy.loops.steps import ANSWERED, Step, Steps, human_turn
from proxy.loops.trail import NO_TRAIL, Trail
from proxy.model import LoopLimits
from proxy.wire.call import Message

REACH = 4
"""How far back a step may have been done before, in periods: `max_period` times this."""
LONGEST, NEARLY = 64, 24
"""Steps of a run that are looked at, and how far also those that are done only nearly again, which costs more."""
LISTS = 4
"""What is refused at this many times as many steps only: those that are nearly the same (so may a list be gone through in which nothing is
found), and words that may be answered by a person (so may a game be played)."""
POLLS = 20
"""The same call this many times as often as `identical.warn`, with new answers, is worth a word."""
STANDARD = LoopLimits()


def detect(messages: Sequence[Message], limits: LoopLimits, before: Trail = NO_TRAIL) -> Detection:
    """Return what the detector makes of a conversation: `messages` as sent, `before` what is known from earlier and not in them."""
    if human_turn(messages):
        return NOTHING
    return judge(Steps(messages, before.steps()), limits)


def judge(steps: Steps, limits: LoopLimits, weights: Weights = WEIGHTS) -> Detection:
    """Return what `steps` mean under `limits`."""
    run, known = run_of(steps, REACH * limits.max_period, weights), steps.known
    if not known:
        return NOTHING
    if not run and min(limits.warn, limits.block) > 1:
        return _polling(steps, limits)
    row = in_a_row(run)
    by_count = _counted(known, row, limits)
    by_score = _scored(known, run, limits, weights) if row < len(run) or limits.warn <= STANDARD.warn else "none"
    level = capped(max(by_count, by_score, key=LEVELS.index), limits)
    if level == "none":
        return NOTHING
    if by_count != "none" and LEVELS.index(by_count) >= LEVELS.index(by_score):
        words = f"{row + 1} times in a row with the same arguments"
        return Detection(level, "identical", row + 1, row, known[0].names, words)
    names = tuple(dict.fromkeys([name for step in known[: len(run)] for name in step.names]))
    return Detection(level, _name(run, limits, known[0]), len(run) + 1, len(run), names, _evidence(run))


def run_of(steps: Steps, reach: int, weights: Weights = WEIGHTS) -> list[Again]:
    """Return how the newest steps were done before, the newest first, up to one that was not."""
    run: list[Again] = []
    while len(run) < LONGEST:
        known = steps.upto(len(run) + 1 + reach)
        at = len(run)
        if at + 1 >= len(known):
            break
        found = again(known, at, reach, weights)
        if found is None or (at >= NEARLY and found.how is not EXACT):
            break
        run.append(found)
    return run


def in_a_row(run: Sequence[Again]) -> int:
    """Return how many of the newest steps did the one before them exactly again."""
    for n, one in enumerate(run):
        if one.how is not EXACT or one.lag != 1:
            return n
    return len(run)


def _counted(known: Sequence[Step], row: int, limits: LoopLimits) -> Level:
    """Return the level of `row` steps that each did the one before them again.

    Halfway between the two limits something is done. An action that is confirmed each time may be meant: it takes more of them, and twice
    as many to be refused where the agent says something else each time.
    """
    count, warn, block = row + 1, limits.warn, limits.block
    if known[0].result.kind == DONE and count > 1:
        warn = max(warn, block - 1)
        if all(step.said.digest != old.said.digest for step, old in itertools.pairwise(known)):
            warn, block = 2 * block - 2, 2 * block
    if count >= block:
        return "block"
    if count >= min(warn, block):
        return "nudge" if count > warn and count >= (warn + block + 1) // 2 else "warn"
    return "none"


def _scored(known: Sequence[Step], run: Sequence[Again], limits: LoopLimits, weights: Weights) -> Level:
    score = total(run, weights)
    lenient, patient = limits.warn / STANDARD.warn, limits.block / STANDARD.block
    exact = 0 if known[0].tools == ANSWERED else sum([one.how is EXACT for one in run])
    if score >= weights.block * patient and (exact + 1 >= limits.block or len(run) >= min(LISTS * limits.block, NEARLY)):
        return "block"
    if score >= weights.nudge * patient and len(run) > 2:
        return "nudge"
    return "warn" if score >= weights.warn * lenient else "none"


def _polling(steps: Steps, limits: LoopLimits) -> Detection:
    """Return a warning where one call was made very often, although its answer changes."""
    known = steps.known
    if len(known) < 2 or known[0].key != known[1].key:
        return NOTHING
    most = POLLS * limits.warn
    known = steps.upto(most)
    count = next((n for n, step in enumerate(known) if step.key != known[0].key), len(known))
    if count < most:
        return NOTHING
    return Detection("warn", "polling", count, count - 1, known[0].names, f"{count} times in a row with the same arguments and new results")


def _name(run: Sequence[Again], limits: LoopLimits, newest: Step) -> str:
    if not newest.names:
        return "said"
    exact = sum([one.how is EXACT for one in run])
    if 2 * exact >= len(run):
        lag = run[0].lag
        cycle = 1 < lag <= limits.max_period and len(run) >= lag and all(one.how is EXACT and one.lag == lag for one in run)
        return "cycle" if cycle else "repeat"
    return "same_error" if 2 * sum([one.kind == ERROR for one in run]) >= len(run) else "similar"


def _evidence(run: Sequence[Again]) -> str:
    exact = sum([one.how is EXACT for one in run])
    errors = sum([one.kind == ERROR for one in run])
    parts = [f"{exact} exactly" if exact else "", f"{len(run) - exact} nearly" if exact < len(run) else ""]
    ways = " and ".join([part for part in parts if part])
    return f"{len(run)} steps in a row did again what was done before ({ways}), with the same outcome" + (
        f", {errors} of them errors" if errors else ""
    )
