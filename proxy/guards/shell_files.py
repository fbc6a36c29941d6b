"""Commands that read, write, move and remove files, as effects."""

from __future__ import annotations

import re
from dataclasses import replace

from proxy.guards.findings import NOTHING, Findings, Value
from proxy.guards.paths import HOLE, canonical
from proxy.guards.shell_run import Handler, Run

READERS = frozenset(
    "cat tac head tail less more most nl od xxd hexdump hd strings base64 base32 basenc bat view vim vi nano emacs sort uniq cut paste"
    " rev fold"
    " fmt pr column expand unexpand look iconv tee awk gawk mawk nawk sed grep egrep fgrep zgrep rg ag diff cmp comm join split csplit"
    " shuf jq yq"
    " zcat bzcat xzcat gzip bzip2 xz zip 7z tar ar cpio pg".split()
)
_NULL = ("/dev/null", "/dev/stdout", "/dev/stderr", "-")
_NUMERIC_SPECIAL = re.compile(r"0?[4-7]\d{3}")


_PATCH = re.compile(r"^(?:\*\*\* (Update|Add|Delete|Move to)(?: File)?: |\+\+\+ (?:b/)?)(\S[^\n\t]{0,500})", re.MULTILINE)


def patched(found: Findings, text: str) -> None:
    """Judge the files that a patch changes."""
    for match in list(_PATCH.finditer(text))[:256]:
        found.path("fs.delete" if match[1] == "Delete" else "fs.write", match[2].strip())


def _patch(run: Run) -> Value | None:
    for text in [*run.args, *([run.stdin.text] if run.stdin else [])]:
        patched(run.found, text)
    return NOTHING


def _rm(run: Run) -> Value | None:
    options = run.options()
    flags = [name for name, letters in (("recursive", ("r", "R", "recursive")), ("force", ("f", "force"))) if options.has(*letters)]
    flags += ["no-preserve-root"] if options.has("no-preserve-root") else []
    if run.wrapped in ("xargs", "parallel") and not options.rest:
        flags.append("listed")
        run.found.emit("fs.delete", "", *flags)
    for path in options.rest:
        run.found.path("fs.delete", path, *flags, *(["listed"] if run.wrapped == "xargs" and not path.strip(HOLE) else []))
    return NOTHING


def _wipe(run: Run) -> Value | None:
    options = run.options("nsoltLb", ("size", "iterations", "types", "label"))
    for path in options.rest:
        run.found.path("fs.wipe", path, run.name)
    return NOTHING


def _mkfs(run: Run) -> Value | None:
    options = run.options("tLnbmdiNUEOT")
    for path in options.rest[:1] if not run.name.startswith("mkfs.btrfs") else options.rest:
        run.found.path("fs.wipe", path, "format")
    return NOTHING


def _partition(run: Run) -> Value | None:
    if not run.options().has("l", "list", "p", "print", "d", "dump", "v", "version", "h", "help"):
        for path in run.options().rest[:1]:
            run.found.path("fs.wipe", path, "format", "partition")
    return None


def _truncate(run: Run) -> Value | None:
    options = run.options("sr", ("size", "reference"))
    for path in options.rest:
        run.found.path("fs.wipe" if options.get("s", "size") in ("0", "") else "fs.write", path, "truncate")
    return NOTHING


def _dd(run: Run) -> Value | None:
    named = dict(arg.split("=", 1) for arg in run.args if "=" in arg)
    value = run.machine.read(named["if"]) if "if" in named else run.stdin or Value()
    if "of" in named and named["of"] not in _NULL:
        what = run.found.path("fs.write", named["of"], "dd")
        if "device" in what:
            run.found.emit("fs.wipe", canonical(named["of"]), "device")
        return NOTHING
    return value


def _copy(run: Run) -> Value | None:
    options = run.options("tSmog", ("target-directory", "suffix", "mode", "owner", "group", "backup"))
    target = options.get("t", "target-directory")
    sources = options.rest if target else options.rest[:-1]
    target = target or (options.rest[-1] if len(options.rest) > 1 else "")
    taints = frozenset[str]()
    text = ""
    for source in sources:
        kept = run.machine.read(source)
        taints |= kept.taint
        text = kept.text
        if run.name == "mv":
            run.found.path("fs.delete", source, "moved")
    if target:
        run.machine.write(target, Value(text if len(sources) == 1 else HOLE, taints - {"file"}))
    if run.name == "install" and _NUMERIC_SPECIAL.fullmatch(options.get("m", "mode")):
        run.found.emit("priv.escalate", canonical(target), "setuid")
    return NOTHING


def _link(run: Run) -> Value | None:
    options = run.options("tS", ("target-directory", "suffix"))
    if options.rest:
        run.found.path("fs.read", options.rest[0], "link")
    if len(options.rest) > 1:
        run.found.path("fs.write", options.rest[-1], "link")
    return NOTHING


def _tee(run: Run) -> Value | None:
    options = run.options()
    value = run.stdin or Value()
    for path in options.rest:
        if path not in _NULL and not path.startswith("/dev/tty"):
            run.machine.write(path, value, append=options.has("a", "append"))
    return value


def _mode(run: Run) -> Value | None:
    options = run.options("", ("reference",))
    # `-x` and the like are modes, not options.
    modes = [a for a in run.args if re.fullmatch(r"-[rwxXst]+", a)] if run.name == "chmod" else []
    rest = modes + options.rest
    if run.name == "chattr":
        rest = ["", *(a for a in options.rest if not re.fullmatch(r"[-+=][a-zA-Z]+", a))]
    flags = ["recursive"] if options.has("R", "recursive") else []
    what, targets = (rest[0], rest[1:]) if rest else ("", [])
    if run.name == "chmod":
        flags += _mode_flags(what)
    if run.name == "chown" and what.split(":")[0] in ("root", "0"):
        flags.append("to-root")
    for path in targets:
        run.found.path("fs.chmod", path, run.name, *flags)
        if "setuid" in flags:
            run.found.emit("priv.escalate", canonical(path), "setuid")
    return NOTHING


def _mode_flags(mode: str) -> list[str]:
    flags = []
    if re.fullmatch(r"0*[0-7]?[0-7]{2}[2367]", mode) or re.search(r"(^|,)[ugo]*[oa][ugo]*[+=][rx]*w", mode):
        flags.append("world-writable")
    if _NUMERIC_SPECIAL.fullmatch(mode) or re.search(r"(^|,)[ugoa]*[+=]\w*s", mode):
        flags.append("setuid")
    if mode in ("000", "0", "a-rwx", "-rwx"):
        flags.append("lock-out")
    return flags


def _caps(run: Run) -> Value | None:
    if not run.options().has("r", "v"):
        run.found.emit("priv.escalate", canonical(run.args[-1]) if run.args else "", "capabilities")
    return NOTHING


def _sed(run: Run) -> Value | None:
    options = run.options("efl", ("expression", "file"))
    files = options.rest if options.has("e", "f", "expression", "file") else options.rest[1:]
    inplace = any(f == "in-place" or (f.startswith("i") and f != "i" and len(f) < 6) or f == "i" for f in options.flags)
    taint = frozenset[str]()
    for path in files:
        if inplace:
            run.found.path("fs.write", path, "edit")
        taint |= run.machine.read(path).taint
    script = options.get("e", "expression") or (options.rest[0] if options.rest else "")
    if re.search(r"(^|;|\})\s*(\d+|/[^/]*/)?e\s+\S|s(.)[^\n]*\3[gip]*e[gip]*\s*$", script) and "/e" in script + "/e":
        command = re.search(r"(?:^|;)\s*(?:\d+)?e\s+(.+)$", script)
        if command:
            run.found.emit("exec.shell", "", "gtfo")
            run.machine.text(command[1])
    return replace(run.value(), taint=run.value().taint | taint)


def _find(run: Run) -> Value | None:
    args = run.args
    first = next(
        (i for i, a in enumerate(args) if (a.startswith("-") and a not in ("-L", "-H", "-P", "-d", "-E", "-x")) or a in ("(", "!")),
        len(args),
    )
    roots = [a for a in args[:first] if not a.startswith("-")] or ["."]
    narrow = any(
        a in ("-name", "-iname", "-path", "-regex", "-iregex", "-inum", "-user", "-mtime", "-mmin", "-size", "-empty", "-newer")
        for a in args
    )
    flags = ["recursive", *(["narrow"] if narrow else [])]
    if "-delete" in args:
        for root in roots:
            run.found.path("fs.delete", root, *flags)
    for name in ("-fprintf", "-fprint", "-fls", "-fprint0"):
        if name in args[:-1]:
            run.found.path("fs.write", args[args.index(name) + 1])
    for i, arg in enumerate(args):
        if arg in ("-exec", "-execdir", "-ok", "-okdir"):
            stop = next((j for j in range(i + 1, len(args)) if args[j] in (";", "+")), len(args))
            _each(run, args[i + 1 : stop], roots, narrow=narrow)
    return Value(HOLE, run.taint | {"list"})


def _each(run: Run, command: list[str], roots: list[str], *, narrow: bool) -> None:
    # What is found stands for all of a whole tree only where nothing narrows it down.
    for root in roots[:256]:
        there = root.rstrip("/") + "/" + HOLE if narrow else root
        run.again([arg.replace("{}", there) for arg in command], wrapped="find")


def read_all(run: Run) -> Value | None:
    """Judge a command that prints what is in its operands."""
    if run.name in ("grep", "egrep", "fgrep", "rg", "ag", "awk", "gawk", "mawk", "nawk", "jq", "yq", "zgrep"):
        options = run.options("efABCmvF", ("regexp", "file", "include", "exclude"))
        files = options.rest if options.has("e", "f", "regexp", "file") and not run.name.endswith("awk") else options.rest[1:]
    else:
        files = run.options("nckfstwdbNjSA", ("lines", "bytes", "delimiter", "fields", "output-delimiter")).rest
    values = [run.machine.read(path) for path in files if path]
    taint = run.value().taint.union(*(v.taint for v in values))
    if run.name in ("cat", "tac", "head", "tail", "tee"):
        known = values or ([run.stdin] if run.stdin else [])
        return Value("".join(v.text for v in known) if run.name == "cat" else HOLE, taint)
    return Value(HOLE, taint)


FILES: dict[str, Handler] = {
    **dict.fromkeys(("rm", "rmdir", "unlink", "srm", "trash", "del", "erase", "rd"), _rm),
    **dict.fromkeys(("shred", "wipefs", "wipe", "blkdiscard", "scrub", "nwipe"), _wipe),
    **dict.fromkeys(
        (
            "mkfs",
            "mke2fs",
            "mkswap",
            "newfs",
            "format",
            *(f"mkfs.{t}" for t in ("ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "fat", "ntfs")),
        ),
        _mkfs,
    ),
    **dict.fromkeys(("fdisk", "parted", "sfdisk", "gdisk", "sgdisk", "cfdisk"), _partition),
    **dict.fromkeys(("apply_patch", "applypatch", "patch"), _patch),
    "truncate": _truncate,
    "dd": _dd,
    **dict.fromkeys(("cp", "mv", "install", "ditto"), _copy),
    "ln": _link,
    "tee": _tee,
    "sponge": _tee,
    **dict.fromkeys(("chmod", "chown", "chgrp", "chattr", "setfacl"), _mode),
    "setcap": _caps,
    "sed": _sed,
    "gsed": _sed,
    "find": _find,
    "gfind": _find,
    **dict.fromkeys(READERS - {"tee", "sed", "base64", "base32", "xxd", "rev"}, read_all),
}
