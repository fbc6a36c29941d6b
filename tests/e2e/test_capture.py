"""Content capture over a real server: at each level words, a secret and an address, looked for in every sink of a file and a Redis.

What may be where is one table (`MAY`); whatever stands elsewhere is a leak. Then: who may read, that it is logged, and that it can be
erased.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import stat
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from redis_server import RedisServer, needs_own_redis
from serving import Proxy, Simulator, post
from simulating import get
from test_privacy import Receiver, command
from test_privacy import receiver as receiver

LEVELS = ("none", "hash", "redacted", "full")
KEY = "AKIA" + "Q7XH2LMNB4ZKPD3T"
TOKEN = "canary-admin-token-of-contents"
BEARER = {"authorization": f"Bearer {TOKEN}"}
AGENTS = (
    "---\nagents:\n"
    + "".join(
        f"""  - name: {level}
    policy: {{models: {{allow: ["gpt-4o*"]}}, tools: {{allow: ["*"]}}, data: {{log_content: {level}, secrets: warn, pii: warn}}}}
"""
        for level in LEVELS
    )
    + "---\n"
)
PLACES = ("prompt", "result", "said", "argument", "refused", "streamed")
TOLD = ("redacted", "full")
MAY: Mapping[str, tuple[str, ...]] = {"content": TOLD, "api": TOLD, "explain": TOLD, "trace": TOLD}
"""Sinks that may have texts, and of agents at which level; a hash of them may stand in the first three for `hash`."""


@dataclass
class World:
    """What was said by whom, and what each sink has of it."""

    proxy: Proxy
    words: dict[tuple[str, str], str] = field(default_factory=dict)
    mails: dict[str, str] = field(default_factory=dict)
    ids: dict[str, list[str]] = field(default_factory=dict)
    sinks: dict[str, bytes] = field(default_factory=dict)

    def speak(self, level: str) -> None:
        """Have the agent of that level say a word of its own in each place, always with a secret and an address beside it."""
        w = {place: f"{place}zq{secrets.token_hex(6)}" for place in PLACES}
        self.words |= {(level, place): word for place, word in w.items()}
        mail = self.mails[level] = f"jane.{level}@corp-mail.com"
        talk: list[dict[str, Any]] = [{"role": "user", "content": f"{w['prompt']} {KEY} {mail}"}]
        call = {"tool_calls": [{"name": "read_file", "arguments": {"path": f"{w['argument']} {mail}", "key": KEY}}]}
        first = self.ask(level, talk, call)
        said = json.loads(first)["choices"][0]["message"]
        talk += [said, {"role": "tool", "tool_call_id": said["tool_calls"][0]["id"], "content": f"{w['result']} {KEY} {mail}"}]
        self.ask(level, talk, {"text": f"{w['said']} {KEY} {mail}"})
        self.ask(level, [*talk, {"role": "user", "content": "go on"}], {"text": f"{w['streamed']} {KEY} {mail}"}, stream=True)
        self.ask(level, [{"role": "user", "content": f"{w['refused']} {KEY} {mail}"}], model="gpt-3.5-turbo", status=403)

    def ask(self, level: str, messages: list[dict[str, Any]], script: Any = None, *, status: int = 200, **body: Any) -> bytes:
        tool = {"type": "function", "function": {"name": "read_file", "parameters": {"type": "object"}}}
        headers = {
            "authorization": f"Bearer {self.proxy.key(level)}",
            "x-fleetgate-session": "s1",
            "x-sim-script": json.dumps(script or {}),
        }
        full = {"model": "gpt-4o-mini", "messages": messages, "tools": [tool], "max_tokens": 200} | body
        reply = post(f"{self.proxy.url}/v1/chat/completions", full, headers)
        assert reply.status == status, reply.body
        self.ids.setdefault(level, []).append(reply.headers["x-fleetgate-request-id"])
        return reply.body

    def content(self, name: str, **headers: str) -> tuple[int, bytes]:
        """Status and body of what the admin plane says of one exchange."""
        request = Request(f"{self.proxy.admin_url}/api/v1/exchanges/{name}/content", headers=headers)
        try:
            with urlopen(request, timeout=30) as reply:
                return int(reply.status), reply.read()
        except HTTPError as e:
            with e:
                return e.code, e.read()

    def read(self, level: str) -> list[Any]:
        """All that is kept of the agent of that level, once it is written."""
        deadline = time.monotonic() + 60
        while self.content(self.ids[level][-1], **BEARER)[0] != 200 and level != "none":
            assert time.monotonic() < deadline
        found = [self.content(name, **BEARER) for name in self.ids[level]]
        assert [status for status, _ in found] == [404 if level == "none" else 200] * len(found), found
        return [json.loads(body) for _, body in found]

    def listen(self, receiver: Receiver, stored: Callable[[], tuple[bytes, bytes]]) -> None:
        """Ask every sink, the last after the server has ended."""
        lists = ["exchanges?limit=1000", "fleet", "sessions", "decisions", "kill", "config", *(f"agents/{level}" for level in LEVELS)]
        lists += [f"sessions/{level}%2Fs1" for level in LEVELS] + [f"decisions/{names[-1]}" for names in self.ids.values()]
        self.sinks["admin"] = b"".join(get(f"{self.proxy.admin_url}/api/v1/{path}", timeout_s=30)[1] for path in lists)
        self.sinks["metrics"] = get(f"{self.proxy.admin_url}/metrics")[1]
        names = [self.ids["hash"][0], *[name for level in TOLD for name in self.ids[level]]]
        self.sinks["explain"] = b"".join(command(self.proxy, "explain", name, "--content") for name in names)
        self.sinks["csv"] = command(self.proxy, "ledger", "--csv") + command(self.proxy, "explain", names[1])
        assert self.proxy.stop() == 0
        self.sinks["trace"] = b"".join(receiver.got["trace"])
        receiver.got["trace"].clear()
        self.sinks["log"] = self.proxy.log().encode()
        self.sinks["content"], self.sinks["store"] = stored()

    def leaks(self) -> list[str]:
        wrong = []
        for sink, text in self.sinks.items():
            wrong += [f"the secret in {sink}"] if KEY.encode() in text else []
            wrong += [
                f"{place} of {level} in {sink}"
                for (level, place), word in self.words.items()
                if word.encode() in text and level not in MAY.get(sink, ())
            ]
            wrong += [f"address of {level} in {sink}" for level, m in self.mails.items() if m.encode() in text and level != "full"]
            wrong += [f"address in {sink}" for m in self.mails.values() if m.encode() in text and sink not in MAY]
        return wrong


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("kind", ["file", pytest.param("redis", marks=needs_own_redis)])
def test_each_level_in_each_sink(kind: str, receiver: Receiver) -> None:
    with ExitStack() as stack:
        sim = stack.enter_context(Simulator())
        more: dict[str, Any] = {"telemetry": {"capture": True, "otlp_endpoint": receiver.url}}
        server = stack.enter_context(RedisServer()) if kind == "redis" else None
        if server is not None:
            more["store"] = server.url
        env = {"FLEETGATE_ADMIN_TOKEN": TOKEN}
        world = World(stack.enter_context(Proxy(sim, agents=AGENTS, settings=more, keys=LEVELS, env=env)))
        for level in LEVELS:
            world.speak(level)
        found = {level: world.read(level) for level in LEVELS}
        world.sinks["api"] = json.dumps(found, ensure_ascii=False).encode()
        only_who_may(world)
        world.listen(receiver, lambda: in_server(server) if server else in_files(world.proxy.folder))
        assert all(world.sinks.values()), {name: len(text) for name, text in world.sinks.items()}
        assert not (wrong := world.leaks()), "\n".join(wrong)
        everything_is_there(world, found)
        erased(world, lambda: in_server(server) if server else in_files(world.proxy.folder))


def only_who_may(world: World) -> None:
    """Loopback alone does not do where there is a token, nor does another site; each reading is logged and says by whom."""
    name = world.ids["full"][0]
    assert world.content(name)[0] == 401
    assert world.content(name, authorization="Bearer wrong")[0] == 401
    assert world.content(name, **BEARER, **{"sec-fetch-site": "cross-site"})[0] == 403
    assert world.content("nothing-of-that-name", **BEARER)[0] == 404
    log = json.loads(get(f"{world.proxy.admin_url}/api/v1/kill")[1])["log"]
    reads = [entry for entry in log if entry["target"] == f"exchange:{name} of full/s1"]
    assert [(entry["action"], entry["by"]) for entry in reads] == [("read", "the admin token (127.0.0.1)")]
    assert not [entry for entry in log if "none/" in entry["target"]], "there was nothing to read"


def everything_is_there(world: World, found: Mapping[str, list[Any]]) -> None:
    """What a level allows is kept, each word once: else finding no leak would prove nothing."""
    for level in TOLD:
        for sink in MAY:
            for place in PLACES:
                assert world.words[level, place].encode() in world.sinks[sink], (level, place, sink)
        every = json.dumps(found[level])
        for place in PLACES:
            assert every.count(world.words[level, place]) == 1, "a turn keeps what it brings, and no turn before it again"
        assert "[AWS_KEY]" in every
    first, second, third, refused = found["hash"]
    said = f"{world.words['hash', 'said']} {KEY} {world.mails['hash']}"
    assert second["reply"][0]["parts"][0]["text"] == f"sha256:{digest(said)}"
    assert first["reply"][0]["parts"][0]["name"] == "read_file"
    assert (third["before"], refused["reply"]) == (3, [])
    assert digest(said).encode() in world.sinks["content"]
    assert digest(said).encode() not in world.sinks["trace"] + world.sinks["store"]


def erased(world: World, stored: Callable[[], tuple[bytes, bytes]]) -> None:
    """A session, then an agent, is erased on the command line and stands in no byte any more; the rest stays; who did it is logged."""
    said = command(world.proxy, "ledger", "erase", "--session", "full/s1", "--why", "asked for")
    assert b"erased what was said in 4 exchanges of session:full/s1" in said
    assert b"in 4 exchanges of agent:hash" in command(world.proxy, "ledger", "erase", "--agent", "hash", "--why", "asked for")
    left = stored()[0]
    assert not [place for (level, place), word in world.words.items() if level == "full" and word.encode() in left]
    assert world.words["redacted", "prompt"].encode() in left
    assert b"Nothing is kept" in command(world.proxy, "explain", world.ids["full"][0], "--content")
    log = json.loads(command(world.proxy, "kill", "--log", "--json"))
    assert [(e["action"], e["target"], e["reason"]) for e in log[:2]] == [
        ("erase", "agent:hash", "asked for"),
        ("erase", "session:full/s1", "asked for"),
    ]


def in_files(folder: Path) -> tuple[bytes, bytes]:
    """What the contents' file has, and what the store has beside it."""
    every = [p for p in folder.rglob("*") if p.is_file() and p.name.startswith("fleetgate.db")]
    ours = [p for p in every if ".content" in p.name]
    assert {stat.S_IMODE(p.stat().st_mode) for p in ours} == {0o600}
    return b"".join(p.read_bytes() for p in ours), b"".join(p.read_bytes() for p in every if p not in ours)


def in_server(server: RedisServer) -> tuple[bytes, bytes]:
    """The same of a Redis."""
    client = server.client()
    every = {name: of_key(client, name) for name in client.keys("*") if isinstance(name, bytes)}
    client.close()
    ours = {name for name in every if b":contents:" in name}
    assert ours
    return b"".join(every[name] for name in ours), b"".join(text for name, text in every.items() if name not in ours)


def of_key(client: Any, name: bytes) -> bytes:
    """All of one key."""
    kind = client.type(name)
    if kind == b"hash":
        return b"".join(part for pair in client.hgetall(name).items() for part in pair)
    if kind == b"stream":
        return repr(client.xrange(name)).encode()
    return b"".join(client.lrange(name, 0, -1)) if kind == b"list" else bytes(client.dump(name) or b"")
