"""Asking a person in the middle of an exchange: the wait, the client's stream meanwhile, and what becomes of the exchange.

Any stage or judge that holds something back calls `approved` and does what it says. It decides nothing: the question's rule and the person
do. How it fails: an approver that cannot keep the question raises StoreError, which refuses; nobody to ask is a refusal.

What keeps a stream alive must mean nothing in its protocol, to the clients that exist: Google's own library takes a comment in a stream of
events for the beginning of an error, and Ollama's reads each line as JSON, so these get white space.

Source: google-genai 3.6.1 (`_iter_response_stream`), ollama 0.6.3 (`_client.py`), WHATWG HTML 9.2 (comments), Anthropic
"Streaming messages" (ping events), all 2026-11.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass

from proxy.engine.exchange import Exchange, Nobody
from proxy.engine.ports import Answer, Beat, Question, QuestionKind
from proxy.model import Deny, Reason

ALIVE_S = 5.0
"""How often a stream that waits is kept alive."""
DIGEST_INLINE = 262_144
"""Bytes of a body up to which its digest is made on the loop."""
STREAMING = ("stream", "stream_options")
_ALIVE = {
    ("anthropic", "text/event-stream"): b'event: ping\ndata: {"type": "ping"}\n\n',
    ("openai", "text/event-stream"): b": waiting\n\n",
    ("gemini", "text/event-stream"): b"\n",
}


def alive(protocol: str, kind: str) -> bytes:
    """Return bytes that mean nothing between two events of a stream of this content type."""
    return _ALIVE.get((protocol, kind), b" ")


def beat_of(ex: Exchange) -> Beat | None:
    """Return what keeps the client's stream alive, None where it has not begun."""
    if not ex.started:
        return None
    sign = alive(ex.protocol, ex.codec.content_type(ex.call))

    async def beat() -> None:
        ex.sizes[1] += len(sign)
        await ex.client.write(sign)

    return beat


async def approved(ex: Exchange, question: Question) -> Deny | None:
    """Have a person asked; return None when it is allowed, else the refusal. Either way the record says who and why.

    Raises:
        ClientGone: the client did not wait.
        StoreError: the question cannot be kept.
    """
    answer = await ex.rt.approver.ask(question, beat_of(ex))
    who = answer.by or "nobody"
    words = f"{question.what[:80]}: {'allowed' if answer.allowed else 'refused'} by {who}{f', {answer.why}' if answer.why else ''}"
    ex.note("approval", f"{words} [{answer.id or question.rule}]")
    ex.find("approval/allowed" if answer.allowed else "approval/refused", f"{answer.id} {who}".strip())
    return None if answer.allowed else refused(question, answer)


@dataclass(frozen=True, slots=True)
class Held:
    """What is held back: its kind, its name in a word, a digest of all of it, and what a person sees of it."""

    kind: QuestionKind
    what: str
    digest: str
    preview: str = ""


async def lifted(ex: Exchange, deny: Deny, held: Held) -> Deny | None:
    """Return None where a person lifts `deny`, else the refusal: `deny` itself where it is dry, nobody may lift it, or nobody can be asked.

    Raises:
        ClientGone, StoreError: as `approved`.
    """
    if deny.approval is None or deny.shadow or isinstance(ex.rt.approver, Nobody):
        return deny
    question = Question(
        kind=held.kind,
        agent=ex.agent,
        session=ex.session,
        run=ex.run,
        exchange=ex.id,
        what=held.what,
        digest=held.digest,
        rule=deny.rule,
        why=deny.message,
        preview=held.preview,
        timeout_s=deny.approval.timeout_s,
        default=deny.approval.default,
    )
    return await approved(ex, question)


async def asked(ex: Exchange, deny: Deny) -> Deny | None:
    """Return what becomes of a stage's refusal that a person may lift, once one was asked: the same request is the same question."""
    digest = await asyncio.to_thread(digest_of, ex) if len(ex.call.body) > DIGEST_INLINE else digest_of(ex)
    return await lifted(ex, deny, Held("request", deny.rule[:200], digest))


def digest_of(ex: Exchange) -> str:
    """Return what two requests share that differ in whether they stream alone: nothing else may be sent on another one's approval."""
    call = ex.call
    said = hashlib.sha256(f"{ex.codec.name}\0{call.operation}\0{call.model}\0".encode("utf-8", "surrogatepass"))
    for name, (start, end) in sorted(call.members.items()) or [("", (0, len(call.body)))]:
        if name not in STREAMING:
            said.update(b"%s\0%d\0" % (name.encode("utf-8", "surrogatepass"), end - start))
            said.update(memoryview(call.body)[start:end])
    return said.hexdigest()


def refused(question: Question, answer: Answer) -> Deny:
    """Return the refusal that an answer is."""
    asked = f"Approval {answer.id} is needed" if answer.id else "An approval is needed"
    if answer.decided:
        message = f"{asked}, and {answer.by} denied it{f': {answer.why}' if answer.why else '.'}"
        message = message if message.endswith((".", "!", "?")) else f"{message}."
        return Deny(Reason.APPROVAL_DENIED, message, question.rule, "Do it in another way, or ask whoever denied it.", lasting=True)
    message = f"{asked}, and nobody has decided in time{f' ({answer.why})' if answer.why else ''}."
    return Deny(Reason.APPROVAL_TIMEOUT, message, question.rule, "Ask for the same again later: a decision made meanwhile is found then.")
