"""Which handler judges which command, and what is judged of every command, known or not."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase

from proxy.guards import paths
from proxy.guards.findings import Findings, Value
from proxy.guards.paths import HOLE, canonical
from proxy.guards.shell import Machine
from proxy.guards.shell_code import CODE
from proxy.guards.shell_dev import DEV
from proxy.guards.shell_files import FILES, READERS
from proxy.guards.shell_net import NET
from proxy.guards.shell_run import Handler, Run
from proxy.guards.shell_runs import RUNS, SHELLS, script
from proxy.guards.shell_system import SYSTEM, environment
from proxy.guards.shell_text import TEXTS, UNPACKERS

_TABLES: tuple[dict[str, Handler], ...] = (FILES, NET, SYSTEM, DEV, TEXTS, CODE, RUNS)
_NAMES = frozenset().union(*_TABLES)
_GUARDED = frozenset({"key", "account", "login", "browser", "kernel", "root-home"})
_USED = re.compile(r"\.(pem|p12|pfx|ppk|kdbx|tfstate)$")
_LOOKS = frozenset(
    "ls stat file test [ [[ touch mkdir which whereis type basename dirname realpath readlink cd pushd popd du df tree chmod chown chgrp"
    " rm rmdir unlink"
    " find ln mv cp ssh-add ssh-keygen ssh-keyscan ssh chattr lsattr getfacl setfacl namei inotifywait locate echo printf true false :"
    " echo git export"
    " set declare local typeset readonly unset shopt trap sleep exit return break continue cd wait let shift source .".split()
)
"""Commands that name files without printing what they hold (or that say it themselves)."""
_SHELL_PATH = re.compile(r"(?:^|[\s'\"=!,;(:%{]|^-[A-Za-z])/(?:usr/)?(?:local/)?bin/(?:ba|z|k|da|a|c|tc)?sh(?=$|[\s'\"#,;)}:])")
_NO_TRICK = frozenset(
    "ls stat file test [ [[ which type chsh useradd usermod adduser ln cp mv rm chmod chown find grep echo printf cat env head tail tmux"
    " screen docker podman"
    " kubectl oc ssh ldd readelf nm strings md5sum sha256sum dpkg rpm apt-file realpath readlink whereis export set declare local for"
    " case alias"
    " su runuser srun salloc qsub qrsh machinectl flatpak incus schroot systemd-nspawn guix nix nix-shell asciinema xterm kitty"
    " alacritty gnome-terminal konsole"
    " zellij vagrant multipass heroku fly flyctl gcloud incus-agent distcc sudo xargs exec command git sed awk perl python python3 ruby"
    " node update-alternatives chroot bash sh lxc-attach lxc toolbox distrobox".split()
)


def judge(run: Run, word: str) -> Value:
    """Judge one command; `word` is how its program was written."""
    if HOLE in word:
        return _unknown(run, word)
    if any(c in word for c in "*?[") and word not in ("[", "[[", "?"):
        return _globbed(run, word)
    if word.startswith("!") and len(word) > 1:
        if _SHELL_PATH.search(word):
            run.found.emit("exec.shell", word[1:], "gtfo")
        return run.value()
    for name, setting in run.env.items():
        environment(run, name, setting.text)
    kept = run.machine.files.get(canonical(word)) if "/" in word else None
    if kept is not None:
        return script(run, kept, run.stdin)
    value: Value | None = None
    for table in _TABLES:
        if handler := table.get(run.name):
            value = handler(run) or value
    _anything(run)
    if value is None:
        value = run.value(*(["decoded"] if run.name in UNPACKERS else []))
    return value


def _unknown(run: Run, word: str) -> Value:
    if not word.strip(HOLE):
        if "socket" in run.taint:
            run.found.emit("net.shell", "", "variable")
        elif "net" in run.taint:
            run.found.emit("exec.remote", "", "variable")
        if "decoded" in run.taint:
            run.found.emit("exec.encoded", "", "variable")
    return run.value()


def _globbed(run: Run, word: str) -> Value:
    """A pattern as a command, `/bin/c?t`: whatever it may stand for."""
    pattern = word.rsplit("/", 1)[-1]
    names = [name for name in sorted(_NAMES) if fnmatchcase(name, pattern)] if len(pattern.strip("*?")) and len(pattern) < 40 else []
    for name in names[:16]:
        run.found.emit("exec.encoded", word, "glob")
        run.machine.start([name, *run.args], run, "", run.stdin)
    return run.value()


def _anything(run: Run) -> None:
    """What is judged of every command: credentials among its operands, a shell that it is told to start."""
    if run.name not in _LOOKS:
        for i, arg in enumerate(run.args):
            _operand(run, arg, option=run.args[i - 1] if i else "")
    if run.name not in _NO_TRICK and run.name not in SHELLS:
        tricks = [a for a in run.args if "/" in a and _SHELL_PATH.search(a)]
        if tricks:
            run.found.emit("exec.shell", tricks[0][:80], "gtfo", *(["usual"] if run.name in RUNS else []))
        elif run.stdin is not None and run.name not in FILES and _SHELL_PATH.search(run.stdin.text):
            run.found.emit("exec.shell", "", "gtfo")


def _operand(run: Run, arg: str, option: str) -> None:
    text = arg.rsplit("=", 1)[-1].lstrip("@") if "=" in arg or arg.startswith("@") else arg
    if not text or text.startswith("-") or len(text) > 512 or ("/" not in text and not text.startswith(".")):
        return
    path = canonical(text)
    what = paths.kinds(path)
    if run.name in READERS:
        if what & _GUARDED:
            run.machine.read(path)
    elif what & {"account", "browser"}:
        run.machine.read(path)
    elif "key" in what and not option.startswith("-") and "=" not in arg and not _USED.search(path):
        # What follows an option is a key that is used, `-i ~/.ssh/id_rsa`, more often than one that is shown.
        run.machine.read(path)


def shell(text: str, found: Findings) -> None:
    """Note in `found` what the shell text `text` would do."""
    machine = Machine(found, judge)
    machine.text(text)
    machine.finish()


__all__ = ["judge", "shell"]
