"""What calls of Python's library and of common packages would do, as effects."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable

from proxy.guards import services
from proxy.guards.code_values import Names
from proxy.guards.findings import Findings, Value
from proxy.guards.paths import HOLE
from proxy.guards.shell_dev import sql

_RUNS = frozenset(
    {
        "os.system",
        "os.popen",
        "os.popen2",
        "os.popen3",
        "commands.getoutput",
        "commands.getstatusoutput",
        "subprocess.run",
        "subprocess.call",
        "subprocess.Popen",
        "subprocess.check_output",
        "subprocess.check_call",
        "subprocess.getoutput",
        "subprocess.getstatusoutput",
        "pty.spawn",
        "asyncio.create_subprocess_shell",
        "asyncio.create_subprocess_exec",
        "pexpect.spawn",
        "pexpect.run",
        "sh.bash",
        "platform.popen",
        "os.posix_spawn",
        "os.posix_spawnp",
        "popen2.popen2",
        "invoke.run",
        "fabric.Connection().run",
        "get_ipython().system",
    }
)
_EXEC = re.compile(r"os\.(exec[lv]p?e?|spawn[lv]p?e?)$")
_DELETES = {
    "os.remove": "",
    "os.unlink": "",
    "os.rmdir": "",
    "os.removedirs": "recursive",
    "shutil.rmtree": "recursive",
    "send2trash.send2trash": "",
}
_COPIES = frozenset(
    {"shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.move", "os.rename", "os.replace", "os.link", "os.symlink"}
)
_PATHS = ("pathlib.Path()", "Path()", "pathlib.PosixPath()")
_FETCH = re.compile(
    r"(requests|httpx|aiohttp\.ClientSession\(\)|requests\.Session\(\)|requests\.session\(\)|httpx\.(Async)?Client\(\)"
    r"|urllib3\.PoolManager\(\))\.(get|head|options|request|post|put|patch|delete|stream)$"
)
_OPENS = frozenset(
    {
        "urllib.request.urlopen",
        "urllib2.urlopen",
        "urllib.urlopen",
        "urllib.request.Request",
        "urllib.request.urlretrieve",
        "urllib.urlretrieve",
        "wget.download",
    }
)
_SOCKET = re.compile(r"socket\.socket\(\)(?:\.makefile\(\))?\.(\w+)$")
_KILLS = frozenset({"kill", "terminate", "send_signal", "suspend"})
_SURVEIL = {
    "pyautogui.screenshot": "screen",
    "PIL.ImageGrab.grab": "screen",
    "ImageGrab.grab": "screen",
    "mss.mss": "screen",
    "pyscreenshot.grab": "screen",
    "cv2.VideoCapture": "camera",
    "sounddevice.rec": "microphone",
    "pyaudio.PyAudio": "microphone",
    "pynput.keyboard.Listener": "keys",
    "keyboard.on_press": "keys",
    "keyboard.record": "keys",
    "keyboard.hook": "keys",
    "pynput.mouse.Listener": "keys",
    "pyperclip.paste": "clipboard",
    "browser_cookie3.chrome": "cookies",
    "browser_cookie3.load": "cookies",
    "browser_cookie3.firefox": "cookies",
}


class Calls:
    """Judges calls; `shell` judges commands, `nested` more Python."""

    def __init__(self, found: Findings, shell: Callable[[str], object], nested: Callable[[str], None]) -> None:
        self.names = Names()
        self._found = found
        self._shell = shell
        self._nested = nested
        self._seen: set[str] = set()
        self._compared: list[str] = []
        self._where = ""

    def judge(self, node: ast.Call) -> None:
        """Judge one call."""
        self._found.spend()
        name = self.names.name(node.func)
        if not name:
            return
        args = [self.names.value(a) for a in node.args[:16]]
        named = {k.arg: self.names.value(k.value) for k in node.keywords if k.arg}
        self._found.evidence = name + "(" + ", ".join(a.text[:60] for a in args[:3]) + ")"
        last = name.rsplit(".", 1)[-1]
        if name in _RUNS or _EXEC.match(name):
            self._run(node, name, args)
        elif name in ("exec", "eval", "execfile", "compile", "runpy.run_path", "code.interact") or (last == "runsource"):
            self._evaluate(args)
        elif name in ("open", "io.open", "os.open", "codecs.open", "builtins.open", "aiofiles.open"):
            self._open(args, named)
        elif (
            name in _DELETES
            or name in _COPIES
            or name.startswith(_PATHS)
            or name in ("os.truncate", "os.chmod", "os.chown", "shutil.chown")
        ):
            self._files(node, name, last, args)
        elif _FETCH.match(name) or name in _OPENS or name.startswith(("http.client.", "smtplib.", "ftplib.", "paramiko.")):
            self._network(name, last, args, named)
        else:
            self._other(node, name, last, args)

    # Programs

    def _run(self, node: ast.Call, name: str, args: list[Value]) -> None:
        first = node.args[0] if node.args else next((k.value for k in node.keywords if k.arg in ("args", "cmd", "command")), None)
        if first is None:
            return
        if (_EXEC.match(name) and "spawn" in name) or name.startswith("os.posix_spawn"):
            args, first = args[1:], node.args[1] if len(node.args) > 1 else first
        parts = self.names.sequence(first)
        if _EXEC.match(name):
            rest = self.names.sequence(node.args[-1]) if len(node.args) > 1 and name.rstrip("pe")[-1] == "v" else args[1:]
            parts = [args[0], *(rest or [])[1:]] if args else parts
        elif parts is None and name.endswith("_exec"):
            parts = args
        value = self.names.value(first)
        text = value.text if parts is None else " ".join(p.text if HOLE in p.text else shlex.quote(p.text) for p in parts)
        taint = value.taint if parts is None else frozenset[str]().union(*(p.taint for p in parts))
        self._seen.add("run")
        if "socket" in taint:
            self._found.url("net.shell", self._where, "socket")
        elif "net" in taint:
            self._found.emit("exec.remote", "", "shell")
        before = self._found.base
        if "decoded" in taint:
            self._found.emit("exec.encoded", "", "shell")
            self._found.base = before | {"encoded"}
        if re.match(r"(/\S*/)?(ba|z|da|k)?sh( -\w+)?$", text.strip()) or name == "pty.spawn":
            self._seen.add("shell")
        # `os.execl("/bin/sh", "sh", "-p")` and the like name the program twice; the shell judges the first.
        if text.strip(HOLE + " "):
            self._shell(text)
        self._found.base = before

    def _evaluate(self, args: list[Value]) -> None:
        if not args:
            return
        if "net" in args[0].taint:
            self._found.emit("exec.remote", "", "python", *(["socket"] if "socket" in args[0].taint else []))
        before = self._found.base
        if "decoded" in args[0].taint:
            self._found.emit("exec.encoded", "", "python")
            self._found.base = before | {"encoded"}
        if args[0].text.strip(HOLE):
            self._nested(args[0].text)
        self._found.base = before

    # Files

    def _open(self, args: list[Value], named: dict[str, Value]) -> None:
        path = args[0] if args else named.get("file", Value())
        mode = (args[1] if len(args) > 1 else named.get("mode", Value("r"))).text
        if mode[:1] in ("w", "a", "x") or "+" in mode or "O_W" in mode:
            self._found.path("fs.write", path.text, *(["append"] if mode[:1] == "a" else []))
        else:
            self._read(path)

    def _read(self, path: Value) -> None:
        if path.text.strip(HOLE) and not path.text.isdigit():
            self._found.path("fs.read", path.text)

    def _files(self, node: ast.Call, name: str, last: str, args: list[Value]) -> None:
        path = args[0].text if args else HOLE
        if name in _DELETES:
            self._found.path("fs.delete", path, *([_DELETES[name]] if _DELETES[name] else []))
        elif name in _COPIES:
            self._read(args[0] if args else Value())
            if len(args) > 1:
                self._found.path("fs.write", args[1].text, *(["link"] if "link" in name else []))
            if last in ("move", "rename", "replace"):
                self._found.path("fs.delete", path, "moved")
        elif name in ("os.chmod", "os.chown", "shutil.chown"):
            mode = args[1].text if len(args) > 1 else ""
            special = mode.isdigit() and int(mode) & 0o6000
            self._found.path("fs.chmod", path, last, *(["world-writable"] if mode.isdigit() and int(mode) & 2 else []))
            if special:
                self._found.emit("priv.escalate", path, "setuid")
        elif isinstance(node.func, ast.Attribute):
            self._pathlib(last, self.names.value(node.func.value), args)

    def _pathlib(self, last: str, path: Value, args: list[Value]) -> None:
        if last in ("write_text", "write_bytes", "touch", "symlink_to", "hardlink_to"):
            self._found.path("fs.write", path.text)
        elif last in ("unlink", "rmdir"):
            self._found.path("fs.delete", path.text)
        elif last in ("read_text", "read_bytes"):
            self._read(path)
        elif last == "open":
            self._open([path, *args], {})
        elif last in ("rename", "replace") and args:
            self._found.path("fs.delete", path.text, "moved")
            self._found.path("fs.write", args[0].text)

    # Network

    def _network(self, name: str, last: str, args: list[Value], named: dict[str, Value]) -> None:
        url = (args[1] if last == "request" and len(args) > 1 else args[0] if args else named.get("url", Value())).text
        body = [v for k, v in named.items() if k in ("data", "json", "files", "content", "body", "params", "headers")]
        taint = frozenset[str]().union(*(v.taint for v in [*args, *body]))
        if name.startswith(("smtplib.",)):
            if last in ("sendmail", "send_message"):
                self._found.emit("message.send", args[1].text if len(args) > 1 else "", "mail", *sorted(taint & {"secret", "file"}))
        elif name.startswith(("ftplib.", "paramiko.")):
            if last in ("storbinary", "storlines", "put", "putfo"):
                self._found.send(self._where, taint | {"file"}, "upload")
            elif last in ("exec_command",):
                self._shell(url)
            elif args:
                self._found.url("net.fetch", url)
        elif (
            last in ("post", "put", "patch")
            or (last in ("urlopen", "Request") and (len(args) > 1 or "data" in named))
            or (last == "request" and body)
        ):
            self._found.send(url, taint, *(["upload"] if taint & {"file", "secret"} or "files" in named else []))
        else:
            self._found.url("net.fetch", url)
            if taint & {"secret"}:
                self._found.send(url, taint, "query")
        if last in ("urlretrieve", "download") and len(args) > 1:
            self._found.path("fs.write", args[1].text, "net")

    def _sockets(self, method: str, node: ast.Call, args: list[Value]) -> None:
        address = self.names.sequence(node.args[-1]) if node.args else None
        if method in ("connect", "connect_ex", "bind", "sendto") and address:
            self._where = ":".join(a.text for a in address)
        if method in ("connect", "connect_ex"):
            self._seen.add("connect")
            self._found.url("net.fetch", self._where, "socket")
        elif method in ("bind", "listen", "accept"):
            self._seen.add("listen")
            if method == "bind":
                self._found.emit("net.listen", self._where, "socket")
        elif method in ("send", "sendall", "sendto", "write"):
            self._found.send(
                self._where,
                args[0].taint if args else frozenset(),
                "socket",
                *(["upload"] if args and args[0].taint & {"file", "secret"} else []),
            )
        elif method in ("recv", "recvfrom", "recv_into"):
            self._seen.add("recv")

    # The rest

    def _other(self, node: ast.Call, name: str, last: str, args: list[Value]) -> None:
        if match := _SOCKET.match(name):
            self._sockets(match[1], node, args)
        elif name == "socket.create_connection":
            self._seen.add("connect")
        elif name in ("os.dup2", "os.dup"):
            self._seen.add("dup")
        elif name == "os.fork":
            self._seen.add("fork")
        elif name in ("os.kill", "os.killpg") or (
            last in _KILLS and isinstance(node.func, ast.Attribute) and self._is_process(node.func.value)
        ):
            self._kill(node, args)
        elif name in ("os.setuid", "os.seteuid", "os.setreuid", "os.setresuid") and args and args[0].text == "0":
            self._found.emit("priv.escalate", "root", "setuid")
        elif name in _SURVEIL:
            self._found.emit("browser.store" if _SURVEIL[name] == "cookies" else "surveil", _SURVEIL[name], name)
        elif name in ("ctypes.CDLL", "ctypes.cdll.LoadLibrary", "ctypes.WinDLL") and args and "/" in args[0].text:
            self._found.emit("exec.shell", args[0].text, "library")
        elif (
            name in ("pickle.loads", "pickle.load", "dill.loads", "yaml.unsafe_load", "marshal.loads")
            and args
            and args[0].taint & {"net", "decoded"}
        ):
            self._found.emit("exec.remote" if "net" in args[0].taint else "exec.encoded", "", "pickle")
        elif last in ("execute", "executemany", "executescript", "raw", "text") and args:
            sql(self._found, args[0].text)

    def _is_process(self, node: ast.AST) -> bool:
        return "procs" in self.names.value(node).taint or self.names.name(node).startswith("psutil.")

    def _kill(self, node: ast.Call, args: list[Value]) -> None:
        self._seen.add("kill")
        if args and args[0].text in ("1", "-1"):
            self._found.emit("proc.kill", args[0].text, "system" if args[0].text == "1" else "all")
        self._found.emit("proc.kill", "")

    def compare(self, node: ast.Compare) -> None:
        """Remember what processes are compared with."""
        sides = [node.left, *node.comparators]
        for side in sides:
            for value in self.names.sequence(side) or [self.names.value(side)]:
                if value.text and HOLE not in value.text and len(value.text) < 64 and len(self._compared) < 64:
                    self._compared.append(value.text)

    def loop(self, node: ast.While) -> None:
        """Note loops without end that multiply."""
        endless = isinstance(node.test, ast.Constant) and bool(node.test.value)
        inner = [self.names.name(n.func) for n in ast.walk(node) if isinstance(n, ast.Call)] if endless else []
        if "os.fork" in inner:
            self._found.emit("proc.bomb", "os.fork", "fork")

    def together(self, text: str) -> None:
        """Judge what is dangerous only together: a socket and a shell; a search of processes and a kill."""
        linked = bool(self._seen & {"connect", "listen"}) or ("socket" in text and re.search(r"\.(connect|accept)\(", text) is not None)
        if linked and "dup" in self._seen and self._seen & {"shell", "run"}:
            self._found.url("net.shell", self._where, "dup")
        elif linked and "shell" in self._seen:
            self._found.url("net.shell", self._where, "socket")
        if "kill" in self._seen:
            for name in dict.fromkeys(self._compared):
                if what := services.kind(name):
                    self._found.emit("proc.kill", name, "searched", what)
                    if what == "security":
                        self._found.emit("guard.disable", name, "service")
