"""Commands that run shell text or other commands: wrappers, shells, `eval`."""

from __future__ import annotations

import re

from proxy.guards import code_other
from proxy.guards.findings import NOTHING, Value
from proxy.guards.paths import HOLE, canonical
from proxy.guards.shell_run import Handler, Options, Run
from proxy.guards.shell_system import environment
from proxy.guards.shell_text import decode64

SHELLS = frozenset(
    "sh bash dash ash zsh ksh mksh csh tcsh fish rbash yash posh sash busybox-sh pwsh powershell cmd elvish rc nu xonsh".split()
)
_ANY_SHELL = re.compile(r"(?:/usr)?(?:/local)?/bin/(?:ba|z|k|da|a|c|tc)?sh")
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)

# Options with a value (letters, names), and how many operands come before the command.
_WRAPPERS: dict[str, tuple[str, str, int]] = {
    "sudo": ("ugprtThDCRU", "user group prompt chdir chroot host role type", 0),
    "doas": ("uC", "", 0),
    "pkexec": ("", "user", 0),
    "gosu": ("", "", 1),
    "su-exec": ("", "", 1),
    "setpriv": ("", "reuid regid groups inh-caps bounding-set", 0),
    "env": ("uCS", "unset chdir split-string", 0),
    "nohup": ("", "", 0),
    "timeout": ("sk", "signal kill-after", 1),
    "gtimeout": ("sk", "signal kill-after", 1),
    "nice": ("n", "adjustment", 0),
    "ionice": ("cnp", "class classdata", 0),
    "chrt": ("pTPD", "", 1),
    "taskset": ("p", "", 1),
    "setarch": ("", "", 1),
    "linux32": ("", "", 0),
    "linux64": ("", "", 0),
    "stdbuf": ("ioe", "input output error", 0),
    "time": ("fo", "format output", 0),
    "command": ("", "", 0),
    "builtin": ("", "", 0),
    "exec": ("a", "", 0),
    "busybox": ("", "", 0),
    "toybox": ("", "", 0),
    "setsid": ("", "", 0),
    "unbuffer": ("", "", 0),
    "watch": ("nd", "interval", 0),
    "strace": ("eopsuaES", "", 0),
    "ltrace": ("eopsuaES", "", 0),
    "flock": ("wcE", "timeout command", 1),
    "chroot": ("", "userspec groups", 1),
    "unshare": ("SGR", "map-user map-group root wd", 0),
    "nsenter": ("tSG", "target", 0),
    "proot": ("rbw", "", 0),
    "firejail": ("", "", 0),
    "xargs": ("IPLnsdaE", "max-args max-procs replace delimiter arg-file", 0),
    "parallel": ("jNIS", "jobs arg-file", 0),
    "proxychains": ("f", "", 0),
    "torsocks": ("", "", 0),
    "caffeinate": ("t", "", 0),
    "valgrind": ("", "", 0),
    "systemd-run": ("pMutE", "unit property uid gid on-calendar on-active machine slice", 0),
    "runcon": ("utrl", "", 1),
    "dbus-run-session": ("", "", 0),
    "xvfb-run": ("nes", "", 0),
    "faketime": ("", "", 1),
    "start-stop-daemon": ("xnupka", "exec name user pidfile startas", 0),
}
# Wrappers whose job it is to run shells for people; a shell under them is no trick.
_USUAL = frozenset("sudo doas env nohup timeout gtimeout time command exec xargs watch builtin busybox toybox chroot setsid flock".split())


def _wrapper(run: Run) -> Value | None:
    valued, long, operands = _WRAPPERS[run.name]
    args, i = run.args, 0
    options: dict[str, str] = {}
    names = long.split()
    while i < len(args) and args[i].startswith("-") and args[i] != "-":
        arg = args[i]
        i += 1
        if arg == "--":
            break
        key = arg.lstrip("-").split("=")[0]
        options[key] = arg.partition("=")[2]
        takes = (arg.startswith("--") and key in names and "=" not in arg) or (
            not arg.startswith("--") and arg[-1] in valued and _ends(arg, valued)
        )
        if takes and i < len(args):
            options[key] = args[i]
            i += 1
        elif not arg.startswith("--") and len(arg) > 2 and arg[1] in valued:
            options[arg[1]] = arg[2:]
    while run.name in ("sudo", "env", "doas") and i < len(args) and (match := _ASSIGNMENT.fullmatch(args[i])):
        environment(run, match[1], match[2])
        i += 1
    return _inner(run, options, args[i + operands :])


def _ends(arg: str, valued: str) -> bool:
    return not any(letter in valued for letter in arg[1:-1])


def _inner(run: Run, options: dict[str, str], rest: list[str]) -> Value | None:
    found, before = run.found, run.found.base
    if run.name in ("sudo", "doas", "pkexec", "setpriv"):
        wants = bool({"i", "s", "login", "shell", "is"} & options.keys()) or not rest or rest[0].rsplit("/", 1)[-1] in (*SHELLS, "su")
        if not {"l", "k", "K", "v", "V", "h", "e", "ll", "list"} & options.keys():
            found.emit(
                "priv.escalate", options.get("u", options.get("user", "root")), run.name, *(["shell"] if wants and not rest[1:] else [])
            )
        found.base = before | {"privileged"}
    if run.name == "env" and ("S" in options or "split-string" in options):
        rest = [*options.get("S", options.get("split-string", "")).split(), *rest]
    if run.name == "env" and not rest:
        return Value(HOLE, frozenset({"env"}))
    if run.name == "flock" and "c" in options:
        rest = ["sh", "-c", options["c"]]
    if run.name == "start-stop-daemon":
        rest = [options.get("x", options.get("exec", "")), *rest]
    if run.name == "systemd-run" and any(k.startswith("on-") for k in options):
        found.emit("persist", "timer", "scheduled")
    if rest and _ANY_SHELL.fullmatch(rest[0]) and run.name not in _USUAL and not rest[1:]:
        found.emit("exec.shell", rest[0], "gtfo", run.name)
    if run.name == "chroot" and run.args[:1] and canonical(run.args[-1 if not rest else 0]) == "/":
        found.emit("priv.escalate", "/", "chroot")
    if run.name == "nsenter" and options.get("t", options.get("target", "")) == "1":
        found.emit("priv.escalate", "1", "namespace")
    if run.name in ("xargs", "parallel"):
        return _listed(run, options, rest)
    if run.name == "watch":
        rest = ["sh", "-c", " ".join(rest)]
    value = run.again(rest) if rest else None
    found.base = before
    return value


def _listed(run: Run, options: dict[str, str], rest: list[str]) -> Value | None:
    stdin = run.stdin or Value()
    items = stdin.text.split() if HOLE not in stdin.text else [HOLE]
    mark = options.get("I", options.get("i", options.get("replace", ""))) or ("{}" if "I" in options or run.name == "parallel" else "")
    run.taint = run.taint | stdin.taint
    if not rest:
        return Value(stdin.text, stdin.taint)
    if mark and any(mark in a for a in rest):
        value = None
        for item in items[:256]:
            value = run.again([a.replace(mark, item) for a in rest])
        return value
    return run.again([*rest, *items])


def _shell(run: Run) -> Value | None:
    options = Options(run.args, "oOC", frozenset({"rcfile", "init-file"}))
    machine = run.machine
    if run.name in ("pwsh", "powershell"):
        return _powershell(run)
    text = next((a for i, a in enumerate(run.args[1:], 1) if re.fullmatch(r"-\w*c|/c|/k", run.args[i - 1], re.IGNORECASE)), None)
    if text is not None:
        rest = run.args[run.args.index(text) + 1 :]
        before, machine.positional = machine.positional, rest[1:]
        value = script(run, Value(text, run.taint), run.stdin)
        machine.positional = before
        return value
    operands = [a for a in options.rest if a]
    if operands and not options.has("s") and operands[0] not in ("-", "/dev/stdin"):
        path = operands[0]
        if path.startswith("/dev/fd/"):
            return script(run, Value(HOLE, run.taint), None)
        kept = machine.files.get(canonical(path))
        if kept is not None:
            return script(run, kept, run.stdin)
        return run.value()
    if run.wrapped == "find":
        run.found.emit("exec.shell", run.name, "gtfo", "find")
    if run.stdin is not None:
        if "socket" in run.stdin.taint or any(o.startswith("/dev/tcp") for o in run.out):
            run.found.emit("net.shell", "", "pipe")
        value = script(run, run.stdin, None)
        return Value(value.text, value.taint | {"shell"}) if HOLE in run.stdin.text else value
    if any(o.startswith(("/dev/tcp/", "/dev/udp/")) or "REPLY" in o for o in run.out):
        run.found.url("net.shell", ":".join(run.out[0].split("/")[3:5]), "redirect")
    return Value(HOLE, frozenset({"shell"}))


def script(run: Run, value: Value, stdin: Value | None) -> Value:
    """Judge a text that is run as a shell script, by what it holds and by where it came from."""
    found, before = run.found, run.found.base
    if "net" in value.taint:
        found.emit("exec.remote", "", "shell")
    if "decoded" in value.taint:
        found.emit("exec.encoded", "", "shell")
        found.base = before | {"encoded"}
    kept = run.machine.text(value.text, stdin) if value.text.strip(HOLE + "\n ") else Value()
    found.base = before
    return Value(kept.text, kept.taint | value.taint)


def _powershell(run: Run) -> Value | None:
    words = " ".join(run.args)
    encoded = re.search(r"(?i)-e(?:nc\w*|c)?\s+([A-Za-z0-9+/=]{8,})", words)
    if encoded:
        run.found.emit("exec.encoded", "", "powershell")
        words = decode64(encoded[1], "utf-16-le")
    code_other.judge("powershell", words, run.found, run.machine.text)
    return None


def _eval(run: Run) -> Value | None:
    return script(run, Value(" ".join(run.args), run.taint), run.stdin)


def _source(run: Run) -> Value | None:
    path = run.args[0] if run.args else ""
    if path.startswith("/dev/fd/"):
        return script(run, Value(HOLE, run.taint), None)
    kept = run.machine.files.get(canonical(path))
    return script(run, kept, run.stdin) if kept is not None else NOTHING


def _alias(run: Run) -> Value | None:
    for arg in run.args:
        name, equals, value = arg.partition("=")
        if equals and len(run.machine.aliases) < 64:
            run.machine.aliases[name] = value
            if name in ("sudo", "su", "ssh"):
                run.found.emit("persist", name, "alias")
    return NOTHING


def _trap(run: Run) -> Value | None:
    if run.args and run.args[0] not in ("-", ""):
        run.machine.text(run.args[0])
    return NOTHING


def _su(run: Run) -> Value | None:
    options = run.options("csgGw", ("command", "shell", "group", "session-command"))
    run.found.emit(
        "priv.escalate",
        next((a for a in options.rest if a != "-"), "root"),
        run.name,
        *(["shell"] if "privileged" in run.found.base else []),
    )
    command = options.get("c", "command", "session-command")
    return run.machine.text(command, run.stdin) if command else None


def _script(run: Run) -> Value | None:
    command = run.options("cEIOBT", ("command",)).get("c", "command")
    return run.machine.text(command, run.stdin) if command else None


RUNS: dict[str, Handler] = {
    **dict.fromkeys(_WRAPPERS, _wrapper),
    **dict.fromkeys(SHELLS, _shell),
    "eval": _eval,
    **dict.fromkeys(("source", "."), _source),
    "alias": _alias,
    "trap": _trap,
    **dict.fromkeys(("su", "runuser"), _su),
    "script": _script,
}
