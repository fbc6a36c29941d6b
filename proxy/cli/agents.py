"""`agents list|show|lint|diff`: what the files say about agents, each value with the line that it comes from."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from proxy.app import build
from proxy.config import ConfigErrors
from proxy.identity import show
from proxy.identity.directory import Directory
from proxy.policy import show as rules
from proxy.settings import load_settings


def add(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the commands."""
    group = commands.add_parser("agents", help="list, show, lint and compare agents").add_subparsers(metavar="VERB", required=True)
    p = group.add_parser("list", parents=[common], help="all agents")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=_list)
    p = group.add_parser("show", parents=[common], help="one agent's effective policy, each value with file and line")
    p.add_argument("agent")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=_show)
    p = group.add_parser("lint", parents=[common], help="errors and warnings of all agent files; 1 when there are errors")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=_lint)
    p = group.add_parser("diff", parents=[common], help="what another file would widen or tighten for an agent")
    p.add_argument("agent")
    p.add_argument("file", type=Path, help="the other AGENTS.md (or agents/*.yaml)")
    p.add_argument("--json", action="store_true")
    p.set_defaults(run=_diff)


def _directory(args: argparse.Namespace) -> Directory:
    """Return the agents, bad files included: lint has to see those."""
    settings = load_settings(args.config, os.environ, simulate=True)
    baseline = settings.policies / "baseline.yaml"
    return Directory.load(settings.file.parent, settings.agents, baseline if baseline.exists() else None)


def _good(args: argparse.Namespace) -> Directory:
    return build.read(args.config, os.environ, simulate=True).directory


def _print(text: str) -> int:
    sys.stdout.write(text.rstrip("\n") + "\n")
    return 0


def _list(args: argparse.Namespace) -> int:
    directory = _good(args)
    return _print(json.dumps(show.listing_json(directory), indent=1) if args.json else show.listing(directory))


def _show(args: argparse.Namespace) -> int:
    files = build.read(args.config, os.environ, simulate=True)
    directory = files.directory
    grant = directory.grant(args.agent)
    if grant is None:
        sys.stderr.write(f"fleetgate: no agent {args.agent} (known: {', '.join(sorted(directory.agents)[:20])})\n")
        return 1
    if args.json:
        return _print(json.dumps({**show.as_json(grant), "rules": rules.as_json(files.rules, grant)}, indent=1))
    return _print(f"{show.show(directory, args.agent)}\n{rules.section(files.rules, grant)}")


def _lint(args: argparse.Namespace) -> int:
    directory = _directory(args)
    lines = show.lint(directory, now=time.time())
    errors = [str(e) for e in directory.errors]
    if args.json:
        warnings = [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]
        _print(json.dumps({"errors": errors, "warnings": warnings}, indent=1))
    else:
        _print("\n".join(lines) if lines else f"ok: {len(directory.agents)} agents")
    return 1 if errors else 0


def _diff(args: argparse.Namespace) -> int:
    directory, settings = _good(args), load_settings(args.config, os.environ, simulate=True)
    baseline = settings.policies / "baseline.yaml"
    file = args.file.resolve()
    other = Directory.load(file.parent, [file.name], baseline if baseline.exists() else None)
    if other.errors:
        raise ConfigErrors(other.errors)
    old, new = directory.grant(args.agent), other.grant(args.agent)
    if old is None or new is None:
        sys.stderr.write(f"fleetgate: agent {args.agent} is not in {'this configuration' if old is None else args.file}\n")
        return 1
    lines = show.diff(old, new)
    return _print(json.dumps(lines, indent=1) if args.json else "\n".join(lines) if lines else "the effective policy stays the same")
