"""Tests of policies: `policies/tests/*.yaml`, read and compared with what the server would decide.

    agents: [vault.md]                      # more agents for these tests alone, relative to the file
    tests:
      - name: restricted data stays here
        agent: vault
        request: {model: gpt-5-mini, messages: [{role: user, content: hi}]}     # or: tool_call: {name: bash, arguments: {command: ls}}
        path: /v1/chat/completions          # the dialect of the request; this is the default
        at: 2026-03-02T09:00:00Z            # the moment; default: now
        expect: {decision: deny, reason: policy_denied, rule: restricted-stays-local}

`rule` and `message` must stand in what the refusal says; `findings` must all be among the findings. Anything else in a file is an error
with its line: a test that asks for nothing tests nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from proxy.app.build import Files
from proxy.app.trial import CHAT, Case, Verdict, decide_all
from proxy.config import ConfigError, ConfigErrors, Doc, KeyPath, load_yaml, near
from proxy.identity.directory import Directory

KEYS = frozenset({"name", "agent", "request", "tool_call", "path", "at", "expect"})
EXPECTED = frozenset({"decision", "reason", "rule", "message", "findings"})


@dataclass(frozen=True, slots=True)
class Test:
    """One test: where it is written, what is decided on, what is expected."""

    file: str
    line: int
    name: str
    case: Case
    expect: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one test went; `wrong` is empty where it passed."""

    test: Test
    verdict: Verdict | None
    wrong: str = ""


def test_files(folder: Path) -> list[Path]:
    """Return the test files below the policies folder."""
    return sorted(file for file in folder.glob("**/tests/*.yaml") if file.is_file())


def run_file(file: Path, files: Files) -> list[Outcome]:
    """Return how the tests of `file` went.

    Raises:
        ConfigErrors: the file, or one that it names, is wrong.
    """
    tests, directory = _read(file, os.path.relpath(file, files.settings.file.parent), files)
    outcomes = []
    for test in tests:
        try:
            (verdict,) = decide_all(files, [test.case], directory)
        except ValueError as e:
            outcomes.append(Outcome(test, None, str(e)))
        else:
            outcomes.append(Outcome(test, verdict, _compared(test.expect, verdict)))
    return outcomes


def _compared(expect: Mapping[str, Any], verdict: Verdict) -> str:
    """Return what differs, in words."""
    got = f"{verdict.decision}" + (f" ({verdict.reason}: {verdict.rule}: {verdict.message})" if verdict.reason else "")
    for key in ("decision", "reason"):
        if key in expect and expect[key] != getattr(verdict, key):
            return f"expected {key} {expect[key]}, got {got}"
    for key in ("rule", "message"):
        if key in expect and str(expect[key]) not in getattr(verdict, key):
            return f"expected a {key} with {expect[key]!r}, got {got}"
    found = {finding.rule for finding in verdict.findings}
    missing = [rule for rule in expect.get("findings", ()) if rule not in found]
    return f"expected the finding {missing[0]}, got {', '.join(sorted(found)) or 'none'}" if missing else ""


def _read(file: Path, name: str, files: Files) -> tuple[list[Test], Directory]:
    try:
        doc = load_yaml(file, name)
    except ConfigError as e:
        raise ConfigErrors([e]) from None
    value = doc.value if isinstance(doc.value, dict) else {}
    if not isinstance(value.get("tests"), list) or not value["tests"] or value.keys() - {"tests", "agents"}:
        raise ConfigErrors([doc.error((), "no tests", "a mapping with `tests`, a list, and perhaps `agents`, a list of files")])
    tests: list[Test] = []
    errors: list[ConfigError] = []
    for i, item in enumerate(value["tests"]):
        try:
            tests.append(_test(doc, ("tests", i), item))
        except ConfigError as e:
            errors.append(e)
    directory = files.directory
    if value.get("agents"):
        settings, base = files.settings, files.settings.file.parent
        more = [os.path.relpath(file.parent / str(path), base) for path in value["agents"]]
        baseline = settings.policies / "baseline.yaml"
        directory = Directory.load(base, (*settings.agents, *more), baseline if baseline.exists() else None)
        errors += directory.errors
    if errors:
        raise ConfigErrors(errors)
    return tests, directory


def _test(doc: Doc, at: KeyPath, item: Any) -> Test:
    if not isinstance(item, dict):
        raise doc.error(at, "no mapping", "a test")
    unknown = next((key for key in item if key not in KEYS), None)
    if unknown is not None:
        raise doc.error((*at, unknown), "unknown key", hint=near(unknown, KEYS))
    if not isinstance(item.get("agent"), str) or not item.keys() & {"request", "tool_call"}:
        raise doc.error(at, "no agent, or nothing to decide on", "agent, and request or tool_call (or both)")
    expect = item.get("expect")
    if not isinstance(expect, dict) or expect.get("decision") not in ("allow", "deny"):
        raise doc.error((*at, "expect"), "nothing that is expected", "decision: allow or deny")
    odd = next((key for key in expect if key not in EXPECTED), None)
    if odd is not None:
        raise doc.error((*at, "expect", odd), "unknown key", hint=near(odd, EXPECTED))
    request = item.get("request")
    if request is not None and not isinstance(request, dict):
        raise doc.error((*at, "request"), "no mapping", "the body of a request")
    case = Case(item["agent"], request, str(item.get("path", CHAT)), _called(doc, at, item.get("tool_call")), _moment(doc, at, item))
    return Test(doc.file, doc.line(at), str(item.get("name", f"test {at[-1]}")), case, expect)


def _called(doc: Doc, at: KeyPath, value: Any) -> tuple[str, str] | None:
    if value is None:
        return None
    try:
        return tool_call(value)
    except ValueError as e:
        raise doc.error((*at, "tool_call"), str(e), "{name, arguments}") from None


def tool_call(value: Any) -> tuple[str, str]:
    """Return name and arguments (text) of a tool call given as data. Raises ValueError."""
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str) or value.keys() - {"name", "arguments"}:
        raise ValueError("no tool call")
    given = value.get("arguments", {})
    return value["name"], given if isinstance(given, str) else json.dumps(given)


def _moment(doc: Doc, at: KeyPath, item: Mapping[str, Any]) -> float | None:
    if "at" not in item:
        return None
    try:
        when = datetime.fromisoformat(str(item["at"]))
    except ValueError:
        raise doc.error((*at, "at"), f"{str(item['at'])[:40]} is no moment", "2026-03-02T09:00:00Z") from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def sentences(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line for each outcome."""
    return [
        f"ok    {o.test.file}: {o.test.name}" if not o.wrong else f"FAIL  {o.test.file}:{o.test.line}: {o.test.name}: {o.wrong}"
        for o in outcomes
    ]
