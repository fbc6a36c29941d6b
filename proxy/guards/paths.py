"""What a path is: an account database, a key, a start-up file, a disk, a rule that binds the agent.

Paths are judged as written, without a file system: `.` and `..` are resolved in the text, `~` and `$HOME` are one's home, unknown parts are
`*`. A path that is relative is judged by its end, since where it starts is not known.
"""

from __future__ import annotations

import functools
import re
from fnmatch import fnmatchcase

HOLE = "\0"
"""Stands for a part of a text that is not known before it runs."""

_CLASSES: tuple[tuple[str, str], ...] = (
    ("key", r".*/\.(ssh|gnupg|aws|azure|kube)(/\*?)?"),
    # Account databases and what guards the login.
    ("account", r"/etc/(passwd|group|shadow|gshadow|subuid|subgid|master\.passwd)[-~.\w]*"),
    ("account", r"/usr/share/base-passwd/.*|/etc/security/.*|/var/lib/(pam|sss)/.*|/var/db/(shadow|dslocal)/.*"),
    ("login", r"/etc/(sudoers|sudoers\.d/.*|doas\.conf|pam\.d/.*|pam\.conf|login\.defs|krb5\.keytab|krb5\.conf|securetty)"),
    ("login", r"/etc/ssh/.*|/etc/ssl/(private/.*|.*\.cnf|.*\.key)|/etc/pki/(tls/private|nssdb)/.*"),
    ("login", r"/var/log/(btmp|wtmp|utmp|faillog|lastlog|tallylog|auth\.log|secure|audit/.*)[-.\w]*"),
    ("kernel", r"/proc/(key-users|keys|kcore|kallsyms|kmsg|sysrq-trigger|\d+/(mem|environ|maps)|self/(mem|environ))"),
    ("kernel", r"/dev/(k?mem|port|kmsg)|/sys/kernel/(vmcoreinfo|security/.*|kexec\w*)|/boot/(System\.map|vmlinuz).*"),
    ("root-home", r"/(var/)?root/\.[^*].*"),
    # Keys and tokens of people and programs.
    (
        "key",
        r".*/\.ssh/(?!config$|known_hosts|.*\.pub$).*|.*/id_(rsa|dsa|ecdsa|ed25519)(_sk)?|.*/\.gnupg/.*|.*(priv|key)[^/]*\.pem|.*\.(p12"
        r"|pfx|kdbx|ppk)",
    ),
    (
        "key",
        r".*/\.(aws|azure|oci|bluemix)/(credentials|config|accesstokens\.json|.*token.*|.*cache.*)|.*/\.kube/config|/etc/kubernetes/.*",
    ),
    ("key", r".*/(\.config/)?gcloud/(credentials\.db|access_tokens\.db|application_default_credentials\.json|legacy_credentials/.*)"),
    ("key", r".*/\.(netrc|pgpass|my\.cnf|npmrc|pypirc|git-credentials|dockercfg|vault-token|htpasswd|boto|s3cfg|rclone\.conf)"),
    (
        "key",
        r".*/\.docker/config\.json|.*/\.config/(gh/hosts\.yml|hub|rclone/.*|git/credentials)|.*/\.terraform\.d/credentials.*|.*\.tfstate",
    ),
    (
        "key",
        r".*/\.env(\.(?!example|sample|template|dist)[-.\w]+)?|/(var/)?run/secrets/.*|.*/(credentials|secrets?)\.(json|ya?ml|toml|env)",
    ),
    ("key", r".*/\.(bash|zsh|python|psql|mysql|node_repl)_history|.*/\.local/share/keyrings/.*|.*/Library/Keychains/.*"),
    ("key", r".*/\.(bitcoin|ethereum|electrum|solana)/.*|.*/wallet\.dat|.*/(SAM|NTDS\.dit|SECURITY)"),
    ("browser", r".*/(google-chrome|chromium|BraveSoftware|Microsoft/Edge|Google/Chrome|Vivaldi|opera)/.*"),
    (
        "browser",
        r".*/(\.mozilla|Mozilla|Firefox)/.*(logins\.json|key[34]\.db|cookies\.sqlite|places\.sqlite|Profiles.*|firefox.*)|.*/(Login Data"
        r"|Cookies|Web Data)",
    ),
    # What starts by itself.
    (
        "startup",
        r".*/\.(bashrc|bash_profile|bash_login|bash_logout|profile|zshrc|zshenv|zprofile|zlogin|cshrc|tcshrc|kshrc|inputrc|xinitrc"
        r"|xprofile|xsession)",
    ),
    (
        "startup",
        r".*/\.config/(fish/.*|autostart/.*|systemd/user/.*)|.*/LaunchAgents/.*|.*/LaunchDaemons/.*|.*/Start Menu/Programs/Startup/.*",
    ),
    (
        "startup",
        r"/etc/(cron(tab|\.\w+/?.*)|anacrontab|init\.d/.*|rc\.local|rc\d?\.d/.*|systemd/.*|profile|profile\.d/.*|bash\.bashrc|ld\.so\..*"
        r"|xdg/autostart/.*)",
    ),
    ("startup", r"/etc/(modules|modules-load\.d/.*|udev/.*|update-motd\.d/.*)|/(usr/)?lib/systemd/.*|/var/spool/(cron|at)/.*"),
    ("startup", r".*/\.ssh/(authorized_keys2?|rc|environment|config)|.*/\.git/hooks/(?!.*\.sample$).*|.*/\.gitconfig|.*/\.git/config"),
    # What binds the agent.
    (
        "policy",
        r".*/(AGENTS|CLAUDE|GEMINI|AGENT|SOUL)(\.override|\.local)?\.md|.*/\.(cursorrules|windsurfrules|clinerules)(/.*)?"
        r"|.*/\.cursor/(rules|mcp\.json).*",
    ),
    (
        "policy",
        r".*/\.(claude|codex|gemini|openclaw|opencode)/(settings|config|hooks|permissions|policy)[-./\w]*"
        r"|.*/\.github/copilot-instructions\.md",
    ),
    ("policy", r".*/(fleetgate\.yaml|policies/.*\.(ya?ml|rego)|budgets/.*\.ya?ml|\.mcp\.json|mcp\.json)"),
)
_CLASSIFIED = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _CLASSES)
_SYSTEM = re.compile(
    r"/(bin|sbin|boot|etc|lib|lib32|lib64|libx32|usr|sys|proc|dev|private/etc|System|Library|Windows)(/.*)?|[A-Za-z]:/(Windows"
    r"|Program Files).*"
)
_FREE = re.compile(
    r"/etc/(timezone|localtime|hostname|motd|issue|adjtime|locale\.\w+)|"
    r"/usr/(local|src|ports|share/(?!base-passwd)|games)/.+|/dev/(null|zero|full|stdin|stdout|stderr|tty\w*|shm/.*|pts/.*|fd/.*|u?random"
    r"|tcp/.*|udp/.*|loop.*)"
)
_DEVICE = re.compile(
    r"/dev/((sd|hd|vd|xvd|nvme|mmcblk|disk|rdisk|mapper/|md|dm-|sg|nst?\d|st\d|block/).*|(k?mem|port))|\\\\\.\\PhysicalDrive.*"
)
_TOP = re.compile(
    r"/(\*|\.\*|bin|boot|dev|etc|home|lib\w*|opt|proc|root|sbin|srv|sys|usr|var|Users|System|Library|Applications|Windows)?(/\*?|/\.\*)?"
    r"|[A-Za-z]:/?\*?"
)
_HOME = re.compile(r"(~[\w.-]*|/home/[^/]+|/Users/[^/]+|/root)(/\*?|/\.\*|/\.\[.*)?")
_SHADY = re.compile(r"(/tmp|/var/tmp|/dev/shm)(/.*)?")


_ABOVE = re.compile(r"(\.\./)+\.\.(/\*)?")
_SAMPLES = (
    "/etc/passwd", "/etc/shadow", "/etc/gshadow", "/etc/sudoers", "/root/.bashrc", "~/.ssh/id_rsa", "~/.ssh/id_ed25519",
    "~/.aws/credentials",
    "/dev/sda", "~/.bash_history", ".env", "AGENTS.md", "CLAUDE.md",
)  # fmt: skip


def _may_be(pattern: str, path: str) -> bool:
    """Tell whether a pattern of files stands for `path` in particular, as `/etc/sh*w` does and `/etc/*` does not."""
    globs, names = pattern.split("/"), path.split("/")
    if len(globs) != len(names) or not any(c.isalpha() for c in globs[-1].replace("*", "")):
        return False
    return all(len(glob) < 64 and fnmatchcase(name, glob) for glob, name in zip(globs, names, strict=True))


def canonical(path: str) -> str:
    """Return `path` with `.`, `..`, doubled slashes, backslashes and the spellings of home resolved."""
    path = path.removeprefix("file://").replace(HOLE, "*")
    if "\\" in path and ((len(path) > 1 and path[1] == ":") or "/" not in path):
        path = path.replace("\\", "/")
    for home in ("$HOME", "${HOME}", "%USERPROFILE%"):
        if path.startswith(home):
            path = "~" + path[len(home) :]
    if not ("//" in path or "/." in path or path.startswith("./")):
        return path
    kept: list[str] = []
    for piece in path.split("/"):
        if piece == ".." and kept and kept[-1] not in ("", "..", "~"):
            kept.pop()
        elif piece == ".." and kept == [""]:
            continue
        elif piece not in (".", "") or (not kept and not piece):
            kept.append(piece)
    joined = "/".join(kept)
    return joined or ("/" if path.startswith("/") else ".")


@functools.lru_cache(maxsize=4096)
def kinds(path: str) -> frozenset[str]:
    """Return what a canonical path is: words of the flags of `fs.*` effects; nothing for an ordinary file."""
    found = set()
    rooted = path if path.startswith("/") else "/" + path
    for name, pattern in _CLASSIFIED:
        if pattern.fullmatch(rooted):
            found.add(name)
    if _DEVICE.fullmatch(path):
        found.add("device")
    if _SYSTEM.fullmatch(path) and not _FREE.fullmatch(path):
        found.add("system")
    if any(c in path for c in "*?[") and path.count("*") < 6:
        for sample in _SAMPLES:
            if _may_be(path, sample):
                found |= kinds(sample)
    if path and (_TOP.fullmatch(path) or _ABOVE.fullmatch(path)):
        found.add("top")
    if _HOME.fullmatch(path):
        found.add("home")
    if _SHADY.fullmatch(path):
        found.add("temporary")
    if path in ("*", ".", "./*", "..", ".*", "./", "../*"):
        found.add("wide")
    return frozenset(found)


SECRET = frozenset({"key", "account", "browser"})
"""Kinds of paths that hold credentials."""
