"""Commands that change a machine: processes, services, start-up, accounts, protection, devices."""

from __future__ import annotations

import re

from proxy.guards import services
from proxy.guards.findings import NOTHING, Value
from proxy.guards.paths import HOLE, canonical
from proxy.guards.shell_run import Handler, Run


def stop(run: Run, name: str, *flags: str) -> None:
    """Note that `name` is stopped."""
    what = services.kind(name)
    run.found.emit("proc.kill", name, *flags, *([what] if what else []))
    if what == "security":
        run.found.emit("guard.disable", name, "service")


def _kill(run: Run) -> Value | None:
    args = list(run.args)
    if len(args) > 1 and re.fullmatch(r"-(\d+|[A-Z][A-Z0-9]+|s|n)", args[0]):
        args = args[2:] if args[0] in ("-s", "-n") else args[1:]
    taint = run.taint | (run.stdin.taint if run.stdin else frozenset())
    if "-l" in run.args or "-L" in run.args or run.args == ["-0"]:
        return None
    for pid in args:
        if pid in ("1", "-1", "0"):
            run.found.emit("proc.kill", pid, "all" if pid != "1" else "system")
    if "procs" in taint and run.machine.processes:
        for name in run.machine.processes[:16]:
            stop(run, name, "searched")
    elif args or run.wrapped:
        run.found.emit("proc.kill", " ".join(args)[:100] if not any(HOLE in a for a in args) else "")
    return NOTHING


def _pkill(run: Run) -> Value | None:
    options = run.options("ugtPGsUFLno", ("signal", "user", "uid", "parent", "older-than", "younger-than"))
    if options.has("u", "user") and not options.rest:
        run.found.emit("proc.kill", options.get("u", "user"), "user")
    for name in options.rest:
        for word in re.findall(r"[\w.-]+", name) or [name]:
            stop(run, word, "by-name")
    return NOTHING


def _systemctl(run: Run) -> Value | None:
    options = run.options("tpHMnosPS", ("type", "property", "host", "machine", "lines", "output", "signal", "state"))
    if not options.rest:
        return None
    verb, units = options.rest[0], options.rest[1:]
    if run.name in ("service", "rc-service", "initctl") and len(options.rest) > 1:
        verb, units = (options.rest[1], options.rest[:1]) if run.name != "initctl" else (verb, units)
    if run.name in ("service",) and options.rest[0].startswith(("../", "/")):
        run.found.emit("exec.shell", options.rest[0], "gtfo")
    if verb in ("stop", "disable", "mask", "kill", "remove", "unload", "bootout"):
        for unit in units:
            stop(run, unit, "service", verb)
    elif verb in ("enable", "link", "edit", "load", "bootstrap", "set-environment", "import-environment", "reenable"):
        for unit in units:
            run.found.emit("persist", unit, "service", *(["path"] if "/" in unit else []))
    elif verb in ("poweroff", "reboot", "halt", "emergency", "rescue", "isolate", "kexec"):
        run.found.emit("infra.destroy", "host", "power", verb)
    return None


def _crontab(run: Run) -> Value | None:
    options = run.options("u")
    if options.has("r"):
        run.found.emit("persist", "crontab", "remove")
    elif not options.has("l"):
        run.found.emit("persist", "crontab", *(["edit"] if options.has("e") else ["install"]))
    return Value(HOLE, frozenset({"list"}))


def _later(run: Run) -> Value | None:
    if not run.options().has("l", "q", "r", "d", "c") and run.name in ("at", "batch", "schtasks", "systemd-run"):
        text = run.stdin.text if run.stdin else ""
        run.found.emit("persist", run.name, "scheduled")
        if text and text != HOLE:
            run.machine.text(text)
    return None


def _account(run: Run) -> Value | None:
    options = run.options("gGusdcekpmf", ("groups", "gid", "uid", "shell", "home", "password"))
    if options.has("S", "status", "l", "list", "c", "check", "h", "help") and run.name in ("passwd", "chage", "visudo"):
        return None
    groups = " ".join(v for n, v in options.all if n in ("G", "g", "groups", "a")) + " " + " ".join(options.rest)
    root = [word for word in ("sudo", "wheel", "root", "admin", "docker", "adm", "disk", "shadow") if re.search(rf"\b{word}\b", groups)]
    flags = ["root"] if root or options.get("u", "uid") == "0" else []
    interactive = run.stdin is None and run.name in ("passwd", "visudo", "chfn", "chsh") and not options.has("d", "p", "stdin")
    run.found.emit("account.change", options.rest[-1] if options.rest else "", run.name, *flags, *(["interactive"] if interactive else []))
    if run.name in ("visudo", "chpasswd") and run.stdin is not None:
        run.found.emit("priv.escalate", run.name, "accounts")
    return None


def _history(run: Run) -> Value | None:
    if run.options("danrw").has("c", "d"):
        run.found.emit("guard.disable", "history", "history")
    return Value(HOLE, frozenset({"file"}))


def _unset(run: Run) -> Value | None:
    for name in run.args:
        if name.split("=")[0] in ("HISTFILE", "HISTSIZE", "HISTFILESIZE", "PROMPT_COMMAND"):
            run.found.emit("guard.disable", name.split("=")[0], "history")
        run.machine.variables.pop(name, None)
    return NOTHING


def _set(run: Run) -> Value | None:
    if run.name == "set" and "--" in run.args:
        run.machine.positional = run.args[run.args.index("--") + 1 :]
    if run.args[:2] == ["+o", "history"]:
        run.found.emit("guard.disable", "history", "history")
    if run.name in ("export", "declare", "local", "typeset", "readonly"):
        for arg in run.args:
            name, equals, value = arg.partition("=")
            if equals:
                run.machine.variables[name.removesuffix("+")] = Value(value, run.taint)
                environment(run, name, value)
        if not run.args or run.args in (["-p"], ["-x"]):
            return Value(HOLE, frozenset({"env"}))
    elif run.name == "set" and not run.args:
        return Value(HOLE, frozenset({"env"}))
    return NOTHING


def environment(run: Run, name: str, value: str) -> None:
    """Judge a variable that is set for programs: some load code."""
    if name in ("LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "LD_LIBRARY_PATH") and value and name != "LD_LIBRARY_PATH":
        run.found.emit("exec.shell", value, "library", "preload")
    if name in ("HISTFILE", "HISTSIZE", "HISTFILESIZE") and value in ("", "0", "/dev/null"):
        run.found.emit("guard.disable", name, "history")
    shells = re.search(r"(^|[\s'\"/!])(ba|z|k|da)?sh($|[\s'\"#;])", value) is not None
    if shells and name not in ("SHELL", "shell", "CONFIG_SHELL", "0") and "/" in value and name.isupper():
        run.found.emit("exec.shell", name, "gtfo", "environment")


_FLUSH = {"F", "flush", "X", "delete-chain"}


def _firewall(run: Run) -> Value | None:
    options = run.options("AIDPjtpsdio", ("policy", "append", "insert", "jump", "table"))
    words = options.rest
    flushed = run.name.startswith(("iptables", "ip6tables")) and (options.has(*_FLUSH) or (options.has("P") and "ACCEPT" in words))
    off = words[:1] in (["disable"], ["reset"]) or words[:2] == ["flush", "ruleset"] or (run.name == "pfctl" and options.has("d", "F"))
    off = off or ("advfirewall" in words and "off" in words) or options.has("panic-off", "set-default-zone=trusted")
    if flushed or off:
        run.found.emit("guard.disable", run.name, "firewall")
    return None


def _enforce(run: Run) -> Value | None:
    words = [a.lower() for a in run.args]
    off = {
        "setenforce": words[:1] in (["0"], ["permissive"]),
        "auditctl": words[:2] in (["-e", "0"],) or "-D" in run.args,
        "spctl": "--master-disable" in words or "--global-disable" in words,
        "csrutil": "disable" in words,
        "aa-teardown": True,
        "aa-disable": True,
        "aa-complain": True,
        "swapoff": False,
        "sysctl": any(re.match(r"kernel\.(randomize_va_space|yama|kptr|dmesg)\S*=0", w.replace(" ", "")) for w in words),
        "dmesg": bool({"-c", "-C", "--clear"} & set(run.args)) and False,
        "journalctl": any(w.startswith("--vacuum") for w in words) and any("1s" in w or "=0" in w for w in words),
        "logrotate": False,
        "tmutil": "disable" in words or "deletelocalsnapshots" in words,
        "vssadmin": "delete" in words,
        "wevtutil": words[:1] in (["cl"], ["clear-log"]),
        "bcdedit": "recoveryenabled" in words,
        "set-mppreference": "-disablerealtimemonitoring" in words,
    }.get(run.name.lower(), False)
    if off:
        run.found.emit("guard.disable", run.name, "protection")
    return None


def _power(run: Run) -> Value | None:
    if not run.options().has("c", "w", "h" if run.name != "shutdown" else "c") or run.name in ("poweroff", "init"):
        run.found.emit("infra.destroy", "host", "power", run.name)
    return None


def _module(run: Run) -> Value | None:
    if run.args and not run.options().has("n", "c", "D", "l"):
        path = [a for a in run.args if not a.startswith("-")][:1]
        run.found.emit("priv.escalate", path[0] if path else "", "kernel-module", *(["path"] if path and "/" in path[0] else []))
    return None


def _mount(run: Run) -> Value | None:
    rest = run.options("to", ("bind",)).rest
    if any(re.match(r"/(dev/(sd|nvme|vd|xvd)|proc|sys)\b", a) for a in rest[:1]) and "privileged-container" in run.machine.found.base:
        run.found.emit("priv.escalate", rest[0], "mount")
    return None


def _surveil(run: Run) -> Value | None:
    words = " ".join(run.args)
    what = {
        "scrot": "screen",
        "screencapture": "screen",
        "gnome-screenshot": "screen",
        "maim": "screen",
        "grim": "screen",
        "xwd": "screen",
        "spectacle": "screen",
        "flameshot": "screen",
        "fswebcam": "camera",
        "imagesnap": "camera",
        "streamer": "camera",
        "arecord": "microphone",
        "parecord": "microphone",
        "parec": "microphone",
        "xinput": "keys",
        "logkeys": "keys",
        "showkey": "keys",
        "evtest": "keys",
        "xclip": "clipboard",
        "xsel": "clipboard",
        "pbpaste": "clipboard",
        "wl-paste": "clipboard",
        "whereami": "place",
        "corelocationcli": "place",
    }.get(run.name.lower(), "")
    if run.name in ("ffmpeg", "avconv", "cvlc", "vlc"):
        match = re.search(r"x11grab|avfoundation|gdigrab|kmsgrab|/dev/video|v4l2|dshow|-f (alsa|pulse)", words)
        what = match[0] if match else ""
    if run.name == "xinput" and "test" not in words:
        what = ""
    if what:
        run.found.emit("surveil", what, run.name)
    return run.value("screen") if what else None


def _processes(run: Run) -> Value | None:
    if run.name in ("pgrep", "pidof"):
        for name in run.options("ugtPGsUF", ("signal", "user")).rest:
            run.machine.processes += re.findall(r"[A-Za-z][\w.-]+", name)[:8]
    return Value(HOLE, frozenset({"procs"}))


def _cd(run: Run) -> Value | None:
    target = next((a for a in run.args if not re.fullmatch(r"-[LPe@n]+|--", a)), "~")
    absolute = target[:1] in ("/", "~") or target[1:2] == ":"
    if HOLE in target or target == "-" or (not absolute and not run.found.cwd):
        run.found.cwd = ""
    else:
        run.found.cwd = canonical(target if absolute else f"{run.found.cwd}/{target}")
    return NOTHING


def _keys(run: Run) -> Value | None:
    """Stores of secrets that are asked for what they keep."""
    words = " ".join(run.args)
    out = {
        "gpg": "--export-secret" in words,
        "gpg2": "--export-secret" in words,
        "security": bool(re.match(r"(dump-keychain|find-(generic|internet)-password|export)\b", words)),
        "secret-tool": words.startswith("lookup"),
        "pass": words.startswith("show"),
        "cmdkey": "/list" in words,
        "mimikatz": True,
        "secretsdump.py": True,
        "unshadow": True,
    }.get(run.name, False)
    if out:
        run.found.emit("secret.read", run.name, "export")
    return run.value("secret") if out else None


def _env(run: Run) -> Value | None:
    return Value(HOLE, frozenset({"env"}))


SYSTEM: dict[str, Handler] = {
    "kill": _kill,
    **dict.fromkeys(("pkill", "killall", "killall5", "skill", "taskkill", "stop-process", "xkill"), _pkill),
    **dict.fromkeys(("systemctl", "service", "rc-service", "launchctl", "initctl", "sc", "net"), _systemctl),
    "crontab": _crontab,
    **dict.fromkeys(("at", "batch", "schtasks"), _later),
    **dict.fromkeys(
        "useradd adduser usermod userdel deluser groupadd groupmod groupdel gpasswd passwd chpasswd newusers visudo vipw vigr chsh chage"
        " dscl sysadminctl pwconv pwunconv".split(),
        _account,
    ),
    "history": _history,
    "unset": _unset,
    **dict.fromkeys(("export", "declare", "local", "typeset", "readonly", "set", "shopt"), _set),
    **dict.fromkeys(("iptables", "ip6tables", "iptables-nft", "nft", "ufw", "firewall-cmd", "pfctl", "netsh"), _firewall),
    **dict.fromkeys(
        "setenforce auditctl spctl csrutil aa-teardown aa-disable aa-complain sysctl journalctl tmutil vssadmin wevtutil bcdedit"
        " set-mppreference".split(),
        _enforce,
    ),
    **dict.fromkeys(("reboot", "shutdown", "halt", "poweroff", "telinit"), _power),
    **dict.fromkeys(("insmod", "modprobe", "kextload"), _module),
    "mount": _mount,
    **dict.fromkeys(
        "scrot screencapture gnome-screenshot maim grim xwd spectacle flameshot fswebcam imagesnap streamer arecord parecord parec"
        " ffmpeg avconv cvlc"
        " vlc xinput logkeys showkey evtest whereami".split(),
        _surveil,
    ),
    **dict.fromkeys(("ps", "pgrep", "pidof", "pstree", "top"), _processes),
    "printenv": _env,
    **dict.fromkeys(("cd", "pushd", "chdir"), _cd),
    **dict.fromkeys("gpg gpg2 security secret-tool pass cmdkey mimikatz secretsdump.py unshadow".split(), _keys),
}
