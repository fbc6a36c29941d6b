"""`policy test|eval`: what policies decide, by the server's own stages, before anything is served."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from proxy.app import build
from proxy.app.build import Files
from proxy.app.cases import Outcome, run_file, sentences, test_files, tool_call
from proxy.app.trial import CHAT, Case, Verdict, decide_all

OPA_S = 120.0


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    group = commands.add_parser("policy", help="test policies, and try them on one request").add_subparsers(metavar="VERB", required=True)
    p = group.add_parser("test", parents=[common], help="run policies/**/tests/*.yaml, and `opa test` where OPA is; 1 when one fails")
    p.add_argument("files", nargs="*", type=Path, metavar="FILE", help="these test files alone")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=_test)
    p = group.add_parser("eval", parents=[common], help="decide one request body or tool call; 1 when it is refused")
    p.add_argument("file", metavar="FILE", help="JSON: a request body, or {tool_call: {name, arguments}}; - for standard input")
    p.add_argument("--agent", required=True)
    p.add_argument("--path", default=CHAT, help="the route, which says the dialect (default: %(default)s)")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=_eval)


def _test(args: argparse.Namespace) -> int:
    files = build.read(args.config, os.environ, simulate=True)
    found = args.files or test_files(files.settings.policies)
    outcomes = [outcome for file in found for outcome in run_file(file.resolve(), files)]
    opa = _opa_test(files) if not args.files else None
    failed = sum(1 for outcome in outcomes if outcome.wrong)
    bad = failed or (opa is not None and not opa[0])
    if args.json:
        shown = {"ok": not bad, "tests": [_outcome(o) for o in outcomes], "opa": None if opa is None else {"ok": opa[0], "said": opa[1]}}
        sys.stdout.write(json.dumps(shown, indent=1) + "\n")
        return 1 if bad else 0
    for line in sentences(outcomes):
        sys.stdout.write(line + "\n")
    if opa is not None:
        sys.stdout.write(f"{'ok   ' if opa[0] else 'FAIL '} opa test: {opa[1]}\n")
    elif not args.files and _rego_tests(files):
        sys.stdout.write("skip  opa test: OPA is neither in OPA_BIN nor on PATH\n")
    sys.stdout.write(f"{len(outcomes)} tests, {failed} failed\n" if outcomes else f"no tests below {files.settings.policies}\n")
    return 1 if bad else 0


def _rego_tests(files: Files) -> bool:
    return any(files.settings.policies.rglob("*_test.rego"))


def _opa_test(files: Files) -> tuple[bool, str] | None:
    """Return whether `opa test` passes, and what it says; None where there is no OPA, or nothing for it."""
    opa = os.environ.get("OPA_BIN") or shutil.which("opa")
    if not opa or not _rego_tests(files):
        return None
    command = [opa, "test", "--bundle", str(files.settings.policies)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=OPA_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as e:
        return False, f"it could not be run: {e}"
    lines = (done.stdout + done.stderr).strip().splitlines()
    return done.returncode == 0, "; ".join(lines[-1:] if done.returncode == 0 else lines[:20]) or "nothing"


def _eval(args: argparse.Namespace) -> int:
    files = build.read(args.config, os.environ, simulate=True)
    text = sys.stdin.read() if args.file == "-" else Path(args.file).read_text(encoding="utf-8")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(f"{args.file}: not valid JSON") from None
    if not isinstance(value, dict):
        raise ValueError(f"{args.file}: no JSON object: a request body, or {{tool_call: {{name, arguments}}}}")
    if "tool_call" in value:
        case = Case(args.agent, value.get("request"), args.path, tool_call(value["tool_call"]))
    else:
        case = Case(args.agent, value, args.path)
    (verdict,) = decide_all(files, [case])
    sys.stdout.write((json.dumps(_shown(verdict), indent=1) if args.json else _words(verdict)) + "\n")
    return 0 if verdict.decision == "allow" else 1


def _outcome(outcome: Outcome) -> dict[str, Any]:
    test, verdict = outcome.test, outcome.verdict
    named = {"file": test.file, "line": test.line, "name": test.name, "ok": not outcome.wrong, "wrong": outcome.wrong}
    return {**named, "verdict": None if verdict is None else _shown(verdict)}


def _shown(verdict: Verdict) -> dict[str, Any]:
    return {
        "decision": verdict.decision,
        "reason": verdict.reason,
        "rule": verdict.rule,
        "message": verdict.message,
        "remedy": verdict.remedy,
        "findings": [{"rule": f.rule, "detail": f.detail} for f in verdict.findings],
        "notes": [f"{stage}: {words}" for stage, words in verdict.notes],
        "rego_reads": list(verdict.reads),
    }


def _words(verdict: Verdict) -> str:
    lines = [f"decision  {verdict.decision}" + (f" ({verdict.reason})" if verdict.reason else "")]
    for name in ("rule", "message", "remedy"):
        if value := getattr(verdict, name):
            lines.append(f"{name:9} {value}")
    lines += [f"finding   {f.rule}" + (f": {f.detail}" if f.detail else "") for f in verdict.findings]
    lines += [f"{stage:9} {words}" for stage, words in verdict.notes]
    if verdict.reads:
        lines.append(f"reads     {', '.join(verdict.reads)}")
    return "\n".join(lines)
