"""Webhooks over a real socket: what arrives, signed; what is told once; hooks that are swapped."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from webhook_receiver import SECRET, Receiver, World, hook, notice, run

from proxy.engine.notice import Notice
from proxy.upstream import webhook
from proxy.upstream.webhook import Hook, json_body, sign, slack_body

ROOT = Path(__file__).parents[2]


def genuine() -> Callable[..., bool]:
    """The receiver's check as the documentation has it."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "webhooks.md").read_text(), re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    check: Callable[..., bool] = names["genuine"]
    return check


def test_a_notice_arrives_signed_and_whole() -> None:
    async def body(there: Receiver, world: World) -> None:
        world.hooks.use([hook(there.url)])
        world.hooks.tell(notice())
        assert await world.settled() == {"delivered": 1}
        ((headers, sent),) = there.got
        told = json.loads(sent)
        assert re.fullmatch(r"[0-9a-f]{32}", told.pop("id"))
        assert told == {
            "kind": "budget",
            "text": "Budget b is at 80 %.",
            "time": 1795305600.5,
            "facts": {"budget": "b", "n": 1, "share": 0.8},
        }
        assert headers["content-type"] == "application/json"
        check, signature = genuine(), headers["x-fleetgate-signature"]
        assert check(signature, sent, SECRET)
        assert not check(signature, sent + b" ", SECRET)
        assert not check(signature, sent, b"another secret")
        assert not check(sign(SECRET, sent, int(time.time()) - 1000), sent, SECRET), "an old one that somebody kept"

    run(body)


def test_kinds_go_where_they_are_wanted_and_slack_gets_text_alone() -> None:
    async def body(there: Receiver, world: World) -> None:
        slack = Hook(there.url, b"", frozenset({"kill"}), "slack")
        world.hooks.use([hook(there.url, events=frozenset({"loop"})), slack])
        for n, kind in enumerate(("budget", "loop", "kill", "config", "approval")):
            world.hooks.tell(notice(n, kind, "<!channel> & more"))  # type: ignore[arg-type]
        assert await world.settled() == {"delivered": 2}
        assert sorted(map(len, there.told())) == [3, 5]
        (plain,) = [told for told in there.told() if len(told) == 3]
        assert plain == {"text": "[fleetgate kill] &lt;!channel&gt; &amp; more", "unfurl_links": False, "unfurl_media": False}
        (headers,) = [headers for headers, sent in there.got if len(json.loads(sent)) == 3]
        assert "x-fleetgate-signature" not in headers, "without a secret there is none"

    run(body)


def test_what_was_told_is_not_told_again_for_a_while() -> None:
    async def body(there: Receiver, world: World) -> None:
        world.hooks.use([hook(there.url)])
        for _ in range(3):
            world.hooks.tell(notice())
        world.hooks.tell(notice(1, "loop"))
        world.clock.t_ns = int(webhook.AGAIN_S * 1e9) - 1
        world.hooks.tell(notice())
        world.clock.t_ns += 1
        world.hooks.tell(notice())
        assert await world.settled() == {"delivered": 3, "repeated": 3}

    run(body)


def test_memory_of_what_was_told_is_bounded() -> None:
    async def body(there: Receiver, world: World) -> None:
        world.hooks.use([hook(there.url, events=frozenset({"kill"}))])
        for n in range(50):
            world.hooks.tell(notice(n, "budget"))
        assert not world.hooks._seen, "what nobody wants is not remembered"
        sender = next(iter(world.hooks._senders.values()))
        sender._working = True  # nothing is sent
        for n in range(2 * webhook.MOST_SEEN):
            world.hooks.tell(notice(n, "kill"))
        assert len(world.hooks._seen) == webhook.MOST_SEEN
        assert len(sender._queue) == webhook.MOST_WAITING

    run(body)


def test_hooks_are_swapped_and_one_that_stays_keeps_its_queue() -> None:
    async def body(there: Receiver, world: World) -> None:
        one, other = hook(there.url), hook(there.url, b"other")
        world.hooks.use([one])
        world.hooks.tell(notice(1))
        before = world.hooks._senders[one]
        world.hooks.use([other, one])
        assert world.hooks._senders[one] is before
        world.hooks.use([other])
        world.hooks.tell(notice(2))
        await world.settled()
        assert {told["facts"]["n"] for told in there.told()} == {1, 2}
        world.hooks.use([])
        world.hooks.tell(notice(3))
        assert await world.settled() == {"delivered": 2}

    run(body)


def test_a_task_that_fails_does_not_end_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body(there: Receiver, world: World) -> None:
        world.hooks.use([hook(there.url)])
        with monkeypatch.context() as patched:
            patched.setattr(webhook, "sign", lambda *_: 1 / 0)
            world.hooks.tell(notice(1))
            (task,) = world.tasks
            with pytest.raises(ZeroDivisionError):
                await task
        world.hooks.tell(notice(2))
        assert (await world.settled())["delivered"] == 1

    run(body)


def test_bodies_are_bounded() -> None:
    huge = Notice("loop", "k", "x" * 100_000, {"x": "y" * 100_000})
    assert json.loads(json_body("id", huge, 1.0)) == {
        "id": "id",
        "kind": "loop",
        "text": "x" * webhook.MAX_TEXT,
        "time": 1.0,
        "facts": {"truncated": True},
    }
    assert len(json.loads(slack_body(huge))["text"]) < webhook.MAX_TEXT + 30


def test_what_is_no_number_for_json_is_null() -> None:
    body = json_body("id", Notice("kill", "k", "t", {"until": float("inf"), "share": float("nan"), "n": 1.5}), 1.0)
    assert json.loads(body)["facts"] == {"until": None, "share": None, "n": 1.5}
    assert b"Infinity" not in body
    assert b"NaN" not in body


def test_what_is_secret_is_not_shown() -> None:
    shown = repr(hook("https://hooks.example.com:444/services/T0/B0/secret?k=v"))
    assert "secret" not in shown
    assert hook("https://hooks.example.com:444/services/T0").shown == "https://hooks.example.com:444"
    assert hook("https://hooks.example.com/services/T0").shown == "https://hooks.example.com"


def test_in_slack_no_address_is_a_link_but_the_notices_own() -> None:
    link = "https://admin.example/approve/1?token=2"
    told = Notice("approval", "k", f"Agent a asks: https://evil.example/x. Decide: {link}", {"link": link})
    text = json.loads(slack_body(told))["text"]
    assert text.endswith(f"Decide: {link}")
    assert text.count("://") == 1
    other = json.loads(slack_body(Notice("loop", "k", "calls http://evil.example/x again")))["text"]
    assert "://" not in other
    assert "evil.example" in other
