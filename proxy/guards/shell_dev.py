"""Commands of people who build and run software: version control, packages, infrastructure, databases."""

from __future__ import annotations

import re

from proxy.guards.findings import Findings, Value
from proxy.guards.paths import HOLE
from proxy.guards.shell_run import Handler, Options, Run

_DROP = re.compile(
    r"\b(drop\s+(?:table|database|schema|user|role|index|view|owned)\b[^;]{0,80}|truncate\s+(?:table\s+)?[\w.\"`]{1,80})", re.IGNORECASE
)
_UNBOUND = re.compile(r"\b(delete\s+from\s+[\w.\"`\[\]]+|update\s+[\w.\"`]+\s+set\s+[^;]{1,400}?)\s*(?:;|$|\"|')", re.IGNORECASE)
_ALWAYS = re.compile(r"\b(?:delete\s+from|update)\b[^;]{0,400}\bwhere\s+(?:1\s*=\s*1|true|'1'\s*=\s*'1')", re.IGNORECASE)
_COMMAND = re.compile(
    r"\bxp_cmdshell\b|\bcopy\b[^;]{0,200}\b(?:to|from)\s+program\b|\\!|\.shell\b|\bload_extension\b|\binto\s+(?:out"
    r"|dump)file\b",
    re.IGNORECASE,
)


def sql(found: Findings, text: str) -> None:
    """Judge SQL (and the shell escapes of its clients)."""
    for match in _DROP.finditer(text[:20_000]):
        found.emit("db.destroy", " ".join(match[1].split())[:80], match[1].split()[0].lower())
    for match in _UNBOUND.finditer(text[:20_000]):
        if not re.search(r"\bwhere\b", match[0], re.IGNORECASE):
            found.emit("db.destroy", " ".join(match[1].split())[:80], "unbounded")
    if _ALWAYS.search(text[:20_000]):
        found.emit("db.destroy", "", "unbounded", "always-true")
    if (shelled := _COMMAND.search(text[:20_000])) is not None:
        found.emit("exec.shell", shelled[0][:40], "gtfo", "sql")


def _client(run: Run) -> Value | None:
    options = run.options("ceduhpUPQ", ("command", "execute", "eval", "query", "file", "host", "user", "dbname"))
    texts = [v for n, v in options.all if n in ("c", "e", "command", "execute", "eval", "Q", "query")]
    texts += options.rest + ([run.stdin.text] if run.stdin else [])
    for text in texts:
        if text != HOLE:
            sql(run.found, text)
    if run.name in ("mongo", "mongosh") and (
        match := re.search(r"\.(dropDatabase|drop|deleteMany\(\s*\{\s*\}|remove\(\s*\{\s*\})", " ".join(texts))
    ):
        run.found.emit("db.destroy", match[1].split("(")[0], "drop")
    if run.name == "redis-cli" and (match := re.search(r"(?i)\bflush(all|db)\b", " ".join(run.args))):
        run.found.emit("db.destroy", match[0].lower(), "drop")
    if run.name in ("dropdb", "dropuser"):
        run.found.emit("db.destroy", options.rest[-1] if options.rest else "", "drop")
    return run.value()


def _dump(run: Run) -> Value | None:
    return run.value("file")


def _git(run: Run) -> Value | None:
    options = Options(run.args, "Cc", frozenset({"git-dir", "work-tree", "exec-path"}))
    for name, value in options.all:
        if name == "c" and re.match(r"(?i)(alias\.\w+=!|core\.(pager|editor|sshcommand|fsmonitor|hookspath)=|.*\.textconv=)", value):
            run.found.emit("exec.shell", value[:60], "gtfo", "config")
    if not options.rest:
        return None
    verb, rest = options.rest[0], options.rest[1:]
    if verb == "push":
        forced = options.has("f", "force", "force-with-lease", "mirror") or any(a.startswith("+") for a in rest)
        deletes = options.has("d", "delete", "prune") or any(a.startswith(":") for a in rest)
        run.found.emit("vcs.push", " ".join(rest)[:200], *(["force"] if forced else []), *(["delete"] if deletes else []))
        if forced or deletes:
            run.found.emit("vcs.rewrite", " ".join(rest)[:200], "remote", "push")
    _rewrites(run, options, verb, rest)
    if verb == "config" and len(rest) > 1:
        if re.match(r"(?i)(alias\.\w+|core\.(pager|editor|sshcommand|hookspath|fsmonitor))$", rest[0]) and (
            rest[1].startswith("!") or "/" in rest[1]
        ):
            run.found.emit("persist", rest[0], "git")
        if options.has("global", "system"):
            run.found.emit("fs.write", "~/.gitconfig", "settings")
    elif verb in ("clone", "fetch", "pull") and rest:
        run.found.url("net.fetch", next((a for a in rest if ":" in a or "/" in a), rest[0]), "git")
        if re.match(r"ext::", rest[0]):
            run.found.emit("exec.shell", rest[0], "gtfo")
    return run.value()


def _rewrites(run: Run, options: Options, verb: str, rest: list[str]) -> None:
    what = ""
    if (verb == "reset" and options.has("hard")) or (verb == "clean" and options.has("f", "force") and options.has("d", "x", "fd", "fdx")):
        what = verb
    elif verb in ("filter-branch", "filter-repo"):
        what = "history"
    elif verb == "branch" and (options.has("D") or (options.has("d", "delete") and options.has("f", "force"))):
        what = "branch"
    elif verb == "reflog" and rest[:1] in (["expire"], ["delete"]):
        what = "reflog"
    elif verb in ("stash",) and rest[:1] in (["clear"],):
        what = "stash"
    elif verb in ("update-ref",) and options.has("d"):
        what = "ref"
    if what:
        run.found.emit("vcs.rewrite", " ".join(rest)[:200], "local", what)


_INSTALL = frozenset({"install", "add", "i", "in", "localinstall", "upgrade", "dist-upgrade", "full-upgrade", "create", "get", "ci", "tap"})
_NODE = frozenset({"npm", "pnpm", "yarn", "bun"})


def _package(run: Run) -> Value | None:
    options = run.options(
        "ricepoct", ("requirement", "index-url", "extra-index-url", "registry", "config", "target", "prefix", "option", "command")
    )
    rest = options.rest
    if not rest and not (run.name in ("pacman", "rpm", "dpkg") and options.flags):
        return None
    verb = rest[0] if rest else ""
    if verb == "publish" or (run.name == "twine" and verb == "upload") or (run.name == "gem" and verb in ("push", "yank")):
        run.found.emit("package.publish", " ".join(rest[1:])[:200], run.name)
    elif verb in ("unpublish", "deprecate", "yank") and run.name in (*_NODE, "cargo"):
        run.found.emit("package.publish", " ".join(rest[1:])[:200], run.name, "remove")
    elif (
        verb in _INSTALL
        or (run.name == "pacman" and any(f.startswith("S") for f in options.flags))
        or (run.name in ("rpm", "dpkg") and options.has("i", "U"))
    ):
        for name in rest[1:] or [""]:
            remote = name.startswith(("http:", "https:", "git+", "ftp:"))
            run.found.emit("package.install", name, run.name, *(["url"] if remote else []))
            if remote:
                run.found.url("net.fetch", name.removeprefix("git+"), "package")
        if any(options.get(n).startswith("http:") for n in ("index-url", "extra-index-url", "registry", "i")):
            run.found.emit("package.install", options.get("index-url", "extra-index-url", "registry", "i"), run.name, "index")
    for name, value in options.all:
        if name in ("o", "option", "c") and re.search(r"(?i)(pre|post)-?invoke|(^|[\s=:])/bin/\w*sh", value):
            run.found.emit("exec.shell", value[:80], "gtfo")
    return None


_DESTROY = {
    "terraform": r"destroy|apply\b.*-destroy|state\s+rm|force-unlock",
    "tofu": r"destroy|apply\b.*-destroy|state\s+rm",
    "pulumi": r"destroy|stack\s+rm",
    "cdk": r"destroy",
    "serverless": r"remove",
    "kubectl": r"delete|drain|cordon|scale\b.*--replicas[= ]0",
    "oc": r"delete",
    "helm": r"uninstall|delete",
    "docker": r"(system|volume|image|container|network|builder)\s+prune|volume\s+rm|rmi?\b.*(-f|--force).*\$\(|compose\s+down\b.*(-v"
              r"|--volumes)|swarm\s+leave",
    "podman": r"(system|volume)\s+(prune|reset)",
    "aws": r"(\S+\s+)?(delete|terminate|deregister|remove|destroy|purge)-\S+|s3\s+(rb|rm\b.*--recursive)|s3\s+sync\b.*--delete",
    "gcloud": r".*\b(delete|destroy)\b",
    "gsutil": r"(-m\s+)?(rm\b.*-r|rb)",
    "az": r".*\b(delete|purge)\b",
    "doctl": r".*\b(delete|destroy)\b",
    "heroku": r"(apps:destroy|pg:reset|destroy)",
    "flyctl": r"(apps\s+)?destroy",
    "vercel": r"(remove|rm)\b",
    "gh": r"(repo|release|secret|workflow|run)\s+delete|api\b.*(-X|--method)\s*DELETE",
    "vagrant": r"destroy",
    "virsh": r"(destroy|undefine|vol-delete|pool-delete)",
    "lvremove": r".*", "vgremove": r".*", "pvremove": r".*",
    "zpool": r"destroy", "zfs": r"destroy",
    "mdadm": r".*--zero-superblock",
    "cryptsetup": r"(erase|luksErase|luksFormat)",
    "etcdctl": r"del\b.*--prefix",
    "consul": r"kv\s+delete\b.*-recurse",
    "vault": r".*\b(delete|destroy|disable)\b",
}  # fmt: skip
_DESTROYS = {name: re.compile(pattern) for name, pattern in _DESTROY.items()}
_SETTINGS = re.compile(
    r"^(?:\s*(?:(?:-[nlfCpR]|--?(?:namespace|context|profile|region|cluster|project|subscription|kubeconfig|server|user|output))\s+\S+"
    r"|-{1,2}[\w-]+(?:=\S*)?)(?=\s|$))*\s*"
)


def _infra(run: Run) -> Value | None:
    words = " ".join(run.args)[:2000]
    text = _SETTINGS.sub("", words)
    if _DESTROYS[run.name].match(text) and not re.search(r"--dry-?run|--help", words):
        everything = re.search(
            r"--all\b|-A\b|--force|--auto-approve|-auto-approve|--recursive|\bnamespace\b|\bns\b|prune|--yes|-y\b"
            r"|--quiet",
            words,
        )
        run.found.emit("infra.destroy", text[:200], run.name, *(["forced"] if everything else []))
    if run.name == "aws" and (match := re.search(r"\b(file|fileb)://(\S+)", words)):
        run.machine.read(match[2])
    if run.name == "aws" and (match := re.search(r"\bs3\s+(?:cp|sync|mv)\s+(?!s3:)(\S+)\s+(s3://\S+)", words)):
        run.found.send(match[2], run.machine.read(match[1]).taint, "copy")
    if run.name == "kubectl" and re.match(r"proxy\b", text) and "0.0.0.0" in words:  # noqa: S104
        run.found.emit("net.listen", "0.0.0.0", "files" if "--www" in words else "api")  # noqa: S104
    return None


DEV: dict[str, Handler] = {
    **dict.fromkeys("mysqldump pg_dump pg_dumpall mongodump mongoexport".split(), _dump),
    "git": _git,
    **dict.fromkeys(
        "npm pnpm yarn bun pip pip3 pipx uv poetry conda mamba gem cargo go apt apt-get aptitude yum dnf zypper apk pacman brew port"
        " snap flatpak rpm"
        " dpkg twine composer nuget choco winget easy_install cpan luarocks".split(),
        _package,
    ),
    **dict.fromkeys(_DESTROY, _infra),
    **dict.fromkeys(
        "psql mysql mariadb sqlite3 sqlite sqlcmd clickhouse-client cockroach mongo mongosh redis-cli dropdb dropuser duckdb".split(),
        _client,
    ),
}
