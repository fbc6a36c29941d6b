"""Turns pip-audit's report into a verdict: 1 on a known vulnerability or an unclear failure, 0 when clean or when nobody could be asked.

pip-audit exits 1 both for a finding and for a lost connection, and 0 when the database knows none of the packages (a mirror without
advisories). Only a finding leaves a report with exit code 1; only a lost connection names one. What was not audited is always said.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

OFFLINE = ("ConnectionError", "could not connect", "Could not connect", "timed out", "Max retries exceeded", "ServiceError", "HTTP error")
NOT_AUDITED = "*** WARNING: dependencies were NOT audited: {} ***"


def verdict(report: str, errors: str, code: int) -> tuple[int, str]:
    """Return the exit code and the words for a report (empty when none was written), the error output and pip-audit's exit code."""
    if report:
        packages = json.loads(report)["dependencies"]
        bad = [f"{p['name']} {p['version']}: {v['id']}" for p in packages for v in p.get("vulns", ())]
        skipped = [p["name"] for p in packages if "skip_reason" in p]
        if bad:
            return 1, "\n".join(["known vulnerabilities:", *bad])
        if skipped:
            return 0, NOT_AUDITED.format("unknown to the advisory database: " + ", ".join(skipped))
        if code == 0 and packages:
            return 0, f"{len(packages)} locked packages, no known vulnerability"
    if any(word in errors for word in OFFLINE):
        return 0, NOT_AUDITED.format("the advisory database cannot be reached")
    return 1, f"pip-audit failed ({code}):\n{errors}"


def main() -> int:
    """Read the two files named on the command line and print the verdict."""
    report, errors = (Path(name) for name in sys.argv[1:3])
    code, words = verdict(report.read_text() if report.exists() else "", errors.read_text(), int(sys.argv[3]))
    sys.stdout.write(words + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
