"""Rego files in a folder, and the engine that evaluates them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy.config import ConfigErrors
from proxy.policy.decision import Decision, Hook, decide
from proxy.policy.embedded import Embedded
from proxy.policy.input import SAMPLES
from proxy.policy.rego import Policies, load_rego

REQUEST = "package fleetgate.request\n"


def written(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / "policies" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder / "policies"


def load(folder: Path, files: Mapping[str, str] | str) -> Policies:
    files = {"a.rego": files} if isinstance(files, str) else files
    return load_rego(written(folder, files), folder)


def proven(folder: Path, files: Mapping[str, str] | str) -> Embedded:
    engine = Embedded(load(folder, files))
    engine.rehearse(SAMPLES)
    return engine


def problems(folder: Path, files: Mapping[str, str] | str) -> list[str]:
    with pytest.raises(ConfigErrors) as e:
        proven(folder, files)
    return [str(error) for error in e.value.errors]


def said(folder: Path, files: Mapping[str, str] | str, document: Mapping[str, Any], hook: Hook = "request") -> Decision:
    policies = load(folder, files)
    found = asyncio.run(Embedded(policies).ask(hook, document))
    return decide(policies.packages[hook], found)


def denied(decision: Decision) -> list[str]:
    return [ruling.message for ruling in decision.denials]
