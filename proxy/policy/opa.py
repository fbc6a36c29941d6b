"""An OPA server as the policy engine: one session for the process, no retries, a short deadline, and a circuit that fails at once.

OPA serves the same folder (`opa run --server --bundle policies/`); the files here say which packages must answer. Whatever is not a
decision is a `PolicyFault`: no answer in time, another status, no JSON. Nothing is remembered: the server's data may change unseen.

Source: opa-python-client 3.0.0: its default retries sleep 0.9 s when OPA is down; errors are aiohttp's own; undefined is `{}`.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from opa_client.opa_async import AsyncOpaClient

from proxy.policy.cache import Reads
from proxy.policy.decision import ROOT, Hook, PolicyFault, decide
from proxy.policy.embedded import MAX_INPUT, encode
from proxy.policy.input import PARTS, SAMPLES
from proxy.policy.rego import HOOKS, Policies, mentions

FAILURES = 5
"""So many failures in a row open the circuit."""
COOLDOWN_S = 1.0
READS_PROMPTS = re.compile(r"\binput\b(?!\s*\.)|\binput\s*\.\s*request\b")
"""How a policy looks that may read the conversation."""
EVERYTHING = Reads(((),), fixed=False)
WITHOUT_PROMPTS = Reads(tuple((name,) for parts in PARTS.values() for name in parts if name != "request"), fixed=False)


class OpaServer:
    """One server, asked by all snapshots that name it.

    Args:
        url: its root.
        timeout_ms: deadline of one question.
    """

    def __init__(self, url: str, timeout_ms: int, now: Callable[[], float] = time.monotonic) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self.url = url
        self._now = now
        self._client = AsyncOpaClient(
            host=parts.hostname or "",
            port=parts.port or (443 if secure else 80),
            ssl=secure,
            retries=0,
            timeout=timeout_ms / 1000,
        )
        self._timeout_ms = timeout_ms
        self._stack = AsyncExitStack()
        self._opening: asyncio.Future[None] | None = None
        self._failures = 0
        self._closed_until = 0.0

    async def ask(self, hook: Hook, document: Mapping[str, Any]) -> Any:
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
            answer = await self._client.query_rule(json.loads(text), f"{ROOT}.{hook}")
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, RecursionError) as e:
            self._failed()
            raise PolicyFault(f"OPA at {self.url} {_why(e, self._timeout_ms)}") from None
        self._failures = 0
        if not isinstance(answer, Mapping):
            raise PolicyFault(f"OPA at {self.url} answered no object")
        return answer.get("result")

    @property
    def failing(self) -> bool:
        """Whether the last question had no answer."""
        return self._failures > 0

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

    def _failed(self) -> None:
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

    async def ask(self, hook: Hook, document: Mapping[str, Any]) -> Any:
        """See `OpaServer.ask`."""
        return await self.server.ask(hook, document)


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
