"""Commands that talk to the network, as effects."""

from __future__ import annotations

import re

from proxy.guards import hosts
from proxy.guards.findings import NOTHING, Value
from proxy.guards.paths import HOLE
from proxy.guards.shell_run import Handler, Options, Run

_SHELLS = re.compile(r"(?:^|[/,:\s\"'=])(?:ba|z|k|c|tc|da|a)?sh(?=$|[,\s\"'])|cmd(\.exe)?$|powershell")
_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_NAME = re.compile(r"[\w-]+(\.[\w-]+)+(:\d+)?(/\S*)?")
_CURL_LONG = (
    "data data-ascii data-binary data-raw data-urlencode json form form-string header output upload-file url user user-agent request"
    " cookie"
    " cookie-jar proxy cacert cert key max-time connect-timeout retry referer range resolve config write-out interface limit-rate"
).split()
_WGET_LONG = (
    "post-data post-file body-data body-file method output-document output-file header user-agent directory-prefix input-file tries"
).split()


def _addresses(operands: list[str]) -> list[str]:
    """Leave out values of options that are not known to have one: small numbers are no addresses."""
    return [operand for operand in operands if not (operand.isdigit() and len(operand) < 8)]


def _curl(run: Run) -> Value | None:
    options = run.options("dFToHXubcAexmrKwCEYyzhQDtU", _CURL_LONG)
    urls = [*_addresses(options.rest), *(v for n, v in options.all if n == "url")]
    taint, sends = run.taint, False
    for name, value in options.all:
        if name in ("d", "data", "data-binary", "data-ascii", "data-urlencode", "data-raw", "json", "F", "form", "T", "upload-file"):
            sends = True
            taint |= _body(run, value, name)
    target = options.get("o", "output")
    if options.has("O", "remote-name", "J") and urls:
        target = urls[-1].split("?")[0].rsplit("/", 1)[-1] or "index.html"
    if options.has("K", "config"):
        run.found.path("fs.read", options.get("K", "config"))
    for url in urls[:256]:
        if url.startswith("file:"):
            return run.machine.read(url)
        if sends or options.get("X", "request").upper() in ("POST", "PUT", "PATCH"):
            run.found.send(url, taint, *(["upload"] if taint & {"file", "secret"} else []))
        else:
            run.found.url("net.fetch", url, *(["secret"] if "secret" in taint else []))
            if "secret" in taint:
                run.found.send(url, taint, "query")
    return _received(run, target)


def _body(run: Run, value: str, name: str) -> frozenset[str]:
    if name in ("T", "upload-file"):
        return run.machine.read(value).taint if value not in ("-", ".") else (run.stdin or NOTHING).taint | {"file"}
    at = value.split("=", 1)[-1] if name in ("F", "form", "data-urlencode") else value
    if at[:1] in ("@", "<") and name not in ("data-raw",):
        path = at[1:].split(";")[0]
        return (run.stdin or Value("", frozenset({"file"}))).taint if path in ("-", "/dev/stdin") else run.machine.read(path).taint
    return frozenset()


def _received(run: Run, target: str) -> Value:
    value = Value(HOLE, frozenset({"net"}))
    if target and target not in ("-", "/dev/stdout"):
        if target != "/dev/null":
            run.machine.write(target, value)
        return NOTHING
    return value


def _wget(run: Run) -> Value | None:
    options = run.options("OoaPtTiUelQwDB", _WGET_LONG)
    taint, sends = run.taint, options.has("post-data", "post-file", "body-data", "body-file")
    for name in ("post-file", "body-file"):
        if name in options.values:
            taint |= run.machine.read(options.values[name]).taint | {"file"}
    for url in _addresses(options.rest)[:256]:
        if sends:
            run.found.send(url, taint, *(["upload"] if taint & {"file", "secret"} else []), "post")
        else:
            run.found.url("net.fetch", url)
            if "secret" in taint:
                run.found.send(url, taint, "query")
    target = options.get("O", "output-document")
    if not target and options.rest:
        folder = options.get("P", "directory-prefix")
        target = (folder.rstrip("/") + "/" if folder else "") + (options.rest[-1].split("?")[0].rstrip("/").rsplit("/", 1)[-1])
    return _received(run, target)


def _netcat(run: Run) -> Value | None:
    options = run.options("ecpwisxXoqTmgG", ("exec", "sh-exec", "lua-exec"))
    program = options.get("e", "exec", "c", "sh-exec") or (options.rest[-1] if options.has("e", "c") and options.rest else "")
    where = ":".join(options.rest[:2])
    listens = options.has("l", "listen")
    if program and (_SHELLS.search(program) or options.has("e", "exec", "sh-exec")):
        run.found.url("net.shell", where, "listen" if listens else "connect")
        return run.value("net", "socket")
    if listens:
        taint = (run.stdin or NOTHING).taint
        run.found.emit("net.listen", options.get("p") or where, *(["file"] if taint & {"file", "secret"} else []))
        if "secret" in taint:
            run.found.send(where, taint, "listen")
    elif options.has("z"):
        run.found.url("net.fetch", where, "scan")
    elif "shell" in (run.stdin or NOTHING).taint:
        run.found.url("net.shell", where, "pipe")
    elif run.stdin is not None and (run.stdin.taint or run.stdin.text):
        # A command's output that is sent to a listener, or a file.
        run.found.send(where, run.stdin.taint, "socket", *(["upload"] if run.stdin.taint & {"file", "secret"} else []))
    else:
        run.found.url("net.fetch", where, "socket")
    return Value(HOLE, frozenset({"net", "socket"}))


def _socat(run: Run) -> Value | None:
    ends = [a for a in run.args if ":" in a or a in ("-", "stdio")]
    text = " ".join(ends).lower()
    net = re.search(r"\b(?:tcp|udp|openssl|ssl|sctp|socks)[\w-]*:([^\s,]*)", text)
    listens = bool(re.search(r"\b(?:tcp|udp|openssl|ssl)\d?-l(isten)?:", text))
    runs = re.search(r"\b(?:exec|system|shell):(.*)", text)
    if runs and net:
        run.found.url("net.shell", "" if listens else net[1], "listen" if listens else "connect")
    elif runs:
        run.found.emit("exec.shell", "", "gtfo")
    elif net and re.search(r"\b(?:file|open|gopen):", text) and not re.search(r"\bcreat", text):
        taint = frozenset({"file"})
        for path in re.findall(r"\b(?:file|open|gopen):([^\s,]*)", text):
            taint |= run.machine.read(path).taint
        run.found.send(net[1], taint, "upload", "socket")
    elif net and listens:
        run.found.emit("net.listen", net[1], *(["forward"] if len(re.findall(r"\b(?:tcp|udp)", text)) > 1 else []))
    elif net:
        run.found.url("net.fetch", net[1], "socket")
    return Value(HOLE, frozenset({"net", "socket"}))


def _openssl(run: Run) -> Value | None:
    options = run.options("", ("connect", "in", "out", "inkey", "key", "pass", "passin", "k", "K", "iv", "engine", "port", "accept"))
    command = run.args[0] if run.args else ""
    if command == "s_client":
        where = options.get("connect")
        if "shell" in (run.stdin or NOTHING).taint:
            run.found.url("net.shell", where, "pipe")
        elif run.stdin is not None and run.stdin.taint & {"file", "secret"}:
            run.found.send(where, run.stdin.taint, "upload", "socket")
        else:
            run.found.url("net.fetch", where, "socket")
        return Value(HOLE, frozenset({"net", "socket"}))
    if command == "s_server":
        run.found.emit("net.listen", options.get("accept", "port"), *(["file"] if options.has("HTTP", "WWW") else []))
    if "engine" in options.values:
        run.found.emit("exec.shell", options.values["engine"], "library", "gtfo")
    source = run.machine.read(options.values["in"]) if "in" in options.values else run.stdin or Value()
    if "out" in options.values:
        run.machine.write(options.values["out"], Value(HOLE, source.taint))
    decodes = command in ("enc", "base64", "aes-256-cbc") and options.has("d")
    return Value(HOLE, source.taint | ({"decoded"} if decodes else frozenset()))


def _telnet(run: Run) -> Value | None:
    rest = run.options("lbeEnX").rest
    where = ":".join(rest[:2])
    if "shell" in (run.stdin or NOTHING).taint:
        run.found.url("net.shell", where, "pipe")
    elif run.stdin is not None and run.stdin.taint & {"file", "secret"}:
        run.found.send(where, run.stdin.taint, "upload", "socket")
    else:
        run.found.url("net.fetch", where, "socket")
    return Value(HOLE, frozenset({"net", "socket"}))


def _copy_over(run: Run) -> Value | None:
    """Scp, rsync, rclone, sftp: what is local goes where the last operand says."""
    long = ("rsh", "exclude", "include", "port", "password-file", "files-from")
    options = run.options("PiFoSlceB" if run.name in ("scp", "sftp") else "ef", long)
    shell = options.get("e", "rsh") if run.name == "rsync" else options.get("S", "D")
    if shell and _SHELLS.search(shell) and not re.match(r"\S*ssh\b", shell):
        run.found.emit("exec.shell", "", "gtfo")
    rest = options.rest
    remote = [bool(re.match(r"([\w.@-]{2,}|\[[^\]]+\]):(?!\\)", a)) or "://" in a for a in rest]
    if len(rest) > 1 and remote[-1]:
        taint = frozenset[str]({"file"})
        for path in rest[:-1]:
            taint |= run.machine.read(path).taint
        run.found.send(rest[-1], taint, "copy")
    elif any(remote):
        run.found.url("net.fetch", rest[remote.index(True)], "copy")
        if len(rest) > 1:
            run.machine.write(rest[-1], Value(HOLE, frozenset({"net"})))
    elif run.name in ("scp", "rsync", "rclone") and len(rest) > 1:
        for path in rest[:-1]:
            run.machine.read(path)
        run.found.path("fs.write", rest[-1])
        if options.has("delete"):
            run.found.path("fs.delete", rest[-1], "recursive", "mirror")
    return run.value()


def _session(run: Run) -> Value | None:
    """Ftp, sftp, tftp and the like: a host now, commands on the following lines."""
    rest = run.options("lpPiFouswWq").rest
    where = (rest or [""])[0]
    run.machine.variables["@session"] = Value(where)
    if where:
        run.found.url("net.fetch", where, "session")
    lines = run.stdin.text if run.stdin else ""
    if re.search(r"(?m)^\s*(m?put|send|append)\s", lines):
        run.found.send(where, frozenset({"file"}), "upload")
    return run.value("net")


def _put(run: Run) -> Value | None:
    """A line for an open session: `put file`."""
    session = run.machine.variables.get("@session")
    if session is not None:
        taint = frozenset({"file"})
        for path in run.args[:1]:
            taint |= run.machine.read(path).taint
        run.found.send(session.text, taint, "upload")
    return None


def _query(run: Run) -> Value | None:
    """Whois, finger, rlogin: their own servers are asked; a host and port of one's choice get what is said."""
    options = run.options("hplu", ("host", "port"))
    where = options.get("h", "host") or (options.rest[0] if run.name in ("rlogin", "rsh", "finger") and options.rest else "")
    if where and options.has("p", "port"):
        run.found.send(where, frozenset(), "tunnel")
    elif where:
        run.found.url("net.fetch", where)
    return run.value("net")


def _print(run: Run) -> Value | None:
    options = run.options("hduPnot")
    if where := options.get("h"):
        taint = frozenset({"file"})
        for path in options.rest:
            taint |= run.machine.read(path).taint
        run.found.send(where, taint, "upload")
    return None


def _bench(run: Run) -> Value | None:
    options = run.options("npuTcCHAPXtsbkv")
    for url in options.rest[-1:]:
        if options.has("p", "u") and (body := options.get("p", "u")):
            run.found.send(url, run.machine.read(body).taint | {"file"}, "upload")
        else:
            run.found.url("net.fetch", url)
    return run.value("net")


def _restic(run: Run) -> Value | None:
    options = run.options("rpo", ("repo", "password-file", "password-command", "exclude", "tag"))
    where = options.get("r", "repo")
    if "backup" in options.rest and where.startswith("rest:"):
        run.found.send(where.removeprefix("rest:"), frozenset({"file"}), "upload")
    return None


def _serves(run: Run) -> Value | None:
    options = Options(run.args, "hpSt", frozenset({"address", "port", "www", "bind", "host", "http", "https", "tcp"}))
    where = options.get("S", "address", "bind", "host", "p", "port", "http")
    local = hosts.kinds(hosts.host_of(where)) == {"local"} and "0.0.0.0" not in where  # noqa: S104
    run.found.emit("net.listen", where, "files", *(["local"] if local else []))
    return None


def _tunnel(run: Run) -> Value | None:
    if run.args[:1] and run.args[0] in ("http", "tcp", "tls", "serve", "funnel", "tunnel", "share", "start"):
        run.found.emit("net.listen", " ".join(run.args[1:])[:200], "tunnel", "files" if "/" in " ".join(run.args) else "port")
    return None


def _ztcp(run: Run) -> Value | None:
    rest = run.options("dl").rest
    # What zsh opens is written to by number; it is kept under the name that bash has for it.
    run.machine.variables["REPLY"] = Value("/dev/tcp/" + "/".join(rest[:2]), frozenset({"socket"}))
    if rest:
        run.found.url("net.fetch", ":".join(rest[:2]), "socket")
    return NOTHING


def _names(run: Run) -> Value | None:
    for word in run.options("ptcbkqxy").rest:
        if HOLE in word and "." in word and run.taint & {"file", "secret", "env"}:
            run.found.send(word, run.taint, "dns")
        elif _NAME.fullmatch(word):
            run.found.url("net.fetch", word, "dns")
    return run.value()


NET: dict[str, Handler] = {
    **dict.fromkeys(("curl", "http", "https", "xh", "curlie"), _curl),
    **dict.fromkeys(("wget", "wget2"), _wget),
    **dict.fromkeys(("nc", "ncat", "netcat", "nc.traditional", "nc.openbsd"), _netcat),
    "socat": _socat,
    "openssl": _openssl,
    "telnet": _telnet,
    **dict.fromkeys(("scp", "rsync", "rclone"), _copy_over),
    **dict.fromkeys(("ftp", "sftp", "tftp", "lftp", "ncftp", "psftp", "smbclient"), _session),
    **dict.fromkeys(("put", "mput", "send"), _put),
    **dict.fromkeys(("whois", "finger", "rlogin", "rsh"), _query),
    **dict.fromkeys(("lp", "lpr", "cancel"), _print),
    "ztcp": _ztcp,
    "ab": _bench,
    "restic": _restic,
    **dict.fromkeys(("httpd", "darkhttpd", "http-server", "webfsd", "thttpd"), _serves),
    **dict.fromkeys(("ngrok", "cloudflared", "tailscale", "bore", "localtunnel", "lt"), _tunnel),
    **dict.fromkeys(("dig", "nslookup", "host", "ping", "drill"), _names),
}
serves = _serves
