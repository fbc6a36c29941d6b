"""A conversation as steps: what the agent did and what came of it, read from the newest back to the last turn of a human.

A step is one assistant message that calls tools, with the results that follow it; parallel calls are one step in any order, also where a
protocol sends each as an item of its own. Where a client hands results over in the human's role and the actions stand in the text, an
answer and what is said to it are a step too. Only as much is read as is asked for, so a turn costs what is looked at and not what the
conversation is long. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple
from zlib import crc32

from proxy.loops.facts import NO_TEXT, SEEN, Facts, Made, Several, Text, answers_of, digest, facts
from proxy.wire.call import Message

STEP = "loops.step"
"""Where the message of a step remembers what of it is its own. Nothing of other messages is kept there: their texts would live on with it,
and nobody would count them."""
WINDOW = 1000
"""Messages that are read back at most, also where none of them is a step."""
WIDE = 16
"""Bytes of a key."""
ANSWERED = 1
"""The number of tools of a step that is words alone, answered by a text that may be a person's: it reads the same each time."""
AGAIN = 2
"""How many earlier turns in the human's role must read like the newest for a client to have written them."""


class Step(NamedTuple):
    """One step.

    Attributes:
        key: equal for equal calls (name and canonical arguments), 16 bytes. tools: a number for the set of tools.
        shape: equal too where only numbers and ids differ, 8 bytes. call: the calls as a text.
        answers: equal for equal results, 8 bytes, empty for none. result: them as a text. said: the words beside the calls.
        ids: a number for the calls' ids, 0 for none. names: the tools, in order.
    """

    key: bytes
    tools: int
    shape: bytes
    call: Text
    answers: bytes
    result: Text
    said: Text
    ids: int = 0
    names: tuple[str, ...] = ()


class Steps:
    """The steps at the end of `messages`, the newest first, read as they are asked for; `known` are those read so far.

    `before` are steps that are known from earlier, the newest first. They count where no turn of a human stands between.
    """

    def __init__(self, messages: Sequence[Message], before: Sequence[Step] = ()) -> None:
        self.known: list[Step] = []
        self._messages, self._before = messages, before
        self._more = self._read()

    def upto(self, count: int) -> list[Step]:
        """Return the newest `count` steps, or all where there are fewer; possibly more."""
        self.known.extend(islice(self._more, max(0, count - len(self.known))))
        return self.known

    def _read(self) -> Iterator[Step]:
        messages, ids = self._messages, dict[str, int]()
        results: list[Facts] = []
        held: list[Message] = []
        automatic: set[bytes] = set()
        at = len(messages)
        for message in islice(reversed(messages), WINDOW):
            at -= 1
            fact: Facts = message.seen.get(SEEN) or facts(message)  # type: ignore[assignment]  # ours
            if fact.calls:
                held.append(message)
            if fact.item and (fact.calls or fact.role == "reasoning"):
                continue
            if held:
                step = _step(held, tuple(results), ids)
                if step is not None:
                    yield step
                held, results = [], []
            if fact.calls:
                continue
            if fact.human and not _automatic(_earlier(messages, at), fact, automatic):
                return
            if fact.results or fact.role == "user":
                results.append(fact)
            elif results and fact.role == "assistant" and any(result.role == "user" and not result.results for result in results):
                yield _spoken(fact, tuple(results))
                results = []
        if held and (step := _step(held, tuple(results), ids)) is not None:
            yield step
            results = []
        yield from self._earlier(tuple(results))

    def _earlier(self, results: tuple[Facts, ...]) -> Iterator[Step]:
        """Yield the steps known from earlier: `results` came for the newest of them; one that was sent again counts once."""
        known, before = self.known, self._before
        if not before:
            return
        if known and known[-1].ids and known[-1].ids == before[0].ids and known[-1].key == before[0].key:
            before = before[1:]
        elif results and not before[0].answers:
            yield answered(before[0], results)
            before = before[1:]
        yield from before


def human_turn(messages: Sequence[Message]) -> bool:
    """Return whether a human spoke last, so that there is no step yet."""
    if not messages:
        return False
    fact = facts(messages[-1])
    return fact.human and not fact.calls and not _automatic(_earlier(messages, len(messages) - 1), fact, set())


def answered(step: Step, results: tuple[Facts, ...]) -> Step:
    """Return `step` with the results that came for it."""
    if not results:
        return step
    key, tools, shape, call, _, _, said, ids, names = step
    first = results[0]
    if len(results) == 1:
        return Step(key, tools, shape, call, first.answers or _answers(results), first.said, said, ids, names)
    return Step(key, tools, shape, call, _answers(results), _together([fact.said for fact in results]), said, ids, names)


def acted(calls: Sequence[Made], said: Text = NO_TEXT) -> Step:
    """Return the step that is `calls` and has no results yet; `said` are the words beside them."""
    names = tuple(dict.fromkeys([call.name for call in calls]))
    tools = _number(list(names))
    if len(calls) == 1:
        key, shape, text = calls[0].signature, calls[0].shape, calls[0].text
    else:
        key = digest(b"".join(sorted([call.signature for call in calls])))
        shape = digest(b"".join(sorted([call.shape for call in calls])))
        text = _together([call.text for call in calls])
    ids = _number([call.id for call in calls if call.id])
    return Step(key.ljust(WIDE, b"\0"), tools, shape, text, b"", NO_TEXT, said, ids, names)


def _step(held: list[Message], results: tuple[Facts, ...], ids: dict[str, int]) -> Step | None:
    """Return the step of the messages `held` (the newest first), None where all of its calls were seen once already.

    A message that was sent twice counts once, by the ids of its calls; ids that come a third time are no ids, as of servers that number
    every call 0.
    """
    head = facts(held[0])
    made = head.calls if len(held) == 1 else tuple([call for message in reversed(held) for call in facts(message).calls])
    fresh: Sequence[Made] = made
    if 1 in [ids.get(call.id) for call in made]:
        fresh = [call for call in made if ids.get(call.id) != 1]
    for call in made:
        if call.id:
            ids[call.id] = ids.get(call.id, 0) + 1
    if not fresh:
        return None
    if len(held) > 1 or len(fresh) < len(made):
        return answered(acted(fresh, _together([facts(message).said for message in held])), results)
    own = held[0].seen.get(STEP)
    if own is None:
        own = held[0].seen[STEP] = acted(fresh, head.said)
    return answered(own, results)  # type: ignore[arg-type]  # nobody else writes there


def _spoken(fact: Facts, results: tuple[Facts, ...]) -> Step:
    """Return the step of an agent whose actions are words."""
    said, person = fact.said, ANSWERED if all(result.human for result in results) else 0
    return Step(said.digest.ljust(WIDE, b"\0"), person, said.digest, said, _answers(results), _together([r.said for r in results]), NO_TEXT)


def _number(names: list[str]) -> int:
    return crc32("\0".join(sorted(names)).encode("utf-8", "surrogatepass")) if names else 0


def _answers(results: tuple[Facts, ...]) -> bytes:
    return answers_of([one for result in results for one in (result.results or (result.said.digest,))])


def _together(texts: list[Text]) -> Text:
    """Return several texts as one, in any order."""
    if len(texts) > 1:
        texts = list({text.digest: text for text in texts if text.digest}.values())
    if len(texts) < 2:
        return texts[0] if texts else NO_TEXT
    return Several(texts)


def _earlier(messages: Sequence[Message], at: int) -> Iterator[Message]:
    """Return the messages before `at` in which earlier turns of a human are looked for, the newest first."""
    back = len(messages) - at
    return islice(reversed(messages), back, back + 16 * AGAIN)


def _automatic(before: Iterator[Message], fact: Facts, known: set[bytes]) -> bool:
    """Return whether a client wrote what stands behind `before` in the human's role: it says the same after each of the last steps.

    `known` are the digests of such texts; what is found is added.
    """
    if known and fact.said.digest in known:
        return True
    said: list[Text] = []
    answers = 0
    for message in before:
        other: Facts = message.seen.get(SEEN) or facts(message)  # type: ignore[assignment]  # ours
        if other.role == "assistant" and not other.item:
            answers += 1
        elif other.human:
            if answers != 1:
                return False
            said.append(other.said)
            answers = 0
            if len(said) == AGAIN:
                break
    # what is new is read last: mostly those before it differ already, and they were read before
    digests = {text.digest for text in said} if len(said) == AGAIN else set[bytes]()
    if len(digests) != 1 or fact.said.digest not in digests:
        return False
    known |= digests
    return True
