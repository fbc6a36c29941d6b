"""What the simulated provider remembers: enough for a test, no key, and not without bound."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

from proxy.sim import calls as module
from proxy.sim.calls import Calls, key_digest


@pytest.mark.parametrize("value", ["Bearer sk-1", "bearer  sk-1", "sk-1", "Basic sk-1"])
def test_the_digest_is_of_the_key_alone(value: str) -> None:
    assert key_digest(value) == hashlib.sha256(b"sk-1").hexdigest()


def test_keys_are_masked_wherever_they_stand() -> None:
    async def main() -> None:
        calls = Calls()
        names = sorted(module.SECRET_HEADERS)
        call = calls.begin("GET", "/", "a=1&key=sk-1&b=2", {name.title(): "Bearer sk-1" for name in names} | {"X-Plain": "v"}, b"")
        shown = call.shown()
        assert "sk-1" not in str(shown)
        assert shown["keys"] == dict.fromkeys(names, hashlib.sha256(b"sk-1").hexdigest())
        assert (shown["headers"]["x-plain"], shown["query"]) == ("v", "a=1&key=***&b=2")

    asyncio.run(main())


def test_the_oldest_calls_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CALLS", 3)
    monkeypatch.setattr(module, "MAX_BYTES", 25)
    monkeypatch.setattr(module, "MAX_BODY", 10)

    async def main() -> None:
        calls = Calls()
        for _ in range(5):
            calls.begin("POST", "/", "", {}, b"1")
        assert ([c.number for c in calls.kept], calls.total) == ([3, 4, 5], 5)
        for body in (b"1" * 10, b"2" * 10, b"3" * 11):
            calls.begin("POST", "/", "", {}, body)
        assert [(c.number, len(c.body), c.body_bytes) for c in calls.kept] == [(6, 10, 10), (7, 10, 10), (8, 0, 11)]
        calls.begin("POST", "/", "", {}, b"4" * 10)
        calls.begin("POST", "/", "", {}, b"5" * 10)
        assert [c.number for c in calls.kept] == [8, 9, 10]

    asyncio.run(main())


def test_settled_waits_for_the_last_one() -> None:
    async def main() -> None:
        calls = Calls()
        assert await calls.settled(0)
        call = calls.begin("POST", "/", "", {}, b"")
        assert not await calls.settled(0.01)
        asyncio.get_running_loop().call_soon(calls.end, call)
        assert await calls.settled(5)
        calls.reset()
        assert (calls.total, len(calls.kept)) == (0, 0)

    asyncio.run(main())
