"""The smallest configuration file that loads, and the loading of what a test adds to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxy.config import ConfigErrors
from proxy.settings import Settings, load_settings

PROVIDERS = 'providers: {p: {protocols: [openai], base_url: "http://127.0.0.1:1/v1", api_key: env:KEY}}\n'
MODELS = 'models: {"*": {provider: p}}\n'
ENV = {"KEY": "sk-very-secret"}


def load(folder: Path, text: str, env: dict[str, str] | None = None, *, simulate: bool = False) -> Settings:
    file = folder / "fleetgate.yaml"
    file.write_text(text)
    return load_settings(file, ENV if env is None else env, simulate=simulate)


def errors(folder: Path, text: str, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigErrors) as e:
        load(folder, text, env)
    return [str(one).removeprefix(f"{folder}/") for one in e.value.errors]
