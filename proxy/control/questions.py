"""A question to people as the store keeps it, and every step that it can take: pure.

    pending  -> approved | denied   by a person, or by the rule's default when its time is over
    approved -> used up             each call that passes takes one use; an approval for a time has no end of uses until then

One row a question: what has the same agent, session, kind, what and digest is the same question, and its id says so. Every step is written
only over the version that it was read at, so that two replicas never take one use twice nor decide twice. A row that is over (`expires`) is
as good as none: asking again begins anew.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from proxy.control.rules import clean
from proxy.engine.ports import Answer, Question

Status = Literal["pending", "approved", "denied"]
DEFAULT = "the rule's default"
GRACE_S = 60.0
"""How long a question stands at least when its time is over, so that its default can follow."""
MAX_PREVIEW = 4000
MORE = "\n… (there is more that is not shown)"
MAX_PENDING = 100
"""Questions of one agent that may wait at once."""
ANY = -1
"""Uses of an approval that holds for a time."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds: how long one is waited for, how long a question and its decision are kept; and what follows when nobody decides."""

    timeout_s: float = 300.0
    keep_s: float = 3600.0
    default: Literal["deny", "allow"] = "deny"


@dataclass(frozen=True, slots=True)
class Case:
    """One question.

    Attributes:
        version: changes with every step.
        asked: when, UTC seconds. deadline: from when on the default counts. waits: until when somebody waits for it, as far as known.
        expires: from when on it is over.
        default: what follows when nobody decides.
        by, reason, decided: who decided, why and when.
        uses: calls that an approval still lets through, `ANY` for all.
        token: SHA-256 of what the one-time link holds; empty once decided.
    """

    id: str
    version: int
    question: Question
    asked: float
    deadline: float
    waits: float
    expires: float
    default: Literal["deny", "allow"] = "deny"
    status: Status = "pending"
    by: str = ""
    reason: str = ""
    decided: float | None = None
    uses: int = 0
    token: str = ""

    def over(self, now: float) -> bool:
        """Return whether it counts no more."""
        return now >= self.expires or (self.status == "approved" and self.uses == 0)


def id_of(question: Question) -> str:
    """Return the id of a question: 32 hex digits, so many that who makes up arguments finds no two that share one."""
    q = question
    said = "\0".join((q.agent, q.session, q.kind, q.what, q.digest))
    return hashlib.sha256(said.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def opened(question: Question, old: Case | None, now: float, timing: Timing, token: str) -> Case:
    """Return the question as it waits: a new one in the place of `old`, or `old` itself waiting on.

    Args:
        question: what is asked.
        old: what the store has under its id; not one that is decided and counts.
        now: UTC seconds.
        timing: the settings, where the question says nothing of its own.
        token: SHA-256 of the secret of a new question's link.
    """
    timeout = timing.timeout_s if question.timeout_s is None else question.timeout_s
    default = question.default or timing.default
    if old is not None and not old.over(now):
        return replace(old, version=old.version + 1, waits=max(old.waits, now + timeout), expires=max(old.expires, now + timeout))
    return Case(
        id=id_of(question),
        version=1 if old is None else old.version + 1,
        question=shown(question),
        asked=now,
        deadline=now + timeout,
        waits=now + timeout,
        expires=now + max(timeout + GRACE_S, timing.keep_s),
        default=default,
        token=token,
    )


def shown(question: Question) -> Question:
    """Return a question fit to be shown: bounded, and nothing in it that does not print but the preview's line breaks."""
    more = len(question.preview) > MAX_PREVIEW
    lines = question.preview[: MAX_PREVIEW - len(MORE) if more else MAX_PREVIEW].splitlines()
    preview = "\n".join(clean(line, MAX_PREVIEW) for line in lines) + MORE * more
    return replace(
        question,
        agent=clean(question.agent, 200),
        session=clean(question.session, 200),
        run=clean(question.run, 200),
        what=clean(question.what, 200),
        rule=clean(question.rule, 300),
        why=clean(question.why, 600),
        preview=preview,
    )


def answered(case: Case, now: float) -> tuple[Answer | None, Case | None]:
    """Return what a question's row answers now, and the row to write first (which may fail: then read it again).

    (None, None): nobody has decided, or it is over.
    """
    if case.over(now):
        return None, None
    if case.status == "denied":
        return Answer(False, case.by, case.reason, case.id), None
    if case.status == "approved":
        used = None if case.uses == ANY else replace(case, version=case.version + 1, uses=case.uses - 1)
        return Answer(True, case.by, case.reason, case.id), used
    if case.default == "allow" and now >= case.deadline:
        by = replace(case, version=case.version + 1, status="approved", by=DEFAULT, reason="nobody decided in time", decided=now, token="")
        return Answer(True, DEFAULT, by.reason, case.id), by
    return None, None


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody decides. `lasts_s`: an approval for that long in place of once. `token`: of the one-time link, where that is used."""

    allowed: bool
    by: str
    reason: str = ""
    lasts_s: float | None = None
    token: str | None = None


Undecided = Literal["unknown", "expired", "decided", "foreign"]
UNDECIDED: Mapping[Undecided, str] = {
    "unknown": "There is no such question (any more).",
    "foreign": "This link does not hold: it was used, or is of another question.",
    "expired": "The question is over: nobody decided it in time. Whoever asks again makes a new one.",
    "decided": "It has been decided already.",
}


def decided(case: Case | None, decision: Decision, now: float, keep_s: float) -> Case | Undecided:
    """Return the question as it is decided, or why it cannot be."""
    if case is None:
        return "unknown"
    if decision.token is not None and not matches(case, decision.token):
        return "foreign"
    if case.status != "pending":
        return "decided"
    if now >= case.expires:
        return "expired"
    lasts = keep_s if decision.lasts_s is None else decision.lasts_s
    return replace(
        case,
        version=case.version + 1,
        status="approved" if decision.allowed else "denied",
        by=clean(decision.by, 80) or "somebody",
        reason=clean(decision.reason),
        decided=now,
        expires=now + lasts,
        uses=0 if not decision.allowed else 1 if decision.lasts_s is None else ANY,
        token="",
    )


def digest(token: str) -> str:
    """Return what is kept of the secret of a link."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def matches(case: Case, token: str) -> bool:
    """Return whether `token` is the secret of the question's link, in a time that tells nothing."""
    return bool(case.token) and hmac.compare_digest(case.token, digest(token))


def left(case: Case, now: float) -> Case | None:
    """Return the question once the one who waited has gone, or None where that changes nothing."""
    if case.status != "pending" or case.waits <= now:
        return None
    return replace(case, version=case.version + 1, waits=now)


def state(case: Case, now: float) -> str:
    """Return how a question stands, in a word or two."""
    if case.status == "pending":
        return "over" if now >= case.expires else "waits" if now < case.waits else "open"
    if case.status == "approved" and case.uses == 0:
        return "approved, used"
    return f"{case.status}, over" if now >= case.expires else case.status


def case_json(case: Case, now: float) -> dict[str, Any]:
    """Return a question as JSON shows it; nothing of its link."""
    q = case.question
    names = ("kind", "agent", "session", "run", "exchange", "what", "digest", "rule", "why", "preview")
    times = {name: getattr(case, name) for name in ("asked", "deadline", "waits", "expires", "decided")}
    more = {"default": case.default, "by": case.by, "reason": case.reason, "uses": None if case.uses == ANY else case.uses}
    return {"id": case.id, "state": state(case, now), "status": case.status} | {n: getattr(q, n) for n in names} | times | more
