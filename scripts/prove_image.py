"""Runs the steps of the Dockerfile in roots of their own, then serves from the last one as an engine would; see scripts/prove_image.sh.

    scripts/prove_image.py FOLDER [NAME=VALUE …]

FOLDER/base is a root of the base image's release. Each FROM gets a copy of it; ENV, ARG, WORKDIR, COPY, RUN and USER do there what they
say, and an instruction that is not known ends the run, so that nothing is passed over. RUN has this machine's network and pip settings.
Then, in namespaces of its own: the read-only root, no shell in it, a numeric user without privileges, the volume and /tmp writable, and
nothing but loopback. What is asked there is printed as it holds; the first thing that does not hold ends the run with exit code 1.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import re
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PASSED_ON = re.compile(r"(PIP_.*|https?_proxy|no_proxy|HTTPS?_PROXY|NO_PROXY)")
BUNDLE = "etc/ssl/certs/ca-certificates.crt"
SHELLS = ("sh", "dash", "bash", "rbash")
START_S, STEP_S = 60.0, 1800.0
CONFIG = """
agents: [AGENTS.md]
budgets: budgets/
providers: {openai: {protocols: [openai], base_url: "http://127.0.0.1:18099/v1", api_key: env:OPENAI_API_KEY}}
models: {"gpt-*": {provider: openai}}
store: sqlite:/data/fleetgate.db
"""
BUDGETS = "budgets: [{name: all, scope: {fleet: '*'}, limit: {usd: 5}, window: day}]\n"
AGENTS = "---\nname: demo\ndescription: Proves the image\npolicy: {models: {allow: ['*']}}\n---\n"
CALL = {"model": "gpt-4o-mini", "max_tokens": 20, "messages": [{"role": "user", "content": "Say hello."}]}


@dataclass
class Stage:
    """One FROM and what came of it."""

    root: Path
    name: str = ""
    env: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"})
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    facts: dict[str, str] = field(default_factory=dict)

    def at(self, path: str) -> Path:
        """Where a path of the stage is on this machine."""
        return self.root / os.path.normpath(os.path.join(self.folder, path)).lstrip("/")  # noqa: PTH118 - a path of another root


def steps(text: str) -> list[tuple[str, str]]:
    """Return the instructions of a Dockerfile."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [(word.upper(), rest.strip()) for word, _, rest in (line.strip().partition(" ") for line in whole.splitlines())]


def built(folder: Path, given: dict[str, str]) -> Stage:
    """Run the steps; return the last stage."""
    stages: list[Stage] = []
    outer: dict[str, str] = {}
    for word, rest in steps((ROOT / "Dockerfile").read_text(encoding="utf-8")):
        say(f"{word} {rest[:150]}")
        if word == "ARG" and not stages:
            name, _, value = rest.partition("=")
            outer[name] = given.get(name, value)
        elif word == "FROM":
            stages.append(_from(folder, rest, len(stages)))
        else:
            _step(stages, word, rest, given)
    return stages[-1]


def _from(folder: Path, rest: str, number: int) -> Stage:
    image, _, name = rest.partition(" AS ")
    if image != "${BASE}":
        raise SystemExit(f"prove_image: FROM {image}: not the base")
    root = folder / f"stage{number}"
    unmount(root)
    shutil.rmtree(root, ignore_errors=True)
    run(["cp", "-a", "--reflink=auto", str(folder / "base"), str(root)])
    return Stage(root, name.strip())


def _step(stages: list[Stage], word: str, rest: str, given: dict[str, str]) -> None:
    stage = stages[-1]
    if word == "ARG":
        name, _, value = rest.partition("=")
        stage.arguments[name] = given.get(name, value)
    elif word == "ENV":
        for pair in shlex.split(rest):
            name, _, value = pair.partition("=")
            stage.env[name] = re.sub(r"\$\{?(\w+)\}?", lambda m: stage.env.get(m[1], ""), value)
    elif word == "WORKDIR":
        stage.folder = os.path.normpath(os.path.join(stage.folder, rest))  # noqa: PTH118
        stage.at(".").mkdir(parents=True, exist_ok=True)
    elif word == "COPY":
        _copy(stages, rest)
    elif word == "RUN":
        _run(stage, rest)
    elif word in ("USER", "EXPOSE", "VOLUME", "HEALTHCHECK", "ENTRYPOINT", "CMD"):
        stage.facts[word] = rest
    else:
        raise SystemExit(f"prove_image: {word} is not known to this script")


def _copy(stages: list[Stage], rest: str) -> None:
    words = shlex.split(rest)
    options = dict(w[2:].split("=", 1) for w in words if w.startswith("--"))
    *sources, target = [w for w in words if not w.startswith("--")]
    source_root = next(s.root for s in stages if s.name == options["from"]) if "from" in options else ROOT
    place = stages[-1].at(target)
    for source in sources:
        path = source_root / source.lstrip("/")
        to = place / path.name if target.endswith("/") else place
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            ignored = None if "from" in options else shutil.ignore_patterns("__pycache__", "*.db*")
            shutil.copytree(path, to, symlinks=True, dirs_exist_ok=True, ignore=ignored)
        else:
            shutil.copy2(path, to)
        run(["chown", "-R", options.get("chown", "0:0"), str(to)])


def _run(stage: Stage, command: str) -> None:
    passed = {k: v for k, v in os.environ.items() if PASSED_ON.fullmatch(k)}
    env = {**passed, "HOME": "/root", **stage.env, **stage.arguments}
    mounts = [("/proc", "proc"), ("/dev", "dev"), ("/etc/resolv.conf", "etc/resolv.conf")]
    mounts += [(path, BUNDLE) for path in ("/" + BUNDLE,) if Path(path).exists()]
    mounts += [("/etc/pip.conf", "etc/pip.conf")] if Path("/etc/pip.conf").exists() else []
    try:
        for source, target in mounts:
            place = stage.root / target
            if not place.exists():
                place.touch()
            run(["mount", "--bind", source, str(place)])
        code = f"cd {shlex.quote(stage.folder)} && {command}"
        done = subprocess.run(["chroot", str(stage.root), "/bin/sh", "-c", code], env=env, timeout=STEP_S, check=False)  # noqa: S603, S607
    finally:
        unmount(stage.root)
    if done.returncode:
        raise SystemExit(f"prove_image: RUN ended with {done.returncode}: {command}")


def unmount(root: Path) -> None:
    """Take everything away that is mounted below `root`."""
    mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    for place in reversed([m for m in mounted if m.startswith(f"{root}/")]):
        subprocess.run(["umount", "--lazy", place], check=False)  # noqa: S603, S607


def served(folder: Path) -> None:
    """In namespaces of our own: serve from the last stage, and ask it."""
    facts: dict[str, Any] = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    root, user, env = Path(facts["root"]), int(facts["USER"].split(":")[0]), dict(facts["env"])
    for shell in SHELLS:
        (root / "usr/bin" / shell).unlink(missing_ok=True)
    config = root / "etc/fleetgate"
    (config / "budgets").mkdir(parents=True, exist_ok=True)
    for name, text in (("fleetgate.yaml", CONFIG), ("budgets/all.yaml", BUDGETS), ("AGENTS.md", AGENTS)):
        (config / name).write_text(text, encoding="utf-8")
    run(["mount", "--make-rprivate", "/"])
    run(["mount", "--bind", str(root), str(root)])
    run(["mount", "-o", "remount,bind,ro", str(root)])
    for target, options in (("data", f"uid={user},gid={user},mode=700"), ("tmp", "mode=1777")):
        run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(root / target)])
    run(["mount", "--bind", "/dev", str(root / "dev")])
    run(["mount", "-t", "proc", "proc", str(root / "proc")])
    _loopback()
    Inside(root, user, {**env, "OPENAI_API_KEY": "sk-none", "FLEETGATE_CONFIG": "/etc/fleetgate/fleetgate.yaml"}, facts).prove()


@dataclass
class Inside:
    """What runs in the last stage, as its user."""

    root: Path
    user: int
    env: dict[str, str]
    facts: dict[str, Any]

    def prove(self) -> None:
        """Serve, ask, and end."""
        python, workdir = "/opt/fleetgate/bin/python", str(self.facts["folder"])
        self.holds("no shell in it", not any(shutil.which(s, path=str(self.root / "usr/bin")) for s in SHELLS))
        self.holds("no pip beside it", not list((self.root / "opt/fleetgate/bin").glob("pip*")))
        writable = f"import os; print(sorted(d for d in ('/', '/opt/fleetgate', '/etc/fleetgate', {workdir!r}) if os.access(d, os.W_OK)))"
        self.holds("nothing writable but the volume", self.said(python, "-c", writable) == "['/data']")
        self.holds("vocabularies and weights inside", self.said(python, "-c", WEIGHTS) == "ok")
        sim = self.start("fleetgate", "sim", "--port", "18099")
        server = self.start(*json.loads(self.facts["ENTRYPOINT"]), *json.loads(self.facts["CMD"]))
        health = json.loads(self.facts["HEALTHCHECK"].split("CMD", 1)[1])
        began = time.monotonic()
        while self.start(*health, quiet=True).wait(20):
            if server.poll() is not None or time.monotonic() - began > START_S:
                raise SystemExit("prove_image: it does not come up")
            time.sleep(0.2)
        self.holds(f"HEALTHCHECK holds after {time.monotonic() - began:.1f} s", True)
        key = self.said("fleetgate", "keys", "create", "demo")
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
        call = urllib.request.Request("http://127.0.0.1:8080/v1/chat/completions", json.dumps(CALL).encode(), headers)
        with urllib.request.urlopen(call, timeout=20) as reply:  # noqa: S310
            self.holds("a call is served and priced", reply.status == 200 and float(reply.headers["x-fleetgate-cost-usd"]) > 0)
        status = (Path("/proc") / str(server.pid) / "status").read_text(encoding="utf-8")
        self.holds(f"it runs as {self.user} and gains no privileges", f"Uid:\t{self.user}\t" in status and "NoNewPrivs:\t1" in status)
        self.holds("it has no capabilities", "CapEff:\t0000000000000000" in status)
        server.send_signal(signal.SIGTERM)
        self.holds("it ends by itself", server.wait(60) == 0)
        sim.send_signal(signal.SIGTERM)
        sim.wait(20)

    def start(self, *command: str, quiet: bool = False) -> subprocess.Popen[str]:
        """Start a program of the root as its user: no shell, no privileges."""

        def enter() -> None:
            os.chroot(self.root)
            os.chdir(str(self.facts["folder"]))
            os.setgroups([])
            os.setgid(self.user)
            os.setuid(self.user)
            ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS

        program = (
            command[0]
            if command[0].startswith("/")
            else next(
                f"{folder}/{command[0]}" for folder in self.env["PATH"].split(":") if (self.root / folder.lstrip("/") / command[0]).exists()
            )
        )
        out = subprocess.DEVNULL if quiet else sys.stderr
        return subprocess.Popen([program, *command[1:]], env=self.env, stdout=out, stderr=out, text=True, preexec_fn=enter)  # noqa: S603, PLW1509

    def said(self, *command: str) -> str:
        """Return what a program says on stdout."""
        place = self.root / "data" / "said"
        code = (
            "import os, sys; os.dup2(os.open('/data/said', os.O_CREAT | os.O_TRUNC | os.O_WRONLY), 1); os.execv(sys.argv[1], sys.argv[1:])"
        )
        program = command[0] if command[0].startswith("/") else f"/opt/fleetgate/bin/{command[0]}"
        if self.start("/opt/fleetgate/bin/python", "-c", code, program, *command[1:]).wait(60):
            raise SystemExit(f"prove_image: {' '.join(command)[:80]} failed")
        return place.read_text(encoding="utf-8").strip()

    def holds(self, what: str, true: bool) -> None:
        """Say that something holds, or end."""
        if not true:
            raise SystemExit(f"prove_image: FAILED: {what}")
        say(f"ok: {what}")


WEIGHTS = """
import pathlib, proxy
root = pathlib.Path(proxy.__file__).parent
from proxy.routing.learned import weights
weights()
assert all((root / "budget" / "vocab" / f"{n}.tiktoken").stat().st_size > 1_000_000 for n in ("cl100k_base", "o200k_base"))
print("ok")
"""


def _loopback() -> None:
    """Bring up `lo` of this network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sh", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP


def run(command: list[str]) -> None:
    """Run a command that must work."""
    subprocess.run(command, check=True)  # noqa: S603


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, flush=True)  # noqa: T201


def main(arguments: list[str]) -> int:
    """Build, then serve in namespaces of our own."""
    if arguments[0] == "--serve":
        served(Path(arguments[1]))
        return 0
    folder = Path(arguments[0])
    last = built(folder, dict(pair.split("=", 1) for pair in arguments[1:]))
    facts = {**last.facts, "root": str(last.root), "env": last.env, "folder": last.folder}
    (folder / "facts.json").write_text(json.dumps(facts), encoding="utf-8")
    again = ["unshare", "--mount", "--net", "--pid", "--fork", "--mount-proc", sys.executable, __file__, "--serve", str(folder)]
    return subprocess.run(again, check=False).returncode  # noqa: S603


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
