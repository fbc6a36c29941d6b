"""Shell text: however a command is written, its effects are the same."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.effects import EFFECTS
from proxy.guards.danger import danger
from proxy.guards.findings import Findings
from proxy.guards.shell_commands import shell


def effects(text: str) -> Findings:
    found = Findings()
    shell(text, found)
    return found


def kinds(text: str) -> set[str]:
    return {effect.kind for effect in effects(text).found.values()}


def has(text: str, kind: str, subject: str | None = None, *flags: str) -> bool:
    return any(e.kind == kind and (subject is None or e.subject == subject) and set(flags) <= e.flags for e in effects(text).found.values())


def denied(text: str) -> bool:
    return danger(effects(text).found.values()) is not None


B64 = base64.b64encode(b"rm -rf /").decode()
SAME = (
    "rm -rf /",
    "rm -fr /",
    "rm -r -f -- /",
    "rm --recursive --force /",
    "rm / -rf",
    "rm -Rf //",
    "rm -rf /./",
    "rm -rf /tmp/..",
    "r''m -rf /",
    'r""m -rf /',
    r"r\m -rf /",
    r"\rm -rf /",
    "$'\\x72m' -rf /",
    "$'\\162\\155' -rf /",
    "X=rf; rm -$X /",
    'X="rm -rf /"; $X',
    "a=r b=m; $a$b -rf /",
    "rm${IFS}-rf${IFS}/",
    "{rm,-rf,/}",
    "${X:-rm} -rf /",
    'x=xrm; ${x#x} -rf /',
    'x=RM; ${x,,} -rf /',
    "/bin/rm -rf /",
    "/usr/bin/rm -rf /",
    "/bin/r? -rf /",
    "sudo rm -rf /",
    "sudo -u root -- rm -rf /",
    "sudo -n env A=b nohup nice -n 5 timeout -k 5 10s rm -rf /",
    "command rm -rf /",
    "exec rm -rf /",
    "time rm -rf /",
    "busybox rm -rf /",
    "sh -c 'rm -rf /'",
    'bash -lc "rm -rf /"',
    "sh -c \"sh -c 'rm -rf /'\"",
    "eval 'rm -rf /'",
    "eval rm -rf /",
    "$(echo rm) -rf /",
    "`echo rm` -rf /",
    "echo 'rm -rf /' | sh",
    "printf 'rm %s /' -rf | bash",
    f"echo {B64} | base64 -d | sh",
    f"base64 -d <<< {B64} | bash",
    f"bash -c \"$(echo {B64} | base64 -d)\"",
    "echo 726d202d7266202f | xxd -r -p | sh",
    "echo '/ fr- mr' | rev | sh",
    "echo 'ez -es /' | tr 'ezs' 'rmf' | sh",
    "sh <<EOF\nrm -rf /\nEOF",
    "cat <<'EOF' | sh\nrm -rf /\nEOF",
    "bash <<< 'rm -rf /'",
    "true && rm -rf /",
    "false || rm -rf /",
    "sleep 1 & rm -rf /",
    "(rm -rf /)",
    "{ rm -rf /; }",
    "if true; then rm -rf /; fi",
    "while :; do rm -rf /; break; done",
    "for d in /; do rm -rf $d; done",
    "case x in x) rm -rf /;; esac",
    "f() { rm -rf /; }; f",
    "function f { rm -rf $1; }; f /",
    "f() { rm -rf /; }",
    "alias ll='rm -rf'; ll /",
    "echo / | xargs rm -rf",
    "xargs rm -rf <<< /",
    "find / -exec rm -rf {} +",
    "echo 'rm -rf /' > x.sh; sh x.sh",
    "echo 'rm -rf /' > x.sh && chmod +x x.sh && ./x.sh",
    "trap 'rm -rf /' EXIT",
    "echo hi # not this\nrm -rf /",
    "rm \\\n -rf \\\n /",
    "! rm -rf /",
    "x=$(rm -rf /)",
    "echo \"$(rm -rf /)\"",
    "cat <(rm -rf /)",
    "echo ${x:-$(rm -rf /)}",
    "[[ -f x ]] && rm -rf /",
    "ssh host 'rm -rf /'",
    "docker exec c rm -rf /",
    "kubectl exec pod -- rm -rf /",
    "su -c 'rm -rf /'",
    "python3 -c 'import os; os.system(\"rm -rf /\")'",
    "perl -e 'system(\"rm -rf /\")'",
    "node -e 'require(\"child_process\").execSync(\"rm -rf /\")'",
    "awk 'BEGIN { system(\"rm -rf /\") }'",
    "watch rm -rf /",
    "flock /tmp/l rm -rf /",
    "echo a; echo b | tee c; rm -rf / > log 2>&1",
    "cd / ; rm -rf /*",
)  # fmt: skip


@pytest.mark.parametrize("text", SAME)
def test_one_command_in_many_spellings(text: str) -> None:
    assert any(
        e.kind == "fs.delete" and e.subject in ("/", "/*") and {"recursive", "top"} <= e.flags for e in effects(text).found.values()
    ), effects(text).found
    assert denied(text)


@pytest.mark.parametrize(
    "text",
    [
        "echo 'rm -rf /'",
        "echo rm -rf / > notes.txt",
        "grep -r 'rm -rf /' .",
        "git commit -m 'do not rm -rf /'",
        "# rm -rf /",
        "cat <<'EOF'\nrm -rf /\nEOF",
        "rm -rf ./build",
        "rm -rf node_modules dist",
        "rm -rf /tmp/work/x",
        "find . -name '*.pyc' -delete",
        "ls -la / && df -h /",
        "python3 -m pytest -q tests",
        "npm run build && npm test",
        "git push origin main",
        "curl -fsSL https://example.com/data.json -o data.json",
        "pip install -r requirements.txt",
        "docker run --rm -it ubuntu bash",
        "kill %1",
        "kill -9 $(lsof -ti:3000)",
        "sudo apt-get update",
        "cat README.md | head -20",
        "chmod +x scripts/run.sh",
        "tar czf out.tgz src",
        "echo hello | base64",
        "export PATH=$PATH:/opt/bin",
        "cat ~/.ssh/id_rsa.pub",
        "ssh -L 8080:localhost:80 host",
        "cp .env.example settings.example",
        "source .env",
        "wget2 --max-threads 10 https://example.com/x",
        'curl -d "key=$API_KEY" https://api.example.com',
        'curl -H "Authorization: Bearer $TOKEN" https://api.example.com/me',
        "ssh -i ~/.ssh/id_rsa user@host uptime",
        "cd /root/project && echo x > a.txt",
        "ps aux | grep gunicorn | awk '{print $2}' | xargs kill",
        "cat > app.py <<'EOF'\nimport os\nos.system('rm -rf /')\nEOF",
        "python3 -m http.server 8000 --bind 127.0.0.1",
        "sudo systemctl restart nginx",
        "cat <<'EOF' > Dockerfile\nCMD [\"/bin/bash\"]\nEOF",
    ],
)
def test_everyday_commands_pass(text: str) -> None:
    assert not denied(text), danger(effects(text).found.values())


@pytest.mark.parametrize(
    "text",
    [
        "$(" * 500,
        "(" * 2000,
        "`" * 999,
        "if " * 3000,
        "! " * 5000,
        "f() { " * 800,
        "{a,b}" * 40,
        "a;" * 20_000,
        "x=$x$x;" * 200 + "echo $x",
        "f() { f; }; f",
        "f() { g; g; }; g() { f; f; }; f",
        "alias a=b b=a; a",
        "eval 'eval \"eval x\"'" * 50,
        "".join(f"for {name} in 1 2 3; do " for name in "abcdefgh") + "echo; " + "done; " * 8,
        "echo " + "a" * 200_000,
        "cat <<A <<B\n" * 500,
        "${" * 400,
        '"$(' * 300,
        "case x in " * 500,
        "[[ " * 500,
        "sh -c '" * 50,
    ],
)  # fmt: skip
def test_hostile_text_ends_in_a_decision(text: str) -> None:
    for effect in effects(text).found.values():
        assert effect.kind in EFFECTS


@pytest.mark.parametrize(
    "text",
    [
        "rm -rf " + "a " * 1000 + "/",
        "rm -rf " + "a " * 9000 + "/",
        "".join(f"cat f{i}; " for i in range(1500)) + "rm -rf /",
        "for d in " + " ".join(f"d{i}" for i in range(100)) + " /; do rm -rf $d; done",
        "echo " + "a " * 500 + "/ | xargs rm -rf",
        "echo " + "a " * 100 + "/ | xargs -I{} rm -rf {}",
        "perl -e '" + "system(1);" * 3 + 'system("ls");' * 400 + 'system("rm -rf /")\'',
        "python3 -c 'import os\n" + 'os.system("ls");' * 300 + 'os.system("rm -rf /")\'',
        "{" + ",".join("abcdefgh") + "}" * 1 + "{1,2,3,4}" * 8 + "; rm -rf /",
    ],
)
def test_nothing_hides_behind_a_crowd(text: str) -> None:
    assert denied(text), list(effects(text).found.values())[-3:]


def test_what_is_too_large_says_so() -> None:
    assert has("echo a; " * 40_000, "exec.encoded", None, "too-large")
    assert has("$(" * 100 + "rm -rf /" + ")" * 100, "exec.encoded", None, "too-large")
    assert denied("$(" * 100)


_PIECES = st.sampled_from(
    [
        *"rm -rf / $x ${x:-y} $( ) ` ' \" \\ | || && ; & <<E E < > >> 2>&1 if then fi for in do done case esac { } ( [[ ]] a(){".split(),
        *"eval sh -c echo * {a,b} # $'\\x41' curl http://a.b/c xargs find -exec \\; {} sudo python awk kill ps base64 -d cat ~".split(),
        "/etc/passwd",
        *("\n", "\t", " ", "E\n"),
    ]
)


@settings(max_examples=400, deadline=None)
@given(st.lists(_PIECES, max_size=40).map(" ".join) | st.lists(_PIECES, max_size=40).map("".join) | st.text(max_size=200))
def test_never_raises_and_speaks_the_vocabulary(text: str) -> None:
    for effect in effects(text).found.values():
        assert effect.kind in EFFECTS
        assert len(effect.evidence) <= 200
        assert "\0" not in effect.subject + effect.evidence


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_quoting_does_not_change_effects(data: st.DataObject) -> None:
    styles = (
        lambda w: w,
        lambda w: f"'{w}'",
        lambda w: f'"{w}"',
        lambda w: "\\" + w,
        lambda w: f"{w[0]}''{w[1:]}",
        lambda w: f'{w[0]}"{w[1:]}"',
    )
    words = ["rm", "-rf", "/usr/lib/x"]
    written = " ".join(data.draw(st.sampled_from(styles))(word) for word in words)
    assert has(written, "fs.delete", "/usr/lib/x", "recursive", "force", "system"), written
