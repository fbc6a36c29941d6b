"""The `fleetgate` command.

Exit codes: 0 fine, 1 the thing checked is wrong, 2 usage. Machine output with `--json`. All commands that read the configuration take
`--config FILE` (default `./fleetgate.yaml`, or `$FLEETGATE_CONFIG`).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from proxy import __version__
from proxy.cli import agents, approvals, budgets, control, keys, ledger, policy, routing, running
from proxy.config import ConfigError, ConfigErrors
from proxy.engine.ports import StoreError


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    top = argparse.ArgumentParser(prog="fleetgate", description="A policy-enforcing, metering reverse proxy for fleets of AI agents.")
    top.add_argument("--version", action="version", version=f"fleetgate {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    default = os.environ.get("FLEETGATE_CONFIG", "fleetgate.yaml")
    common.add_argument("--config", type=Path, default=Path(default), metavar="FILE", help="the configuration (default: %(default)s)")
    for module in (running, keys, agents, policy, budgets, control, approvals, routing, ledger):
        module.add(commands, common)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    args = parser().parse_args(argv)
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
