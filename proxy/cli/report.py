"""`report`: one page on what a fleet did and cost, as HTML, or as PDF by a Chromium that is there."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from proxy.cli.arguments import when
from proxy.cli.asking import journal_of
from proxy.settings import load_settings
from proxy.telemetry.report import gather
from proxy.telemetry.report_page import page

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PRINT_S = 120.0
WEEK_S = 7 * 86_400.0


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the command."""
    p = commands.add_parser("report", parents=[common], help="write one page: spending, teams, savings, refusals, loops, top movers")
    p.add_argument("--since", type=when, metavar="WHEN", help="7d, yesterday, or a date (default: a week before --until)")
    p.add_argument("--until", type=when, metavar="WHEN", help="(default: now)")
    p.add_argument("--out", type=Path, default=Path("fleetgate-report.html"), metavar="FILE", help=".html or .pdf (default: %(default)s)")
    p.set_defaults(run=_report)


def _report(args: argparse.Namespace) -> int:
    kind = args.out.suffix.lower()
    if kind not in (".html", ".pdf"):
        raise ValueError(f"report --out {args.out}: ends in neither .html nor .pdf")
    browser = _browser() if kind == ".pdf" else ""
    now = time.time()
    until = now if args.until is None else args.until
    since = until - WEEK_S if args.since is None else args.since
    with journal_of(load_settings(args.config, os.environ, simulate=True)) as journal:
        text = page(gather(journal.now(), since, until), now)
    beside = args.out.with_name(f".{args.out.name}.{os.getpid()}.tmp")
    try:
        if browser:
            _print(browser, text, beside)
        else:
            beside.write_text(text, encoding="utf-8")
        beside.replace(args.out)
    finally:
        beside.unlink(missing_ok=True)
    sys.stdout.write(f"{args.out}\n")
    return 0


def _browser() -> str:
    found = os.environ.get("CHROMIUM_BIN") or next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        raise ValueError("report: a PDF needs Chromium or Chrome on PATH, or its path in CHROMIUM_BIN; or write .html and print that")
    return found


def _print(browser: str, text: str, out: Path) -> None:
    """Have `browser` print the page, which has no script and fetches nothing. Raises ValueError."""
    with tempfile.TemporaryDirectory(prefix="fleetgate-report-") as folder:
        file = Path(folder, "report.html")
        file.write_text(text, encoding="utf-8")
        options = ["--headless", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer", f"--user-data-dir={folder}/profile"]
        if hasattr(os, "geteuid") and not os.geteuid():
            options.append("--no-sandbox")  # Chromium has none for root
        command = [browser, *options, f"--print-to-pdf={out.absolute()}", file.as_uri()]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PRINT_S, check=False)  # noqa: S603 - no shell
        except (OSError, subprocess.TimeoutExpired) as e:
            raise ValueError(f"report: {browser} did not print it: {e}") from None
    if not out.is_file() or done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word why"])[-1]
        raise ValueError(f"report: {browser} did not print it: {last[:300]}")
