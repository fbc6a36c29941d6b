"""One rule for the whole suite: a skipped test is a missing tool, and under `CI=true` a missing tool is a failure.

Say what is missing and how to get it in the reason of the skip: `pytest.skip("redis-server is not on PATH: apt-get install redis")`.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

CI = os.environ.get("CI", "").lower() in ("1", "true", "yes")
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("dev", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci" if CI else "dev")

for number, action in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:  # a shell starts so what runs beside it, as does nohup, and every child would inherit it
        signal.signal(number, action)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note which tests failed in the file that `TESTS_FAILED` names, for whoever runs them again."""
    missing = CI and report.skipped and not hasattr(report, "wasxfail")
    if (report.failed or missing) and (path := os.environ.get("TESTS_FAILED")):
        with Path(path).open("a", encoding="utf-8") as notes:
            notes.write(f"{report.nodeid}\n")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Turn a green run with skips into a red one where every tool must be there."""
    if CI and _skips(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say it loudly."""
    if count := _skips(config):
        verdict = "CI=true: this is a failure" if CI else "the tools named below are missing here; CI treats this as a failure"
        terminalreporter.write_line(f"{count} SKIPPED: {verdict}", red=CI, yellow=not CI)


def _skips(config: pytest.Config) -> int:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return len(reporter.stats.get("skipped", ())) if reporter else 0
