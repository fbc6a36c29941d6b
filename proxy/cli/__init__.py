"""The `fleetgate` command.

Exit codes: 0 fine, 1 the thing checked is wrong, 2 usage. Machine output with `--json`. All commands that read the configuration take
`--config FILE` (default `./fleetgate.yaml`, or `$FLEETGATE_CONFIG`).

A command loads its own module alone: `fleetgate kill` does not wait for what only a server needs.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from proxy import __version__
from proxy.config import ConfigError, ConfigErrors
from proxy.engine.ports import StoreError

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "running": ("serve", "check", "demo", "sim"),
    "keys": ("keys",),
    "agents": ("agents",),
    "policy": ("policy",),
    "budgets": ("budgets",),
    "control": ("kill", "resume"),
    "approvals": ("approvals",),
    "routing": ("routing",),
    "ledger": ("ledger", "explain"),
    "report": ("report",),
    "top": ("top",),
}
"""The modules of `proxy.cli`, in the order of the help, and the commands of each."""


def parser(word: str = "") -> argparse.ArgumentParser:
    """Return the command line's grammar: of the command `word`, or of all where there is no such command."""
    top = argparse.ArgumentParser(prog="fleetgate", description="A policy-enforcing, metering reverse proxy for fleets of AI agents.")
    top.add_argument("--version", action="version", version=f"fleetgate {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    default = os.environ.get("FLEETGATE_CONFIG", "fleetgate.yaml")
    common.add_argument("--config", type=Path, default=Path(default), metavar="FILE", help="the configuration (default: %(default)s)")
    found = [module for module, words in COMMANDS.items() if word in words]
    for module in found or COMMANDS:
        importlib.import_module(f"{__name__}.{module}").add(commands, common)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    given = sys.argv[1:] if argv is None else argv
    args = parser(given[0] if given else "").parse_args(given)
    try:
        code = int(args.run(args))
        sys.stdout.flush()  # here, where a reader who left early is no fault
        return code
    except ConfigErrors as e:
        for error in e.errors:
            sys.stderr.write(f"{error}\n")
        sys.stderr.write(f"{len(e.errors)} problem{'s' if len(e.errors) > 1 else ''} found; nothing was started or changed.\n")
    except (ConfigError, StoreError, ValueError) as e:
        sys.stderr.write(f"fleetgate: {e}\n")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read us has seen enough
        return 0
    except OSError as e:
        sys.stderr.write(f"fleetgate: {e.strerror or e}{f': {e.filename}' if e.filename else ''}\n")
    except KeyboardInterrupt:
        return 130
    return 1
