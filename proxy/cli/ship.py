"""`ledger ship`: records on from the stream of a Redis store, and how far that is."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from proxy.engine.ports import StoreError
from proxy.settings import Settings
from proxy.stores.open import blocking_link
from proxy.stores.redis_blocking import BlockingLink
from proxy.telemetry.lag import Lag, lags
from proxy.telemetry.ship import GROUP, Shipment
from proxy.telemetry.ship_to import EXPECTED, named, opened, shows_password
from proxy.telemetry.tables import count

RETRY_S, LONGEST_RETRY_S = 1.0, 30.0
_TOLD_S = 60.0
_WHAT = "ship: move what the Redis store holds to where it is kept (with --to); erase: delete what was said in a session or by an agent"
_GROUP = re.compile(r"[A-Za-z0-9._-]{1,64}")


def add(p: argparse.ArgumentParser) -> None:
    """Add what belongs to `ship` to the command `ledger`."""
    p.add_argument("what", nargs="?", choices=["ship", "erase"], help=_WHAT)
    p.add_argument("--to", metavar="TARGET", help=f"where `ship` moves records: {EXPECTED}")
    p.add_argument("--follow", action="store_true", help="`ship` on until stopped")
    p.add_argument("--group", type=_group, default=GROUP, help="shippers that share the work; another group gets all records once more")
    p.add_argument("--moved", action="store_true", help="the group ships to another target from now on")
    p.add_argument("--status", action="store_true", help="show how far `ship` is behind, of each group")


def _group(text: str) -> str:
    if not _GROUP.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text[:70]!r} is no name: letters, digits, . _ and -, 64 at most")
    return text


def ship(args: argparse.Namespace, settings: Settings) -> int:
    """Run it; raises ValueError and StoreError."""
    place = settings.store.place
    if place is None or (args.to is None and not args.status):
        raise ValueError(f"ledger ship: moves records from a store redis://… and needs --to {EXPECTED}")
    link = blocking_link(place)
    try:
        if args.status:
            return _status(link, args.json)
        if shows_password(args.to):
            sys.stderr.write("fleetgate: others on this machine can read the password in --to: use env:NAME or file:PATH, or PGPASSWORD\n")
        return _ship(link, args, named(args.to, os.environ), place.tenant)
    finally:
        link.close()


def _ship(link: BlockingLink, args: argparse.Namespace, target: str, tenant: str) -> int:
    moved = new = 0
    with _stopped_by_term():
        to = opened(target, tenant)
        try:
            shipment = Shipment(link, to, args.group, moved=args.moved)
        except BaseException:
            to.close()
            raise
        try:
            for taken, kept in _steps(shipment, follow=args.follow, pause_s=to.pause_s, most=to.most):
                moved, new = moved + taken, new + kept
            if left := shipment.waiting():
                sys.stderr.write(f"fleetgate: {count(left)} records are another shipper's; if it died, run this again in a minute\n")
        except KeyboardInterrupt:
            pass
        finally:
            shipment.close()
    sys.stdout.write(f"shipped {count(moved)} records to {to.name}, {count(new)} of them new there\n")
    return 0


def _steps(shipment: Shipment, *, follow: bool, pause_s: float, most: int) -> Iterator[tuple[int, int]]:
    """Give what each step moved, until there is nothing; with `follow` for ever, over failures too."""
    rest, told = RETRY_S, -_TOLD_S
    while True:
        try:
            step = shipment.step()
        except StoreError as e:
            if not follow:
                raise
            if time.monotonic() - told >= _TOLD_S:
                told = time.monotonic()
                sys.stderr.write(f"fleetgate: {e}; trying again\n")
            time.sleep(rest)
            rest = min(2 * rest, LONGEST_RETRY_S)
            continue
        rest = RETRY_S
        yield step
        if not follow and not step[0]:
            return
        if follow and step[0] < most:
            time.sleep(pause_s)


@contextmanager
def _stopped_by_term() -> Iterator[None]:
    """Have SIGTERM end things as SIGINT does: what was taken is finished or left to others."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _status(link: BlockingLink, as_json: bool) -> int:
    found, now = lags(link), time.time()
    if as_json:
        sys.stdout.write(json.dumps([{**dataclasses.asdict(lag), "age_s": round(lag.age(now), 3)} for lag in found], indent=1) + "\n")
    elif not found:
        sys.stdout.write("nobody ships: fleetgate ledger ship --to TARGET [--follow]\n")
    for lag in found if not as_json else ():
        sys.stdout.write("\n".join(_told(lag, now)) + "\n")
    return 0


def _told(lag: Lag, now: float) -> list[str]:
    behind = "an unknown number" if lag.behind is None else count(lag.behind)
    waits = "" if lag.oldest is None else f", the oldest for {lag.age(now):.0f} s"
    lines = [f"{lag.group} to {lag.target or 'an unknown target'}: {behind} waiting, {count(lag.pending)} on their way{waits}"]
    return lines + [f"  {name}: {count(pending)} on their way, asked {idle:.0f} s ago" for name, pending, idle in lag.shippers]
