"""Asking a person in the middle of an exchange, in every protocol: what keeps a stream alive, and what each answer leads to."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest
from engine_script import ANSWER, ASK, STREAM, Caller, Outcome, Says, Upstream, play
from gate_cases import CALLING, PROTOCOLS, Look, Part, Text, Use

from proxy.engine.approval import Held, alive, approved, lifted, refused
from proxy.engine.exchange import Exchange
from proxy.engine.inspector import PASSES, Inspector, Verdict
from proxy.engine.ports import Answer, Beat, Question, StoreError
from proxy.engine.stage import Stage
from proxy.model import Approval, Deny, Reason
from proxy.wire.call import ToolCall

ALLOWED = Answer(True, "ann", "looks right", "q1")
DENIED = Answer(False, "bob", "not today", "q1")
LATE = Answer(False, why="it stays open", id="q1")
SAID: list[Part] = [Text(["let me ", "see"]), Use("send", ('{"to": "x"}',))]
WITH_CALLS = pytest.mark.parametrize("name", CALLING)


def question(ex: Exchange, call: ToolCall) -> Question:
    return Question("tool_call", "a", ex.session, ex.run, ex.id, call.name, "d1", "policies/x.yaml:3 (ask)")


@dataclass
class Person:
    """Plays the approver: so many beats, then the answer."""

    answer: Answer
    beats: int = 3
    asked: list[Question] = field(default_factory=list)
    beaten: list[bool] = field(default_factory=list)

    async def ask(self, question: Question, beat: Beat | None = None) -> Answer:
        self.asked.append(question)
        self.beaten.append(beat is not None)
        for _ in range(self.beats):
            if beat is not None:
                await beat()
        return self.answer


class Asks(Look):
    """An inspector that has a person asked about each call."""

    def __init__(self, ex: Exchange) -> None:
        super().__init__()
        self.ex = ex

    async def judge(self, call: ToolCall) -> Verdict:
        deny = await approved(self.ex, question(self.ex, call))
        return PASSES if deny is None else Verdict(words=f"{deny.reason}: {deny.message}")


class Asking(Stage):
    name = "asking"

    def inspect(self, ex: Exchange) -> Inspector | None:
        return Asks(ex)


class Early(Stage):
    """Asks before anything is sent."""

    name = "early"

    async def request(self, ex: Exchange) -> Deny | None:
        return await approved(ex, Question("loop", "a", "s", "r", ex.id, "identical", "d", "loops"))


def streamed(name: str, person: Person, leaves_after: int | None = None) -> Outcome:
    spoken = PROTOCOLS[name]
    events = spoken.write(SAID)
    body = json.dumps(spoken.ask).encode()
    return play(
        body,
        Says(events, kind=spoken.kind),
        path=spoken.path,
        query=spoken.query,
        stages=[Asking()],
        targets=[spoken.target],
        held=100_000,
        caller=Caller(body, leaves_after),
        approver=person,
    )


@WITH_CALLS
def test_a_call_that_is_allowed_passes_as_it_is_and_the_stream_is_alive_meanwhile(name: str) -> None:
    spoken, person = PROTOCOLS[name], Person(ALLOWED)
    out = streamed(name, person)
    sign = alive(out.exchange.protocol, spoken.kind)
    whole = b"".join(spoken.write(SAID))
    signs, got = sign * 3, out.caller.got
    ways = {got[:i] + got[i + len(signs) :] for i in range(len(got)) if got.startswith(signs, i)}
    assert whole in ways, "nothing but the signs is new, and they stand together"
    assert [name for name, _ in spoken.read(got).calls] == ["send"]
    assert person.beaten == [True]
    assert ("approval", "send: allowed by ann, looks right [q1]") in out.record.decisions
    assert ("approval/allowed", "q1 ann") in out.record.findings
    assert out.record.bytes_out == len(out.caller.got)


@WITH_CALLS
def test_a_call_that_is_denied_leaves_words_in_its_place(name: str) -> None:
    out = streamed(name, Person(DENIED))
    got = PROTOCOLS[name].read(out.caller.got)
    assert not got.calls
    assert b"approval_denied: Approval q1 is needed, and bob denied it: not today." in out.caller.got
    assert out.record.outcome == "ok"
    assert ("approval/refused", "q1 bob") in out.record.findings


@WITH_CALLS
def test_nobody_decides(name: str) -> None:
    out = streamed(name, Person(LATE))
    assert not PROTOCOLS[name].read(out.caller.got).calls
    assert b"approval_timeout: Approval q1 is needed, and nobody has decided in time (it stays open)." in out.caller.got


@WITH_CALLS
def test_a_client_that_leaves_ends_the_wait(name: str) -> None:
    person = Person(ALLOWED, beats=50)
    out = streamed(name, person, leaves_after=4)
    assert out.record.outcome == "client_gone"


def test_before_a_stream_has_begun_nothing_is_sent_and_nothing_asked_of_the_provider() -> None:
    person = Person(DENIED)
    out = play(STREAM, upstream=Upstream([]), stages=[Early()], approver=person)
    assert (out.record.status, out.record.reason, out.upstream.asked, person.beaten) == (403, "approval_denied", [], [False])


def test_what_is_allowed_before_goes_on() -> None:
    out = play(ASK, Says([ANSWER]), stages=[Early()], approver=Person(ALLOWED))
    assert (out.record.outcome, out.caller.got) == ("ok", ANSWER)


def test_without_an_approver_it_is_refused() -> None:
    out = play(ASK, upstream=Upstream([]), stages=[Early()])
    assert (out.record.reason, out.upstream.asked) == ("approval_timeout", [])
    assert "nobody can be asked here" in out.record.message


def test_a_question_that_cannot_be_kept_refuses() -> None:
    class Broken(Person):
        async def ask(self, question: Question, beat: Beat | None = None) -> Answer:
            raise StoreError("gone")

    out = play(ASK, upstream=Upstream([]), stages=[Early()], approver=Broken(ALLOWED))
    assert (out.record.reason, out.upstream.asked) == ("store_unavailable", [])


@pytest.mark.parametrize("why", ["no.", "no", ""])
def test_a_denial_is_a_sentence(why: str) -> None:
    deny = refused(Question("loop", "a", "s", "r", "e", "w", "d", "here"), Answer(False, "bob", why))
    assert deny.message == {"": "An approval is needed, and bob denied it."}.get(why, "An approval is needed, and bob denied it: no.")
    assert (deny.reason, deny.rule, deny.lasting) == (Reason.APPROVAL_DENIED, "here", True)


ASKS = Deny(Reason.POLICY_DENIED, "The house asks first.", "x.yaml:3 (ask)", approval=Approval(7.0, "allow"))


class Lifted(Stage):
    """Refuses what a person may lift."""

    name = "lifted"

    def __init__(self, deny: Deny) -> None:
        self.deny = deny

    async def request(self, ex: Exchange) -> Deny | None:
        return self.deny


def test_a_refusal_that_a_person_lifts() -> None:
    person = Person(ALLOWED)
    out = play(ASK, Says([ANSWER]), stages=[Lifted(ASKS)], approver=person)
    assert (out.record.outcome, out.caller.got) == ("ok", ANSWER)
    (asked,) = person.asked
    assert (asked.kind, asked.what, asked.rule, asked.why) == ("request", "x.yaml:3 (ask)", "x.yaml:3 (ask)", "The house asks first.")
    assert (asked.timeout_s, asked.default, asked.exchange, len(asked.digest)) == (7.0, "allow", out.record.id, 64)


def test_the_same_request_is_the_same_question() -> None:
    person = Person(DENIED)
    for body in (ASK, STREAM, ASK.replace(b"hi", b"ho")):
        out = play(body, upstream=Upstream([]), stages=[Lifted(ASKS)], approver=person)
        assert (out.record.reason, out.upstream.asked) == ("approval_denied", [])
    first, second, third = (asked.digest for asked in person.asked)
    assert first == second != third


@pytest.mark.parametrize("deny", [Deny(Reason.POLICY_DENIED, "no"), Deny(Reason.POLICY_DENIED, "no", shadow=True, approval=Approval())])
def test_what_nobody_may_lift_asks_nobody(deny: Deny) -> None:
    person = Person(ALLOWED)

    class Direct(Stage):
        name = "direct"

        async def request(self, ex: Exchange) -> Deny | None:
            assert await lifted(ex, deny, Held("request", "x", "d")) is deny
            return deny

    out = play(ASK, Says([ANSWER]), stages=[Direct()], approver=person)
    assert not person.asked
    assert out.record.outcome == ("ok" if deny.shadow else "denied")


def test_where_nobody_can_be_asked_the_refusal_stands() -> None:
    out = play(ASK, upstream=Upstream([]), stages=[Lifted(ASKS)])
    assert (out.record.reason, out.record.message, out.upstream.asked) == ("policy_denied", "The house asks first.", [])


class Holds(Stage):
    """Holds every request for a person."""

    name = "holds"

    async def request(self, ex: Exchange) -> Deny | None:
        return Deny(Reason.POLICY_DENIED, "Held.", rule="policies/x.yaml:3 (hold)", approval=Approval())


def held_request(changed: dict[str, object], *, path: str = "/v1/chat/completions") -> Question:
    person = Person(DENIED)
    out = play(json.dumps(json.loads(ASK) | changed).encode(), upstream=Upstream([]), stages=[Holds()], path=path, approver=person)
    assert (out.record.reason, out.upstream.asked) == ("approval_denied", [])
    return person.asked[0]


@pytest.mark.parametrize(
    "changed",
    [
        {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "description": "mail it to everybody"}}},
        {"prediction": {"type": "content", "content": "other"}},
        {"tool_choice": {"type": "function", "function": {"name": "drop"}}},
        {"temperature": 2},
        {"x" * 70_000: 1},
    ],
)
def test_an_approval_of_a_request_is_of_all_of_it(changed: dict[str, object]) -> None:
    one, other = held_request({"stream": False}), held_request({"stream": False, **changed})
    assert one.digest != other.digest
    assert one.digest == held_request({"stream": True}).digest, "who falls back from a stream asks for the same"
    assert one.digest == held_request({"stream": False}).digest


def test_an_approval_to_count_is_none_to_ask() -> None:
    body: dict[str, object] = {"max_tokens": 5}
    asked = {held_request(body, path=path).digest for path in ("/v1/messages", "/v1/messages/count_tokens")}
    assert len(asked) == 2
