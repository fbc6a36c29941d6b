"""What code of other languages would do: JavaScript, Perl, Ruby, PHP, Lua, awk, Java, PowerShell, and Python that does not parse.

No parser for each: constant strings are joined and put in place of the names that hold them, then calls are found by what they are named.
Good for scripts of some lines, as one-liners are; more than `LARGEST` is refused to be read. It never fails, and takes time linear in the
text.
"""

from __future__ import annotations

import base64
import binascii
import itertools
import re
from collections.abc import Callable

from proxy.guards.findings import Findings
from proxy.guards.paths import HOLE

LARGEST = 65_536
_FEW = 256
_STRING = r"(?:\"((?:[^\"\\\n]|\\.){0,4000})\"|'((?:[^'\\\n]|\\.){0,4000})'|`((?:[^`\\]|\\.){0,4000})`)"
_JOIN = re.compile(r"([\"'`])[ \t]{0,20}(?:\+|\.\.?)[ \t\n]{0,20}\1")
_CONSTANT = re.compile(r"(?:\b(?:const|let|var|my|local|final|String)\s{1,10})?([$@]?\b[A-Za-z_]\w{0,40})\s{0,10}=\s{0,10}" + _STRING)
_COMMENT = re.compile(r"/\*.{0,4000}?\*/|(?<![:\"'\w\\/])//[^\n]{0,2000}", re.DOTALL)
_RUNS = re.compile(
    r"\b(?:system|exec|execSync|execFile|execFileSync|spawn|spawnSync|fork|popen|popen2|popen3|shell_exec|passthru|proc_open|pcntl_exec"
    r"|os\.execute|io\.popen"
    r"|getoutput|callCommand|callProcess|Popen|check_output|call|capture2e?|capture3|shell2|start_process|run|ProcessBuilder"
    r"|doShellScript|do shell script"
    r"|Start-Process|Invoke-Expression|iex|qx|write18|execute)\b[ \t]{0,10}[({]?[ \t\n\[]{0,10}" + _STRING
)  # fmt: skip
_STARTS = re.compile(
    r"\b(?:execSync|execFileSync|spawnSync|shell_exec|passthru|proc_open|pcntl_exec|os\.execute|io\.popen|callCommand|ProcessBuilder"
    r"|child_process"
    r"|os\.system|subprocess|getRuntime\(\)\.exec|popen|spawn|system|exec|shell2|Popen)\b"
)  # fmt: skip
_BACKTICKS = re.compile(r"`([^`\n]{1,1000})`|%x[({\[]([^)}\]\n]{1,1000})|\bqx[({/\[]([^)}/\]\n]{1,1000})")
_MODULE = re.compile(r"[\"'](?:node:)?child_process[\"']|[\"']child_['\"]\s*\+\s*['\"]process")
_SOCKET = re.compile(
    r"\bnet\.(?:connect|createConnection|Socket|createServer)|require\([\"'](?:node:)?net[\"']\)|\bTCPSocket|\bTCPServer|\bfsockopen"
    r"|\bpfsockopen|\bstream_socket_client"
    r"|\bsocket_create|IO::Socket|\bSocket\b[;(.]|PF_INET|java\.net\.Socket|require[( ][\"']socket[\"']|/inet/(?:tcp|udp)/"
    r"|Net\.Sockets\.TCPClient|\bsocket\.socket|\.connect\("
)  # fmt: skip
_WHERE = re.compile(r"[\"'/]((?:\d{1,3}\.){3}\d{1,3}|[a-z0-9-]{1,60}(?:\.[a-z0-9-]{1,60}){1,5})[\"':/]", re.IGNORECASE)
_HTTP = re.compile(
    r"\b(?:fetch|axios(?:\.\w+)?|https?[\"']?\)?\.(?:get|request)|got|superagent\.\w+|XMLHttpRequest|file_get_contents|curl_init"
    r"|Net::HTTP\.\w+|URI\.open|open-uri"
    r"|LWP::\w+|Invoke-WebRequest|Invoke-RestMethod|iwr|irm|curl|wget|DownloadString|DownloadFile|WebClient|requests\.\w+|urlopen"
    r"|HttpClient)\b"
)  # fmt: skip
_URL = re.compile(r"\b(?:https?|ftp|wss?)://[^\s\"'`<>)\\]{1,500}")
_SENDS = re.compile(
    r"\bPOST\b|\bPUT\b|\.post\(|\.put\(|method\s*:\s*[\"'](?:POST|PUT)|sendBeacon|UploadFile|UploadString|CURLOPT_POST"
    r"|\bsend\(",
    re.IGNORECASE,
)
_FILES: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("fs.write", re.compile(r"\b(?:writeFile|writeFileSync|appendFile|appendFileSync|createWriteStream|file_put_contents|File\.write"
                            r"|FileWriter|Set-Content|Out-File|Add-Content)[( ]{1,3}" + _STRING)),
    ("fs.write", re.compile(r"\b(?:io\.open|fopen|open|File\.open|File\.new)[( ]{1,3}" + _STRING + r"\s{0,5},\s{0,5}[\"'][wa]")),
    ("fs.write", re.compile(r"\bopen\s{0,3}\(?[^,\n]{1,40},\s{0,5}[\"']\s{0,3}>{1,2}\s{0,3}()([^\"'&\n]{1,300})()[\"']")),
    ("fs.write", re.compile(r"\bprint[^\n>]{0,200}>{1,2}\s{0,3}" + _STRING)),
    ("fs.read", re.compile(r"\b(?:readFile|readFileSync|createReadStream|readfile|file_get_contents|File\.read|File\.readlines|IO\.read"
                           r"|FileReader|Get-Content|slurp)[( ]{1,3}" + _STRING)),
    ("fs.read", re.compile(r"\b(?:io\.open|fopen|open|File\.open|File\.new)[( ]{1,3}" + _STRING + r"\s{0,5}(?:\)|,\s{0,5}[\"']r)")),
    ("fs.read", re.compile(r"\bopen\s{0,3}\(?[^,\n]{1,40},\s{0,5}[\"']<[\"']\s{0,3},\s{0,5}" + _STRING)),
    ("fs.delete", re.compile(r"\b(?:rmSync|fs\.rm|rm|rmdir|rmdirSync|unlink|unlinkSync|rimraf|File\.delete|File\.unlink|FileUtils\.\w+"
                             r"|os\.remove|rmtree|remove_tree|Remove-Item)(?:\s-\w+){0,4}[( ]{1,3}" + _STRING)),
)  # fmt: skip
_PATH = re.compile(r"(?=[^\n]{0,500}\w)[\w~./$*\\-][^\n\"'<>|;]{0,500}")
_TREE = re.compile(r"recursive\s{0,3}:\s{0,3}true|rm_rf|rm_r\b|rmtree|remove_tree|rimraf|-Recurse", re.IGNORECASE)
_EVALUATES = re.compile(
    r"\beval\b|\bFunction\s{0,3}\(|\bassert\s{0,3}\(|\bInvoke-Expression\b|\biex\b|\bvm\.run\w+|\binstance_eval\b"
    r"|\bload(?:string)?\s{0,3}\(|\bexec\s{0,3}\("
)
_DECODES = re.compile(
    r"\batob\s{0,3}\(|,\s{0,5}[\"'](?:base64|hex)[\"']|base64_decode|gzinflate|str_rot13|unpack\s{0,3}\("
    r"|FromBase64String|b64decode|decode64|fromCharCode|-EncodedCommand|convert_uu"
)
_LONG_CODE = re.compile(r"[\"']([A-Za-z0-9+/=]{12,8000})[\"']")
_STOPS = re.compile(r"\bprocess\.kill\b|\bProcess\.kill\b|\bposix_kill\b|\bStop-Process\b")
_CAPTURE = re.compile(r"\b(?:getDisplayMedia|getUserMedia|desktopCapturer|screenshot-desktop|CopyFromScreen|iohook)\b")


def judge(language: str, text: str, found: Findings, shell: Callable[[str], object]) -> None:
    """Note in `found` what `text` would do."""
    if len(text) > LARGEST:
        found.emit("exec.encoded", "", "too-large")
        return
    found.evidence = text
    text = _constant(_COMMENT.sub(" ", text) if language not in ("perl", "python", "awk", "php", "lua") else text)
    starts = bool(_STARTS.search(text) or _MODULE.search(text))
    socket = _SOCKET.search(text)
    commands = _commands(language, text, found)
    for command in commands:
        shell(command)
    if any(re.search(r"(?:^|/)(?:ba|z|da|k)?sh\b", c) for c in commands[:_FEW]) and not socket and language not in ("powershell", "python"):
        found.emit("exec.shell", commands[0][:80], "gtfo", language)
    if socket and (starts or commands):
        where = _WHERE.search(text)
        found.url("net.shell", where[1] if where else "", language)
    _files(text, found)
    _network(text, found, socket=bool(socket))
    _hidden(text, found)
    if _STOPS.search(text):
        found.emit("proc.kill", "", language)
    if match := _CAPTURE.search(text):
        found.emit("surveil", match[0], language)


def _constant(text: str) -> str:
    """Join constant strings and put them where their names stand."""
    for _ in range(4):
        shorter = _JOIN.sub("", text)
        if shorter == text:
            break
        text = shorter
    known: dict[str, str] = {}
    for match in _CONSTANT.finditer(text):
        if len(known) < _FEW and "${" not in match[0]:
            known[match[1]] = match[0][match[0].index("=") + 1 :].strip()
    if not known:
        return text
    names = re.compile(
        r"(?<![\w$@\"'.])(" + "|".join(re.escape(n) for n in sorted(known, key=len, reverse=True)) + r")\b(?!\s{0,5}=(?!=)"
        r"|[\"'(:])"
    )
    # Growth is bounded by the number of places times the longest constant; beyond that the text is judged as it is.
    grown = names.sub(lambda m: known[m[1]], text[:LARGEST]) if sum(map(len, known.values())) < 8192 else text
    return _JOIN.sub("", grown) if len(grown) < 4 * LARGEST else text


def _some(pattern: re.Pattern[str], text: str, found: Findings) -> list[re.Match[str]]:
    """Return the first places of a pattern; that there are more than are judged is an effect."""
    places = list(itertools.islice(pattern.finditer(text), _FEW + 1))
    if len(places) > _FEW:
        found.emit("exec.encoded", "", "too-large")
    return places[:_FEW]


def _text(match: re.Match[str]) -> str:
    raw = next((g for g in match.groups() if g), "")
    return re.sub(r"\\(.)", r"\1", re.sub(r"\$\{[^}]{0,200}\}|#\{[^}]{0,200}\}", HOLE, raw))


def _commands(language: str, text: str, findings: Findings) -> list[str]:
    found = [_text(m) for m in _some(_RUNS, text, findings)]
    if language in ("perl", "ruby", "php"):
        found += [next(g for g in m.groups() if g) for m in _some(_BACKTICKS, text, findings)]
    if language == "awk":
        found += [_text(m) for m in re.finditer(_STRING + r"\s{0,3}\|&?\s{0,3}getline|\|&?\s{0,3}" + _STRING, text)][:_FEW]
    return [c for c in found if c.strip()]


def _files(text: str, found: Findings) -> None:
    for kind, pattern in _FILES:
        for match in _some(pattern, text, found):
            path = _text(match)
            if _PATH.fullmatch(path) and not path.startswith(("http:", "https:", "php:")):
                found.path(kind, path, *(["recursive"] if kind == "fs.delete" and _TREE.search(text) else []))


def _network(text: str, found: Findings, *, socket: bool) -> None:
    urls = _URL.findall(text)[:8]
    reads = any(kind == "fs.read" and pattern.search(text) for kind, pattern in _FILES)
    taint = frozenset({"file"} if reads else ())
    if any(effect.kind == "secret.read" for effect in found.found.values()):
        taint |= {"secret"}
    if socket and reads:
        where = _WHERE.search(text)
        found.send(where[1] if where else "", taint, "upload", "socket")
    if urls and _HTTP.search(text):
        for url in urls:
            if _SENDS.search(text) or (reads and ".pipe(" in text):
                found.send(url, taint, *(["upload"] if taint else []))
            else:
                found.url("net.fetch", url)
        if _EVALUATES.search(text):
            found.emit("exec.remote", "", "eval")


def _hidden(text: str, found: Findings) -> None:
    if _EVALUATES.search(text) and _DECODES.search(text):
        found.emit("exec.encoded", "", "eval")
        for match in list(_LONG_CODE.finditer(text))[:4]:
            try:
                inner = base64.b64decode(match[1] + "==").decode()
            except (binascii.Error, ValueError):
                continue
            before, found.base = found.base, found.base | {"encoded"}
            _files(inner, found)
            found.base = before
