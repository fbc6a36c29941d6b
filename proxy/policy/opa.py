"""An OPA server as the policy engine: one session for the process, no retries, a short deadline, and a circuit that fails at once.

OPA serves the same folder (`opa run --server --bundle policies/`); the files here say which packages must answer. Whatever is not a
decision is a `PolicyFault`: no answer in time, another status, no JSON. Nothing is remembered: the server's data may change unseen.

Beside the questions, `look` asks how the server is: whether it has its bundles, which revision it decides by, and why it did not take a
newer one. What a look finds is for people; no decision rests on it.

Source: opa-python-client 3.0.0: its default retries sleep 0.9 s when OPA is down; errors are aiohttp's own; undefined is `{}`.
Source: OPA 1.19 REST API, `/health?bundles`, `/v1/status` (with the status plugin), `data.system.bundles`, `provenance`, `decision_id`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp

from proxy.policy.cache import Reads
from proxy.policy.decision import ROOT, Hook, PolicyFault, decide
from proxy.policy.embedded import MAX_INPUT, encode
from proxy.policy.input import PARTS, SAMPLES
from proxy.policy.rego import HOOKS, Policies, mentions

FAILURES = 5
"""So many failures in a row open the circuit."""
COOLDOWN_S = 1.0
LOOK_S = 2.0
"""Deadline of each question of a look."""
REVISION_S = 30.0
"""How often the revision is asked for where the server's status does not tell it: OPA may log each of these questions as a decision."""
MOST_MODULES = 500
LONGEST = 200
"""Characters that are kept of a revision, and of why a bundle was refused."""
READS_PROMPTS = re.compile(r"\binput\b(?!\s*\.)|\binput\s*\.\s*request\b")
"""How a policy looks that may read the conversation."""
EVERYTHING = Reads(((),), fixed=False)
WITHOUT_PROMPTS = Reads(tuple((name,) for parts in PARTS.values() for name in parts if name != "request"), fixed=False)


Tell = Callable[[str], None]
"""Hears, in words, by what a decision can be found again at its engine."""


@dataclass(frozen=True, slots=True)
class Health:
    """What the last look found.

    Attributes:
        up: the server answers and has activated its bundles; None before the first look.
        revision: `NAME@REVISION` of its bundles, joined by commas; without any, the digest of its modules (`sha256:…`). Empty where it
            cannot be told. The last known one while the server is down.
        refused: why the server does not take a newer bundle; empty where it does, or does not say.
    """

    up: bool | None = None
    revision: str = ""
    refused: str = ""


class OpaServer:
    """One server, asked by all snapshots that name it.

    Args:
        url: its root.
        timeout_ms: deadline of one question.
    """

    def __init__(self, url: str, timeout_ms: int, now: Callable[[], float] = time.monotonic) -> None:
        from opa_client.opa_async import AsyncOpaClient  # noqa: PLC0415  loaded where there is a server, and only there

        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self.url = url
        self._now = now
        where: dict[str, Any] = {"host": parts.hostname or "", "port": parts.port or (443 if secure else 80), "ssl": secure, "retries": 0}
        self._client = AsyncOpaClient(**where, timeout=timeout_ms / 1000)
        self._looker = AsyncOpaClient(**where, timeout=LOOK_S)
        self.health = Health()
        self.errors = 0
        self._revision_due = 0.0
        self._timeout_ms = timeout_ms
        self._stack = AsyncExitStack()
        self._opening: asyncio.Future[None] | None = None
        self._failures = 0
        self._closed_until = 0.0

    async def ask(self, hook: Hook, document: Mapping[str, Any], tell: Tell | None = None) -> Any:
        """Return the document of `data.fleetgate.<hook>` for the input `document`; None where the server knows nothing there.

        Raises:
            PolicyFault: it cannot be had.
        """
        text = encode(document)
        if len(text) > MAX_INPUT:
            raise PolicyFault(f"what the policies read is larger than {MAX_INPUT >> 20} MiB")
        if self._now() < self._closed_until:
            raise PolicyFault(f"OPA at {self.url} failed {FAILURES} times in a row and is left alone for a moment")
        try:
            await self._open()
            answer = await self._client.query_rule(json.loads(text), f"{ROOT}.{hook}", query_params={"provenance": True})
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as e:
            self._failed()
            raise PolicyFault(f"OPA at {self.url} {_why(e, self._timeout_ms)}") from None
        self._failures = 0
        if not isinstance(answer, Mapping):
            raise PolicyFault(f"OPA at {self.url} answered no object")
        if tell is not None and (words := _origin(answer)):
            tell(f"OPA decided on the {hook.replace('_', ' ')}{words}")
        return answer.get("result")

    @property
    def failing(self) -> bool:
        """Whether the last question had no answer."""
        return self._failures > 0

    async def look(self) -> Health:
        """Ask the server how it is; keep what it says and return it. Does not fail: what cannot be had stays as it was."""
        await self._open()
        if not await self._looker.check_health({"bundles": True}):
            self.health = replace(self.health, up=False)
            self._revision_due = 0.0
            return self.health
        status = await _had(self._looker.get_status())
        bundles = _at(status, "result", "bundles")
        revision, refused = _revisions(bundles, "active_revision"), _refused(bundles)
        if not revision and self._now() >= self._revision_due:
            self._revision_due = self._now() + REVISION_S
            revision = await self._revision()
        self.health = Health(True, revision or self.health.revision, refused)
        return self.health

    async def _revision(self) -> str:
        """Return the revisions that the bundles' manifests name, else the digest of the modules."""
        data = await _had(self._looker.get_data("system/bundles"))
        manifests = {name: _at(bundle, "manifest") for name, bundle in _at(data, "result").items()}
        if found := _revisions(manifests, "revision"):
            return found
        return await _had(self._digest()) or ""

    async def _digest(self) -> str:
        """Return the digest of the texts of the server's modules, whatever they are called there."""
        names = await self._looker.get_policies_list()
        texts = [_at(await self._looker.get_policy(quote(name)), "result").get("raw") for name in names[:MOST_MODULES]]
        told = json.dumps(sorted(str(text) for text in texts)).encode()
        return f"sha256:{hashlib.sha256(told).hexdigest()[:12]}" if texts else ""

    async def close(self) -> None:
        """Close the session."""
        await self._stack.aclose()

    async def _open(self) -> None:
        """Open the session, once."""
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._enter())
        await asyncio.shield(self._opening)

    async def _enter(self) -> None:
        await self._stack.enter_async_context(self._client)
        await self._stack.enter_async_context(self._looker)

    def _failed(self) -> None:
        self.errors += 1
        self._failures += 1
        if self._failures >= FAILURES:
            self._closed_until = self._now() + COOLDOWN_S
            self._failures = FAILURES - 1  # one more failure closes it again


class Opa:
    """The engine of one snapshot on an OPA server: what its policies may read, and whom to ask."""

    def __init__(self, server: OpaServer, policies: Policies) -> None:
        self.server = server
        what = EVERYTHING if mentions(policies.modules, READS_PROMPTS) else WITHOUT_PROMPTS
        self.reads: Mapping[Hook, Reads] = dict.fromkeys(HOOKS, what)

    async def ask(self, hook: Hook, document: Mapping[str, Any], tell: Tell | None = None) -> Any:
        """See `OpaServer.ask`."""
        return await self.server.ask(hook, document, tell)


def unanswered(url: str, timeout_ms: int, policies: Policies) -> list[str]:
    """Return what keeps the server at `url` from deciding on `policies`, in words; for `fleetgate check`."""

    async def look() -> list[str]:
        server = OpaServer(url, timeout_ms)
        try:
            found = [decide(policies.packages[hook], await server.ask(hook, SAMPLES[hook])) for hook in HOOKS if policies.packages[hook]]
        except PolicyFault as e:
            return [f"{e}: while that lasts every call is refused, unless policy.on_error says otherwise"]
        finally:
            await server.close()
        missing = [ruling.package.path for decision in found for ruling in decision.denials if ruling.output == "package"]
        return [f"OPA at {url} does not serve {path}: have it serve the same folder" for path in missing]

    return asyncio.run(look())


def _why(e: Exception, timeout_ms: int) -> str:
    if isinstance(e, TimeoutError):
        return f"did not answer within {timeout_ms} ms"
    if isinstance(e, aiohttp.ClientResponseError):
        return f"answered {e.status}" if e.status != 200 else "answered no JSON"
    if isinstance(e, ValueError | RecursionError):
        return "answered no JSON"
    return "cannot be reached"


async def _had(answer: Awaitable[Any]) -> Any:
    """Return an answer of a look, None where there is none."""
    from opa_client.errors import PolicyNotFoundError  # noqa: PLC0415

    try:
        return await answer
    except (
        aiohttp.ClientError,
        TimeoutError,
        OSError,
        ValueError,
        RecursionError,
        PolicyNotFoundError,
        TypeError,
        AttributeError,
    ):  # odd JSON, too
        return None


def _at(document: object, *path: str) -> Mapping[str, Any]:
    """Return the mapping at `path`, empty where there is none."""
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document if isinstance(document, Mapping) else {}


def _revisions(bundles: Mapping[str, Any], key: str) -> str:
    """Return `NAME@REVISION` of the bundles that name one, joined by commas."""
    found = {name: _at(bundles, name).get(key) for name in sorted(bundles)}
    return _shown(",".join(f"{name}@{revision}" for name, revision in found.items() if revision))


def _refused(bundles: Mapping[str, Any]) -> str:
    """Return why bundles were not taken, from the server's status."""
    codes = {name: _at(bundles, name) for name in sorted(bundles) if _at(bundles, name).get("code")}
    return _shown("; ".join(f"{name}: {bundle.get('message') or bundle['code']}" for name, bundle in codes.items()))


def _origin(answer: Mapping[str, Any]) -> str:
    """Return by what a decision can be found again at the server."""
    revision, decision = _revisions(_at(answer, "provenance", "bundles"), "revision"), answer.get("decision_id")
    named = _shown(decision) if isinstance(decision, str) else ""
    return (f" by {revision}" if revision else "") + (f", its decision {named}" if named else "")


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text[:LONGEST])
