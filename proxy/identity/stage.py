"""The stages of identity: who calls (from headers alone, before the body is read), and which session the call belongs to.

`IdentityStage` refuses what it cannot place: no key, a key or token that does not hold, two keys, an agent that the key may not name, an
agent that no file defines, a run other than the one that the key is bound to. A stranger costs us one hash, or one signature, and no body.
`SessionStage` never refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

from proxy.engine.exchange import Exchange
from proxy.engine.stage import Stage
from proxy.globs import is_glob, matcher
from proxy.identity.directory import Directory
from proxy.identity.fields import MAX_ID, SLUG
from proxy.identity.headers import AGENT_HEADER, RUN, Present, present, values
from proxy.identity.issuer import TokenRing
from proxy.identity.keys import KeyRing, Presented, presented_key
from proxy.identity.lineage import Lineage, place_of
from proxy.identity.mesh import SPIFFE, Mesh
from proxy.identity.runs import OPEN
from proxy.identity.sessions import WEAK, session_of
from proxy.identity.threads import UNKNOWN, Known, Threads, tool_id
from proxy.identity.tokens import JWT
from proxy.model import Deny, Grant, Principal, Reason

ANYBODY = Principal("*", OPEN)
CARRIERS = "Authorization: Bearer, x-api-key, x-goog-api-key, api-key or ?key="


MOST_CALLS = 64
"""Ids of one reply, or of what it goes on from, that are kept."""


REMEMBERED = 1024
"""Principals of which it is kept for whom they speak; each entry holds its own, so that the id in its key stays its own."""


class _Speaks(NamedTuple):
    """For whom a principal speaks that names nobody, and the words for it."""

    principal: Principal
    agent: str
    grant: Grant
    words: str


class IdentityStage(Stage):
    """Proves the principal and settles on one agent of the directory.

    Args:
        directory: the agents of this snapshot.
        ring: gives the keys that hold now.
        mode: `keys`, `jwt`, or `open` where anybody on the host may be any agent.
        tokens: checks tokens, where the mode is `jwt`.
        also_keys: whether keys count beside tokens.
        mesh: says whom a service mesh vouches for; that counts before what else the request carries.
    """

    name: ClassVar[str] = "identity"
    needs: ClassVar[frozenset[str]] = frozenset({"headers"})
    gives: ClassVar[frozenset[str]] = frozenset({"principal", "agent", "grant"})

    def __init__(
        self,
        directory: Directory,
        ring: Callable[[], KeyRing],
        mode: Literal["keys", "jwt", "open"],
        tokens: TokenRing | None = None,
        also_keys: bool = False,
        mesh: Mesh | None = None,
    ) -> None:
        self._directory, self._ring, self._open = directory, ring, mode == "open"
        self._tokens, self._also_keys, self._mode, self._mesh = tokens, also_keys, f"auth.mode: {mode}", mesh
        self._matches: dict[str, Callable[[str], bool]] = {}
        self._known: dict[int, _Speaks] = {}
        self._where = ", ".join(directory.where) or "AGENTS.md"

    async def request(self, ex: Exchange) -> Deny | None:
        """Set `principal`, `agent` and `grant`, or refuse."""
        found = present(ex.headers)
        principal: Principal | Deny | None = None
        if self._open:
            principal = ANYBODY
        elif self._mesh is not None:
            principal = self._mesh.prove(ex.headers, ex.peer)
        if principal is None:
            principal = self._prove(ex, found) if self._tokens is None else await self._token(ex, found, self._tokens)
        if isinstance(principal, Deny):
            return principal
        ex.principal = principal
        speaks = self._known.get(id(principal)) if found.agent is None and ex.named_agent is None else None
        if speaks is None or speaks.principal is not principal:
            placed = self._placed(ex, found, principal)
            if isinstance(placed, Deny):
                return placed
            speaks = placed
        ex.agent, ex.grant = speaks.agent, speaks.grant
        if principal.run and found.run is not None and (deny := _other_run(ex, principal)) is not None:
            return deny
        ex.note("identity", speaks.words)
        return None

    def _placed(self, ex: Exchange, found: Present, principal: Principal) -> _Speaks | Deny:
        """Return whom `principal` speaks for in this request; remembered where the request has no word in it."""
        named = self._named(ex, found)
        if isinstance(named, Deny):
            return named
        agent = self._choose(principal, named)
        if isinstance(agent, Deny):
            return agent
        grant = self._directory.agents.get(agent)
        if grant is None:
            return self._unknown(agent)
        words = f"agent {agent} by {'open mode' if self._open else 'key ' + principal.key_id}"
        speaks = _Speaks(principal, agent, grant, words)
        if named is None:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[id(principal)] = speaks
        return speaks

    def _presented(self, ex: Exchange, found: Present) -> str | Deny:
        """Return the one key or token that the request carries."""
        key = presented_key(ex.headers, ex.query, found)
        if key is None and self._tokens is not None:
            remedy = f"Send a token of {self._tokens.rules.issuer} as {CARRIERS}."
            return Deny(Reason.UNAUTHENTICATED, "The request carries no token.", self._mode, remedy)
        if key is None:
            remedy = f"Send an agent's key as {CARRIERS}; make one with `fleetgate keys create AGENT`."
            return Deny(Reason.UNAUTHENTICATED, "The request carries no key.", self._mode, remedy)
        if isinstance(key, Presented):
            remedy = f"Send one key, in one of {CARRIERS}."
            return Deny(Reason.UNAUTHENTICATED, "The request carries two different keys.", self._mode, remedy)
        return key

    async def _token(self, ex: Exchange, found: Present, tokens: TokenRing) -> Principal | Deny:
        """Return whom the token proves, or a key where those count too: what a key's hash is known of is that key."""
        token = self._presented(ex, found)
        if isinstance(token, Deny):
            return token
        if self._also_keys and (principal := self._ring().find(token, ex.wall)) is not None:
            return principal
        return await tokens.prove(token, ex.wall)

    def _prove(self, ex: Exchange, found: Present) -> Principal | Deny:
        key = self._presented(ex, found)
        if isinstance(key, Deny):
            return key
        principal = self._ring().find(key, ex.wall)
        if principal is None:
            message = "The key is not one of ours: it was never made here, was revoked, or has expired."
            return Deny(Reason.UNAUTHENTICATED, message, "auth.mode: keys", "Make a new key with `fleetgate keys create AGENT`.")
        return principal

    def _named(self, ex: Exchange, found: Present) -> str | Deny | None:
        """Return the agent that the request names by header or path, None if none."""
        header = ex.headers[found.agent] or None if found.agent is not None else None
        if len(ex.headers) > found.count and len(set(values(ex.headers, AGENT_HEADER))) > 1:
            return Deny(Reason.UNKNOWN_AGENT, f"The header {AGENT_HEADER} is there twice.", "identity", "Name the agent once.")
        if header and ex.named_agent and header != ex.named_agent:
            message = f"The path and the header {AGENT_HEADER} name two different agents."
            return Deny(Reason.UNKNOWN_AGENT, message, "identity", "Name the agent once.")
        named = header or ex.named_agent
        if named is None:
            return None
        if len(named) > MAX_ID or not re.fullmatch(SLUG, named):
            return Deny(
                Reason.UNKNOWN_AGENT, "The agent's name is not a name that an agent can have.", "identity", "Name it as its file does."
            )
        return named

    def _choose(self, principal: Principal, named: str | None) -> str | Deny:
        """Return the agent that `principal` acts as. A key for one agent cannot name another; a fleet key must name one of its own."""
        pattern = principal.agent
        if not is_glob(pattern):
            if named is None or named == pattern:
                return pattern
            what = _what(principal)
            message = f"The {what} is for agent {pattern} and cannot act as {named}."
            return Deny(Reason.UNKNOWN_AGENT, message, f"key {principal.key_id}", f"Use a {what} for {named}, or leave the name out.")
        if named is None:
            return self._only(principal)
        matches = self._matches.get(pattern)
        if matches is None:
            matches = self._matches[pattern] = matcher((pattern,))
        if matches(named):
            return named
        message = f"The {_what(principal)} is for agents {pattern}, which {named} is not."
        return Deny(Reason.UNKNOWN_AGENT, message, f"key {principal.key_id}", f"Name an agent that {pattern} covers.")

    def _only(self, principal: Principal) -> str | Deny:
        """Return the one agent there is in open mode, or say how to name one."""
        if self._open and len(self._directory.agents) == 1:
            return next(iter(self._directory.agents))
        remedy = f"Name one with the header {AGENT_HEADER}, or put /agent/NAME before the path of the base URL."
        if not self._open:
            message = f"The {_what(principal)} is for several agents ({principal.agent}) and the request names none."
            return Deny(Reason.UNKNOWN_AGENT, message, f"key {principal.key_id}", remedy)
        if not self._directory.agents:
            message = f"No agent is defined in {self._where}."
            return Deny(Reason.UNKNOWN_AGENT, message, "auth.mode: open", "Give a file there front matter with a name.")
        message = "There are several agents and the request names none."
        return Deny(Reason.UNKNOWN_AGENT, message, "auth.mode: open", remedy)

    def _unknown(self, agent: str) -> Deny:
        message = f"No file defines agent {agent}."
        return Deny(Reason.UNKNOWN_AGENT, message, f"agents: {self._where}", f"Define it in {self._where} (front matter `name: {agent}`).")


def _what(principal: Principal) -> str:
    """Return what the caller came with, in a word."""
    return "token" if principal.key_id.startswith(JWT) else "SPIFFE id" if principal.key_id.startswith(SPIFFE) else "key"


def _other_run(ex: Exchange, principal: Principal) -> Deny | None:
    """Refuse a run that is not the one of the key: its author believes the call to be somewhere where it is not."""
    mine = ("", principal.run, principal.run.rpartition("/")[2])
    if all(value.strip() in mine for value in values(ex.headers, RUN)):
        return None
    message = f"The key is bound to run {principal.run} and cannot act in another."
    remedy = f"Leave the header {RUN} out, or use a key that is not bound to a run."
    return Deny(Reason.POLICY_DENIED, message, f"key {principal.key_id}", remedy)


def _growing(ex: Exchange) -> str:
    """Return the kept history that the call of `ex` adds to; nothing where it adds to none."""
    return ex.call.hints.get("conversation", "") if ex.call.thread and ex.call.operation == "chat" else ""


class SessionStage(Stage):
    """Ties the call to a session, a run and a parent, and remembers the ids by which a later call may refer to its reply.

    Args:
        threads: those ids.
        lineage: who began whom.
    """

    name: ClassVar[str] = "session"
    needs: ClassVar[frozenset[str]] = frozenset({"call", "agent", "principal"})
    gives: ClassVar[frozenset[str]] = frozenset({"session"})

    def __init__(self, threads: Threads, lineage: Lineage) -> None:
        self._threads, self._lineage = threads, lineage

    async def request(self, ex: Exchange) -> Deny | None:
        """Set `session`, `session_source`, `run`, `parent`, `depth` and `history`."""
        found, call = present(ex.headers), ex.call
        ex.session, ex.session_source = session_of(ex.headers, call, ex.agent, ex.wall, found, self._threads)
        ex.run, ex.parent, ex.depth = place_of(ex, found, self._lineage)
        ex.note("session", f"{ex.session} from {ex.session_source}")
        if call.operation == "chat":
            ex.defer(self.name, self._remember)
        if call.thread:
            ex.history = self._kept(ex, call.thread.split(" "))
        return None

    def _kept(self, ex: Exchange, names: list[str]) -> int:
        """Return how many tokens stand behind `names`, one of which may grow."""
        grows = _growing(ex)
        found = self._threads.tokens(ex.agent, [name for name in names if name != grows])
        more = self._threads.enter(grows) if grows else 0
        return UNKNOWN if UNKNOWN in (found, more) else found + more

    async def _remember(self, ex: Exchange) -> None:
        """Keep the ids of the reply. See `engine.exchange.Release`."""
        meter, usage = ex.meter, ex.usage
        if grows := _growing(ex):
            now = usage.total if usage is not None and usage.exact and ex.served else UNKNOWN
            self._threads.leave(grows, now if ex.sent else None)
        if meter is None or not ex.served or not (meter.reply_id or meter.part_ids or meter.tool_calls or ex.call.thread):
            return
        whole, said = (UNKNOWN, UNKNOWN) if usage is None else (usage.total, usage.output)
        for name in (*filter(None, (meter.reply_id,)), *self._learned(ex)):
            self._threads.keep(ex.agent, name, Known(ex.session, whole))
        for name in meter.part_ids[-MOST_CALLS:]:
            self._threads.keep(ex.agent, name, Known(ex.session, said))
        if meter.tool_calls and ex.session_source in WEAK:
            known = Known(ex.session)
            for issued in meter.tool_calls[-MOST_CALLS:]:
                if name := tool_id(issued.id):
                    self._threads.keep(ex.agent, name, known)

    def _learned(self, ex: Exchange) -> list[str]:
        """Return what the call went on from and nobody knew the tokens of, or what grew by this reply: none is more than all of it."""
        names = ex.call.thread.split(" ") if ex.call.thread else []
        if not names or len(names) > MOST_CALLS:
            return []
        grows = _growing(ex)
        return [name for name in names if name == grows or self._threads.tokens(ex.agent, (name,)) == UNKNOWN]
