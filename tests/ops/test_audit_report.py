"""The audit's verdict: what pip-audit leaves behind, and what CI makes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "audit_report.py"
CLEAN = {"dependencies": [{"name": "idna", "version": "3.20", "vulns": []}], "fixes": []}
BAD = {"dependencies": [{"name": "idna", "version": "2.0", "vulns": [{"id": "PYSEC-0"}]}], "fixes": []}
UNKNOWN = {"dependencies": [{"name": "idna", "skip_reason": "not found"}], "fixes": []}


@pytest.mark.parametrize(
    ("report", "errors", "code", "verdict", "words"),
    [
        (CLEAN, "", 0, 0, "no known vulnerability"),
        (BAD, "", 1, 1, "idna 2.0: PYSEC-0"),
        (UNKNOWN, "", 0, 0, "NOT audited"),
        (None, "requests.exceptions.ConnectionError: refused", 1, 0, "NOT audited"),
        (None, "ERROR: a package does not have a hash", 1, 1, "does not have a hash"),
        ({"dependencies": []}, "", 0, 1, "failed"),
    ],
    ids=["clean", "vulnerable", "unknown", "offline", "broken", "empty"],
)
def test_verdict(tmp_path: Path, report: object, errors: str, code: int, verdict: int, words: str) -> None:
    report_file, error_file = tmp_path / "report.json", tmp_path / "errors"
    error_file.write_text(errors)
    if report is not None:
        report_file.write_text(json.dumps(report))
    command = [sys.executable, str(SCRIPT), str(report_file), str(error_file), str(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, words in done.stdout) == (verdict, True), done.stdout + done.stderr
