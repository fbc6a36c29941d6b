"""What paths, hosts, services and look-alike letters are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.effects import EFFECTS, FLAGS
from proxy.guards import hosts, paths, services
from proxy.guards.danger import DANGERS, danger
from proxy.guards.findings import Findings
from proxy.guards.unmask import unmask


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("/etc/passwd", "/etc/passwd"),
        ("/etc/../etc//passwd", "/etc/passwd"),
        ("/../../etc/passwd", "/etc/passwd"),
        ("./x", "x"),
        (".", "."),
        ("./", "."),
        ("/", "/"),
        ("//", "/"),
        ("/.", "/"),
        ("../x", "../x"),
        ("a/../../x", "../x"),
        ("~/../x", "~/../x"),
        ("$HOME/x", "~/x"),
        ("${HOME}/x", "~/x"),
        ("file:///etc/passwd", "/etc/passwd"),
        ("C:\\Windows\\x", "C:/Windows/x"),
        ("\0/x", "*/x"),
    ],
)
def test_paths_have_one_spelling(written: str, canonical: str) -> None:
    assert paths.canonical(written) == canonical


@pytest.mark.parametrize(
    ("path", "flag"),
    [
        ("/etc/passwd", "account"),
        ("/etc/shadow-", "account"),
        ("/etc/sudoers.d/x", "login"),
        ("/etc/ssh/sshd_config", "login"),
        ("/proc/kcore", "kernel"),
        ("~/.ssh/id_ed25519", "key"),
        (".env", "key"),
        (".env.production", "key"),
        ("a/b/credentials.json", "key"),
        ("/home/x/.kube/config", "key"),
        ("/root/.profile", "root-home"),
        ("~/.bashrc", "startup"),
        ("/etc/cron.d/x", "startup"),
        (".git/hooks/pre-push", "startup"),
        ("AGENTS.md", "policy"),
        ("x/CLAUDE.md", "policy"),
        (".claude/settings.json", "policy"),
        ("/dev/sda1", "device"),
        ("/usr/bin/x", "system"),
        ("/", "top"),
        ("/etc", "top"),
        ("/*", "top"),
        ("~", "home"),
        ("/home/me", "home"),
        ("~/", "home"),
        ("/tmp/x", "temporary"),
        ("*", "wide"),
        ("~/.config/google-chrome/Default/Login Data", "browser"),
    ],
)
def test_paths_are_known(path: str, flag: str) -> None:
    assert flag in paths.kinds(path)


@pytest.mark.parametrize(
    "path",
    ["src/x.py", "/work/a", "~/.ssh/id_rsa.pub", ".env.example", "/dev/null", "/usr/local/share/x", "README.md", "/home/me/x", "a.pem", ""],
)
def test_ordinary_paths_are_ordinary(path: str) -> None:
    assert not paths.kinds(path)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("http://169.254.169.254/x", "metadata"),
        ("http://0xa9.0xfe.0xa9.0xfe", "metadata"),
        ("http://0251.0376.0251.0376", "metadata"),
        ("http://2852039166", "metadata"),
        ("http://169.254.43518", "metadata"),
        ("http://[::ffff:169.254.169.254]", "metadata"),
        ("http://user@169.254.169.254:80/x", "metadata"),
        ("http://169.254.169.254.nip.io", "metadata"),
        ("http://metadata.google.internal./", "metadata"),
        ("http://[fd00:ec2::254]/", "metadata"),
        ("http://10.0.0.1", "private"),
        ("http://192.168.1.1:8080", "private"),
        ("http://172.16.0.1", "private"),
        ("http://100.64.0.1", "private"),
        ("http://[fc00::1]", "private"),
        ("http://169.254.1.1", "private"),
        ("db.internal", "private"),
        ("http://localhost:3000", "local"),
        ("http://127.1", "local"),
        ("http://0.0.0.0", "local"),
        ("https://example.com/x", "external"),
        ("me@example.com:/x", "external"),
        ("https://webhook.site/x", "drop"),
        ("http://8.8.8.8", "external"),
    ],
)
def test_hosts_are_known(url: str, kind: str) -> None:
    assert kind in hosts.kinds(hosts.host_of(url))


@pytest.mark.parametrize("host", ["", "*", "\0", "somewhere", "999.1.1.1.1", "0x", "1.2.3.4.5"])
def test_unknown_hosts_are_unknown(host: str) -> None:
    assert hosts.kinds(host) <= {"external"}


@given(st.text(max_size=80))
def test_nothing_raises(text: str) -> None:
    hosts.kinds(hosts.host_of(text))
    paths.kinds(paths.canonical(text))
    services.kind(text)
    assert "\0" not in unmask(text)


@pytest.mark.parametrize(
    ("masked", "plain"),
    [
        ("r\u200bm", "rm"),
        ("\uff52\uff4d", "rm"),
        ("c\u0430t", "cat"),
        ("\u202erm", "rm"),
        ("r\0m", "rm"),
        ("\u2013rf", "-rf"),
        ("caf\u00e9", "caf\u00e9"),
    ],
)
def test_letters_are_unmasked(masked: str, plain: str) -> None:
    assert unmask(masked) == plain


def test_words_of_other_alphabets_stay() -> None:
    assert unmask("\u043f\u0440\u0438\u0432\u0435\u0442") == "\u043f\u0440\u0438\u0432\u0435\u0442"


@pytest.mark.parametrize(
    ("name", "kind"), [("sshd", "security"), ("NetworkManager.service", "system"), ("nginx", "service"), ("my-app", "")]
)
def test_services_are_known(name: str, kind: str) -> None:
    assert services.kind(name) == kind


def test_dangers_speak_the_vocabulary() -> None:
    for entry in DANGERS:
        assert entry.kinds <= EFFECTS.keys(), entry.title
    assert FLAGS.keys() == EFFECTS.keys()


def test_findings_are_bounded_and_each_once() -> None:
    found = Findings()
    for i in range(3000):
        found.path("fs.read", f"/x/{i}")
        found.path("fs.read", "/x/0")
    assert len(found.found) <= 1025
    assert danger(found.found.values()) is not None
