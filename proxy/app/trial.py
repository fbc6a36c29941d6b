"""What the server would decide on one request or tool call, by the server's own stages, with nothing sent and nothing kept.

The snapshot is built as for serving, on empty counters in memory: budgets are as they are at the start of their windows. Whoever asks
speaks as the agent named, with a key that exists only here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from multidict import CIMultiDict

from proxy import pipeline
from proxy.app import build
from proxy.app.build import Files
from proxy.app.served import listing, table
from proxy.budget.settle import settle_usage
from proxy.engine.again import AgainStage
from proxy.engine.exchange import Exchange, Runtime
from proxy.engine.ports import SystemClock, UpstreamError, UpstreamReply, UpstreamRequest
from proxy.engine.run import Engine
from proxy.engine.stage import compile_plan
from proxy.identity.directory import Directory
from proxy.identity.keys import KeyEntry, KeyRing
from proxy.identity.lineage import Lineage
from proxy.identity.threads import Threads
from proxy.model import Deny, Finding, Reason
from proxy.policy.opa import OpaServer
from proxy.policy.rego_stage import RegoStage
from proxy.settings.engines import OPA
from proxy.stores.memory import MemoryBudget
from proxy.wire import jsonio, registry
from proxy.wire.base import Memos
from proxy.wire.call import ToolCall

CHAT = "/v1/chat/completions"
KEY = "fg_trial"


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be decided: a request, or a tool call in the reply to one."""

    agent: str
    request: Mapping[str, Any] | None = None
    path: str = CHAT
    tool_call: tuple[str, str] | None = None
    now: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was decided. `reads` are the paths of the input that Rego reads for it, as `agent.data`; `input` for all of it."""

    decision: str
    reason: str = ""
    rule: str = ""
    message: str = ""
    remedy: str = ""
    findings: Sequence[Finding] = ()
    notes: Sequence[tuple[str, str]] = ()
    reads: Sequence[str] = field(default=())


class _Clock(SystemClock):
    def __init__(self, now: float | None) -> None:
        self._now = now

    def now(self) -> float:
        return super().now() if self._now is None else self._now


class _Asker:
    """The client's side of a case: it has a body, and nobody speaks to it."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def read(self, limit: int) -> bytes:
        return self._body

    async def send(self, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        """Nobody hears it."""

    async def start(self, status: int, headers: Sequence[tuple[str, str]]) -> None:
        """Nobody hears it."""

    async def write(self, data: bytes) -> None:
        """Nobody hears it."""

    def push(self, data: bytes) -> bool:
        """Nobody hears it."""
        return False

    async def end(self) -> None:
        """Nobody hears it."""


class _Nowhere:
    """The transport: there is no provider."""

    async def send(self, request: UpstreamRequest) -> UpstreamReply:
        raise UpstreamError("connect", "nothing is sent in a trial")

    async def close(self) -> None:
        """Nothing is open."""


class Trials:
    """Decides cases on one set of files."""

    def __init__(self, files: Files, directory: Directory | None = None) -> None:
        self._files, self._directory = files, directory or files.directory
        policy = files.settings.policy
        self._opa = OpaServer(policy.engine.removeprefix(OPA), policy.timeout_ms) if policy.engine.startswith(OPA) else None

    @property
    def agents(self) -> Sequence[str]:
        """The agents that can be asked as."""
        return tuple(self._directory.agents)

    async def close(self) -> None:
        """Let go of the OPA server, if there is one."""
        if self._opa is not None:
            await self._opa.close()

    def _parts(self, agent: str, now: float) -> pipeline.Parts:
        files = self._files
        entry = KeyEntry(agent, hashlib.sha256(KEY.encode()).hexdigest(), None, now)
        ring = KeyRing((entry,))
        return pipeline.Parts(
            settings=files.settings,
            directory=self._directory,
            budgets=files.budgets,
            table=table(files.settings),
            listing=listing(files.settings),
            ring=lambda: ring,
            memos=Memos(),
            store=MemoryBudget(),
            threads=Threads(),
            lineage=Lineage(),
            again=AgainStage(),
            rules=files.rules,
            rego=files.rego,
            opa=self._opa,
        )

    async def decide(self, case: Case) -> Verdict:
        """Return what the server would decide.

        Raises:
            ValueError: no such agent, or no such route.
        """
        if case.agent not in self._directory.agents:
            raise ValueError(f"no agent is called {case.agent[:80]} (known: {', '.join(sorted(self.agents)[:20])})")
        clock = _Clock(case.now)
        stages = pipeline.stages(self._parts(case.agent, clock.now()))
        plan = compile_plan(stages, pipeline.GIVEN)
        ex = self._exchange(case, Runtime(self._files.version, plan, _Nowhere(), (), build.limits(self._files.settings)), clock)
        deny = await Engine(settle_usage).admit(ex)
        hook = "request" if case.tool_call is None else "tool_call"
        reads = next((_paths(stage, hook) for stage in stages if isinstance(stage, RegoStage)), ())
        if deny is not None:
            return _refused(ex, deny, reads)
        return await self._called(ex, case.tool_call, reads) if case.tool_call is not None else _verdict(ex, "allow", reads)

    def _exchange(self, case: Case, rt: Runtime, clock: SystemClock) -> Exchange:
        body = json.dumps(case.request if case.request is not None else self._plain(case.agent)).encode()
        headers = CIMultiDict({"authorization": f"Bearer {KEY}", "content-type": "application/json"})
        codec = registry.find("POST", case.path, headers)
        if codec is None:
            raise ValueError(f"{case.path[:80]} is no route that is served")
        ex = Exchange(rt, clock, _Asker(body), codec.dialect)
        ex.codec, ex.method, ex.path, ex.headers, ex.protocol = codec, "POST", case.path, headers, codec.protocol
        return ex

    def _plain(self, agent: str) -> dict[str, Any]:
        """Return a request that the agent may make, for a tool call that names none."""
        grant = self._directory.agents[agent]
        plain = [rule.pattern for rule in self._files.settings.models if "*" not in rule.pattern and "?" not in rule.pattern]
        usual = ("gpt-5-mini", "claude-sonnet-4-5", "claude-haiku-4-5", "gemini-2.5-flash")
        served = table(self._files.settings)
        model = next(
            (m for m in (grant.default_model, *plain, *usual) if m and grant.may_use(m) and served.target(m, "openai") is not None), "none"
        )
        return {"model": model, "max_tokens": 16, "messages": [{"role": "user", "content": "go"}]}

    async def _called(self, ex: Exchange, tool_call: tuple[str, str], reads: Sequence[str]) -> Verdict:
        name, arguments = tool_call
        looks = ex.rt.plan.inspect(ex) if ex.rt.plan.inspect is not None else None
        if looks is None or not looks.calls:
            return _verdict(ex, "allow", reads)
        ex.target = ex.route.targets[0] if ex.route.targets else None
        found = await looks.judge(ToolCall("call_1", name, arguments, jsonio.signature(name, arguments)))
        if found.words is None:
            return _verdict(ex, "allow", reads)
        why = next((f for f in reversed(ex.findings) if f.rule in set(Reason)), Finding(""))
        return Verdict("deny", why.rule, why.detail, found.words, "", tuple(ex.findings), tuple(ex.decisions), reads)


def _paths(stage: RegoStage, hook: str) -> Sequence[str]:
    return tuple(".".join(path) or "input" for path in stage.rego.engine.reads[hook].paths)  # type: ignore[index]


def _refused(ex: Exchange, deny: Deny, reads: Sequence[str]) -> Verdict:
    return Verdict("deny", str(deny.reason), deny.rule, deny.message, deny.remedy, tuple(ex.findings), tuple(ex.decisions), reads)


def _verdict(ex: Exchange, decision: str, reads: Sequence[str]) -> Verdict:
    return Verdict(decision, findings=tuple(ex.findings), notes=tuple(ex.decisions), reads=reads)


def decide_all(files: Files, cases: Sequence[Case], directory: Directory | None = None) -> list[Verdict]:
    """Return the verdicts on `cases`, in order. Raises ValueError as `Trials.decide` does."""

    async def run() -> list[Verdict]:
        trials = Trials(files, directory)
        try:
            return [await trials.decide(case) for case in cases]
        finally:
            await trials.close()

    return asyncio.run(run())
