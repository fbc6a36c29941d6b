"""`serve`, `check`, `demo` and `sim`: what runs, and what says whether it would."""

from __future__ import annotations

import argparse
import json
import os
import sys
from typing import Any

from proxy.app import build
from proxy.app.check import warnings
from proxy.app.chores import Options
from proxy.app.serve import run
from proxy.config import ConfigErrors, dotted
from proxy.settings.environment import variable
from proxy.sim import demo as demonstration
from proxy.sim import provider as simulator
from proxy.telemetry.logs import setup

WORKERS = variable(("listen", "workers"))


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    p = commands.add_parser("serve", parents=[common], help="serve the data plane and the admin plane")
    p.add_argument("--quickstart", action="store_true", help="print a working command with a key; simulate providers when no key is set")
    p.add_argument("--workers", metavar="N", help="processes that serve, in place of listen.workers (as $FLEETGATE_LISTEN_WORKERS)")
    p.add_argument("--log-json", action="store_true", help="one JSON object a log line")
    p.add_argument("--log-level", default="info", choices=["debug", "info", "warning", "error"])
    p.set_defaults(run=_serve)
    p = commands.add_parser("check", parents=[common], help="validate every file; 0 when serve would start")
    p.add_argument("--quickstart", action="store_true", help="as `serve --quickstart` would start: without providers' keys")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=_check)
    p = commands.add_parser("demo", help="watch a small fleet run through a real proxy (under a minute)")
    p.set_defaults(run=lambda args: demonstration.run())
    p = commands.add_parser("sim", help="run the simulated provider")
    p.add_argument("--host", default="127.0.0.1")
    p.add_argument("--port", type=int, default=9900)
    p.add_argument("--require-key", action="store_true", help="refuse requests without an API key, as vendors do")
    p.set_defaults(run=_sim)


def _serve(args: argparse.Namespace) -> int:
    setup(args.log_level.upper(), json_lines=args.log_json)
    if args.workers is not None:
        os.environ[WORKERS] = args.workers  # where the processes that this one starts find it too
    run(Options(args.config, args.quickstart, args.log_level, args.log_json))
    return 0


def _check(args: argparse.Namespace) -> int:
    try:
        files = build.read(args.config, os.environ, simulate=args.quickstart)
    except ConfigErrors as e:
        if args.json:
            found = [
                {"file": x.file, "line": x.line, "key": dotted(x.path), "what": x.got, "expected": x.expected, "hint": x.hint}
                for x in e.errors
            ]
            sys.stdout.write(json.dumps({"ok": False, "errors": found}, indent=1) + "\n")
            return 1
        raise
    notes = warnings(files)
    if args.json:
        sys.stdout.write(json.dumps({"ok": True, "version": files.version, "warnings": notes}, indent=1) + "\n")
        return 0
    for note in notes:
        sys.stdout.write(f"warning: {note}\n")
    sys.stdout.write(
        f"ok: configuration {files.version}: {len(files.directory.agents)} agents, {len(files.budgets)} budget rules, "
        f"{len(files.settings.providers)} providers, {len(files.settings.models)} model rules\n"
    )
    return 0


def _sim(args: argparse.Namespace) -> int:
    simulator.run(args.host, args.port, require_key=args.require_key)
    return 0
