"""Commands that run code of other languages, or run something elsewhere: interpreters, containers, other machines."""

from __future__ import annotations

import re

from proxy.guards import code, code_other
from proxy.guards.findings import NOTHING, Value
from proxy.guards.paths import HOLE, canonical
from proxy.guards.shell_run import Handler, Options, Run


def _interpreter(run: Run) -> Value | None:
    name = re.sub(r"[\d.]+$", "", run.name)
    options = Options(run.args, "ceErmMIWXp", frozenset({"eval", "print", "require", "command"}))
    found, before = run.found, run.found.base
    texts = [v for n, v in options.all if n in ("c", "e", "E", "r", "eval", "print", "p", "command")]
    if name == "python" and options.get("m") in ("http.server", "SimpleHTTPServer", "pyftpdlib"):
        found.emit("net.listen", "", "files", *(["local"] if "127.0.0.1" in run.args or "localhost" in run.args else []))
        return None
    if name == "python" and options.get("m") in ("pip", "twine"):
        return run.again([options.get("m"), *run.args[run.args.index(options.get("m")) + 1 :]])
    if name == "php" and options.has("S"):
        where = next((a for a in run.args if ":" in a), "")
        found.emit("net.listen", where, "files", *(["local"] if where.startswith(("127.", "localhost")) else []))
    taint = run.taint
    if not texts:
        path = next((a for a in options.rest if a != "-"), "")
        kept = run.machine.files.get(canonical(path)) if path else run.stdin
        if path and kept is None and path.startswith("/dev/fd/"):
            kept = Value(HOLE, run.taint)
        texts, taint = ([kept.text], kept.taint) if kept else ([], taint)
        if kept and "net" in taint:
            found.emit("exec.remote", "", name)
    elif "net" in taint and any(HOLE in text for text in texts):
        found.emit("exec.remote", "", name)
    if "decoded" in taint and texts:
        found.emit("exec.encoded", "", name)
        found.base = before | {"encoded"}
    for text in texts:
        _judge_code(run, name, text)
    found.base = before
    return Value(HOLE, run.value().taint - {"secret"} | ({"net"} if "net" in taint else frozenset()))


def _judge_code(run: Run, name: str, text: str) -> None:
    if name in ("python", "pypy", "ipython"):
        code.python(text, run.found, run.machine.text)
    else:
        code_other.judge(name, text, run.found, run.machine.text)


def _awk(run: Run) -> Value | None:
    options = run.options("Ffv", ("file", "assign", "field-separator"))
    rest = options.rest
    text = rest[0] if rest and not options.has("f", "file") else ""
    code_other.judge("awk", text, run.found, run.machine.text)
    taint = run.value().taint
    for path in rest[1:]:
        taint |= run.machine.read(path).taint
    return Value(HOLE, taint)


# Containers and other machines


def _container(run: Run) -> Value | None:
    verb = next((a for a in run.args if not a.startswith("-")), "")
    options = Options(
        run.args[run.args.index(verb) + 1 :] if verb else [],
        "vpeuwlmhnc",
        frozenset(
            "volume publish env user workdir name network mount entrypoint label hostname memory cpus platform pid namespace"
            " container".split()
        ),
        leading=True,
    )
    if verb in ("run", "create", "exec", "attach") or run.name == "nerdctl":
        mounts = [v for n, v in options.all if n in ("v", "volume", "mount")]
        risky = any(
            re.match(r"(type=bind,)?(source=|src=)?(/|/etc|/root|/var/run/docker\.sock|/run/docker\.sock|/home)(:|,|$)", m) for m in mounts
        )
        if risky or options.has("privileged") or options.get("pid") == "host":
            run.found.emit("priv.escalate", mounts[0] if risky else "", "container", "mount" if risky else "privileged")
        command = [a for i, a in enumerate(options.rest[1:]) if i or a != "--"]
        if options.get("entrypoint"):
            command = [options.get("entrypoint"), *command]
        before, run.found.base = run.found.base, run.found.base | {"container"}
        value = run.again(command) if command else None
        run.found.base = before
        return value
    if verb == "cp" and len(options.rest) == 2 and ":" in options.rest[1]:
        run.machine.read(options.rest[0])
    return None


def _ssh(run: Run) -> Value | None:
    options = Options(run.args, "bcDEeFIiJLlmOopQRSWw", leading=True)
    if not options.rest:
        return None
    if any(re.match(r"(?i)(proxycommand|localcommand|permitlocalcommand)", v) for n, v in options.all if n == "o"):
        run.found.emit("exec.shell", "", "gtfo", "ssh")
    if options.has("R", "L", "D"):
        # Without an address, and with a local one, only this machine (`-R`: the other one) may come in.
        here = not options.has("R") and not re.match(r"(\*|0\.0\.0\.0)?:", options.get("L", "D"))
        run.found.emit("net.listen", options.get("R", "L", "D"), "tunnel", "port", *(["local"] if here else []))
    run.found.url("net.fetch", options.rest[0].split("@")[-1], "ssh")
    if (run.stdin or NOTHING).taint & {"file", "secret"}:
        run.found.send(options.rest[0], (run.stdin or NOTHING).taint, "copy")
    if options.rest[1:]:
        before, run.found.base = run.found.base, run.found.base | {"remote-host"}
        run.machine.text(" ".join(options.rest[1:]), run.stdin)
        run.found.base = before
    return run.value("net")


CODE: dict[str, Handler] = {
    **dict.fromkeys(
        "python python2 python3 pypy pypy3 ipython perl ruby node nodejs deno bun php lua luajit tclsh wish osascript jrunscript jjs groovy"
        " Rscript R julia octave octave-cli ghc irb".split(),
        _interpreter,
    ),
    **{f"python3.{i}": _interpreter for i in range(6, 16)},
    **dict.fromkeys(("awk", "gawk", "mawk", "nawk"), _awk),
    **dict.fromkeys(("docker", "podman", "nerdctl", "kubectl", "oc", "lxc"), _container),
    **dict.fromkeys(("ssh", "autossh", "mosh"), _ssh),
}
