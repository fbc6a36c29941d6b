"""`ledger` and `explain`: what happened, why, and what it cost."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from proxy.admin.api import record_json
from proxy.app.served import table as model_table
from proxy.cli import contents, ship
from proxy.cli.arguments import when, whole
from proxy.cli.asking import journal_of
from proxy.cli.reprice import reprice
from proxy.settings import Settings, load_settings
from proxy.telemetry import exports
from proxy.telemetry.explain import explain
from proxy.telemetry.grouping import FIELDS, every, fields_of
from proxy.telemetry.query import MAX_ROWS, Filter
from proxy.telemetry.rolled import asking
from proxy.telemetry.tables import record_table, sum_table


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    p = commands.add_parser("ledger", parents=[common], help="list exchanges, or sum them by any of their fields")
    p.add_argument("--agent")
    p.add_argument("--session")
    p.add_argument("--model")
    p.add_argument("--reason")
    p.add_argument("--outcome")
    p.add_argument("--since", type=when, metavar="WHEN", help="1h, 2d, today, or a date")
    p.add_argument("--until", type=when, metavar="WHEN")
    p.add_argument("--by", type=_fields, metavar="FIELD[,FIELD…]", help="sums by one field or several: " + ", ".join(FIELDS))
    p.add_argument("--limit", type=whole(MAX_ROWS), help=f"most lines to show, up to {MAX_ROWS} (default: 100; of CSV and Parquet all)")
    shape = p.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true")
    shape.add_argument("--csv", action="store_true", help="CSV on standard output; what looks like a formula is made harmless")
    shape.add_argument("--parquet", type=Path, metavar="FILE", help="write a Parquet file (extra `parquet`)")
    p.add_argument("--reprice", action="store_true", help="show what it would have cost at today's prices; changes nothing")
    p.add_argument("--apply", action="store_true", help="with --reprice: keep the new costs in a column of their own")
    ship.add(p)
    contents.add(p)
    p.set_defaults(run=_ledger)
    p = commands.add_parser("explain", parents=[common], help="say in words what was decided about one exchange, and why")
    p.add_argument("id", metavar="ID", help="x-fleetgate-request-id of the reply, or decision_id of the refusal")
    p.add_argument("--json", action="store_true")
    p.add_argument("--content", action="store_true", help="show what was said too, where it is kept; who reads it is logged")
    p.set_defaults(run=_explain)


def _fields(text: str) -> tuple[str, ...]:
    try:
        return fields_of(text)
    except ValueError as e:
        raise argparse.ArgumentTypeError(str(e)) from None


def _settings(args: argparse.Namespace) -> Settings:
    """Return the settings alone: a mistake in another file must not hide what happened."""
    return load_settings(args.config, os.environ, simulate=True)


def _ledger(args: argparse.Namespace) -> int:
    if args.what == "ship":
        return ship.ship(args, _settings(args))
    if args.what == "erase":
        return contents.erase_of(args, _settings(args))
    where = Filter(args.agent, args.session, args.model, args.reason, args.outcome, args.since, args.until, args.limit or 100)
    if args.apply and not args.reprice:
        raise ValueError("ledger --apply: belongs to --reprice")
    if args.reprice:
        return reprice(_settings(args), where, apply=args.apply, as_json=args.json)
    with journal_of(_settings(args)) as journal:
        if args.by:
            _sums(args, journal.now(), where)
        elif args.csv or args.parquet:
            records = journal.rows(where) if args.limit else every(journal.now(), where)
            if args.csv:
                exports.records_csv(sys.stdout, records)
            else:
                _wrote(args.parquet, exports.records_parquet(args.parquet, records))
        else:
            records = journal.rows(where)
            sys.stdout.write(json.dumps([record_json(r) for r in records], indent=1) if args.json else record_table(records))
            sys.stdout.write("\n")
    return 0


def _sums(args: argparse.Namespace, path: Path, where: Filter) -> None:
    """Write sums of the ledger at `path` in the shape that is asked for."""
    whole = args.csv or args.parquet
    sums = asking(path, time.time())(args.by, where, args.limit if whole else args.limit or 100)
    if args.csv:
        exports.sums_csv(sys.stdout, args.by, sums)
    elif args.parquet:
        _wrote(args.parquet, exports.sums_parquet(args.parquet, args.by, sums))
    elif args.json:
        sys.stdout.write(json.dumps([exports.sum_json(args.by, s) for s in sums], indent=1) + "\n")
    else:
        sys.stdout.write(sum_table(args.by, sums) + "\n")


def _wrote(path: Path, count: int) -> None:
    sys.stdout.write(f"{path}: {count} rows\n")


def _explain(args: argparse.Namespace) -> int:
    settings = _settings(args)
    with journal_of(settings) as journal:
        record = journal.one(args.id)
    if record is None:
        sys.stderr.write(f"fleetgate: the ledger has no exchange {args.id}\n")
        return 1
    content = contents.content_of(settings, args.id) if args.content else None
    if args.json:
        shown = record_json(record) | ({"content": contents.as_json(content)} if args.content else {})
        sys.stdout.write(json.dumps(shown, indent=1) + "\n")
        return 0
    target = model_table(settings).target(record.model, record.protocol) if record.model else None
    price = target.price if target is not None and target.price is not None and target.price.digest == record.price_digest else None
    sys.stdout.write(explain(record, price, tty=sys.stdout.isatty()) + "\n")
    if args.content:
        sys.stdout.write(f"\n{contents.said(content)}\n")
    return 0
