"""`routing report`, `routing calibrate`, `routing pairs`: what the simple model serves and saves, which threshold recorded traffic speaks
for, and its answers beside those of the model that was asked for."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from proxy.app.storage import open_pairs, reading
from proxy.cli.arguments import when
from proxy.engine.record import Record
from proxy.money import dollars
from proxy.routing.pairs import Pair
from proxy.settings import Settings, load_settings
from proxy.telemetry.query import MAX_ROWS, Filter, Journal
from proxy.telemetry.routed import Fit, fit_quality, fit_saving, report, words
from proxy.telemetry.tables import count, moment, printable


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    group = commands.add_parser("routing", help="what goes to the simple model, and which threshold to write")
    inner = group.add_subparsers(dest="what", metavar="WHAT", required=True)
    p = inner.add_parser("report", parents=[common], help="share routed, dollars and seconds saved, fallbacks, by agent and model")
    _since(p)
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=_report)
    p = inner.add_parser("calibrate", parents=[common], help="fit the threshold to recorded calls; prints the line, changes nothing")
    _since(p)
    aim = p.add_mutually_exclusive_group(required=True)
    aim.add_argument("--saving", type=_share, metavar="SHARE", help="the share that is to go to the simple model, 0.3 for 30 %%")
    aim.add_argument("--quality", type=_share, metavar="SHARE", help="the share of calls there that must not fall back or fail")
    p.add_argument("--of", choices=("calls", "dollars"), default="calls", help="what --saving is a share of (default: %(default)s)")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=_calibrate)
    p = inner.add_parser("pairs", parents=[common], help="answers of local models beside those of the asked ones (routing.sample)")
    p.add_argument("--limit", type=int, default=20, metavar="N", help="how many, newest first (default: %(default)s)")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=_pairs)


def _since(p: argparse.ArgumentParser) -> None:
    p.add_argument("--since", type=when, metavar="WHEN", help="1h, 2d, today, or a date (default: all that is recorded)")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a share above 0, up to 1")
    return value


def _settings(args: argparse.Namespace) -> Settings:
    return load_settings(args.config, os.environ, simulate=True)


def _records(journal: Journal, since: float | None) -> Iterator[Record]:
    """Yield all records since then, newest first, in steps that the ledger can give."""
    until: float | None = None
    seen: set[str] = set()
    while True:
        found = journal.rows(Filter(since=since, until=until, limit=MAX_ROWS))
        fresh = [record for record in found if record.id not in seen]
        yield from fresh
        if len(found) < MAX_ROWS or not fresh:
            return
        until = found[-1].time + 1e-6  # those of the same moment come again
        seen = {record.id for record in found if record.time >= found[-1].time - 1e-6}


def _report(args: argparse.Namespace) -> int:
    with reading(_settings(args).store) as journal:
        found = report(_records(journal, args.since))
    when = "of all records" if args.since is None else f"since {moment(args.since)}"
    sys.stdout.write((json.dumps(found.as_json(), indent=1) if args.json else words(found, when)) + "\n")
    return 0


def _pairs(args: argparse.Namespace) -> int:
    store = _settings(args).store
    if store.path is None:
        raise ValueError("pairs are in the memory of each server unless store is sqlite:PATH; ask its admin port: GET /api/v1/pairs")
    found = open_pairs(store).all()[: max(0, args.limit)]
    if args.json:
        sys.stdout.write(json.dumps([pair.as_json() for pair in found], indent=1) + "\n")
    elif not found:
        sys.stdout.write("No pairs are kept; `routing.sample` says how many calls are compared (docs/routing.md).\n")
    else:
        sys.stdout.write("\n".join([_told(pair) for pair in found]))
    return 0


def _told(pair: Pair) -> str:
    lines = [f"{moment(pair.time)}  {printable(pair.agent)}"]
    for title, half in (("local", pair.local), ("asked", pair.asked)):
        facts = f"{half.chars} characters, {half.ns / 1e9:.2f} s, {dollars(half.cost)} USD, ended: {half.finish or '-'}"
        lines.append(f"  {title}  {printable(half.provider)} {printable(half.model)}  {half.id}: {printable(facts)}")
        lines += [f"    | {printable(line)}" for line in (half.text or "").splitlines()]
    return "\n".join(lines) + "\n"


def _calibrate(args: argparse.Namespace) -> int:
    settings = _settings(args)
    with reading(settings.store) as journal:
        records = _records(journal, args.since)
        fit = fit_quality(records, args.quality) if args.quality is not None else fit_saving(records, args.saving, args.of)
    if args.json:
        sys.stdout.write(
            json.dumps({"threshold": fit.threshold, "reached": round(fit.reached, 4), "calls": fit.calls, "problem": fit.problem})
        )
        sys.stdout.write("\n")
    elif fit.threshold is None:
        sys.stderr.write(f"fleetgate: {fit.problem}\n")
    else:
        sys.stdout.write(_line(settings, fit, args))
    return 0 if fit.threshold is not None else 1


def _line(settings: Settings, fit: Fit, args: argparse.Namespace) -> str:
    """Return the lines for `fleetgate.yaml`, and above them what they rest on."""
    if args.quality is not None:
        why = f"{fit.reached:.1%} of {count(fit.calls)} calls below this ended well at the simple model (no fallback, no failure)"
    else:
        why = f"{fit.reached:.1%} of {args.of} would have gone there, of {count(fit.calls)} scored calls"
    return f"# {why}; now {settings.routing.threshold:g}\nrouting:\n  threshold: {fit.threshold:g}\n"
