"""Writes docs/configuration.md from the settings themselves: `python -m proxy.settings.document > docs/configuration.md`.

A test fails when the file is stale, so a setting cannot be added without its words.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proxy.config import dotted
from proxy.settings.environment import variable
from proxy.settings.fields import keys
from proxy.settings.kinds import Section
from proxy.settings.sections import Settings
from proxy.settings.store import Store
from proxy.settings.upstreams import ModelRule, Provider
from proxy.settings.webhooks import Webhook

INTRO = """\
# Configuration

<!-- Generated from proxy/settings (sections, upstreams); edit those, run: python -m proxy.settings.document > docs/configuration.md -->

Fleetgate reads one file: `./fleetgate.yaml`, or the one that `--config` or `$FLEETGATE_CONFIG` names. `fleetgate check` validates it and
everything that it points to; `fleetgate serve` refuses to start on what `check` refuses.

- **Paths** are relative to the folder of the file.
- **Unknown keys** are errors, and so are settings that this version does not serve: nothing is accepted that has no effect.
- **Secrets** are never written out. `env:NAME` takes an environment variable, `file:PATH` the content of a file.
- **Environment variables** override the file: `FLEETGATE_<SECTION>_<KEY>`, as listed below. Lists are joined by commas. A variable that
  is set but empty counts as not set; one that is no setting is reported and ignored. `FLEETGATE_CONFIG` and `FLEETGATE_ADMIN_TOKEN` are
  no settings.
- **Edits** to this file and to those that it names (agents, policies, budgets, keys, secrets from files) are picked up within a second,
  also when they are replaced by a rename or a Kubernetes volume. An edit that is wrong keeps what was there before. `listen`, `store`
  and `telemetry` hold until a restart.
- Anchors, aliases, tags and duplicate keys are refused: a file says each thing once.
"""

EXAMPLE = """\
## The smallest file

```yaml
providers:
  openai: {protocols: [openai], base_url: https://api.openai.com/v1, api_key: env:OPENAI_API_KEY}
models:
  "gpt-*": {provider: openai}
```
"""

NAMED = {"providers": (Provider, "NAME", "openai"), "models": (ModelRule, "PATTERN", ""), "webhooks": (Webhook, "N", "")}
"""Sections whose keys the user chooses: the dataclass of a value, a stand-in for the key, and one for the names of variables."""


def document() -> str:
    """Return docs/configuration.md."""
    parts = [INTRO, EXAMPLE, *_top()]
    for name, setting in keys(Settings).items():
        kind = setting.metadata["kind"]
        if isinstance(kind, Section):
            parts.append("\n".join([f"## {name}\n", f"{_first(kind.of)}\n", *_table(kind.of, (name,)), ""]))
        elif name in NAMED:
            of, key, sample = NAMED[name]
            parts.append("\n".join([f"## {name}\n", f"{_first(of)}\n", *_table(of, (name, key), sample), ""]))
    return "\n".join(parts)


def _first(of: type[Any]) -> str:
    return " ".join((of.__doc__ or "").split("\n\n")[0].split())


def _top() -> Iterator[str]:
    yield "## The file\n"
    yield "| Setting | Value | Default | Meaning | Variable |"
    yield "|---|---|---|---|---|"
    for name, setting in keys(Settings).items():
        kind = setting.metadata["kind"]
        if isinstance(kind, Section) or name in NAMED:
            default = "**required**" if setting.default is dataclasses.MISSING else ""
            shape = "a list" if setting.default == () else "a mapping"
            yield f"| [`{name}`](#{name}) | {shape} | {default} | {setting.metadata['doc'] or _first(kind.of)} | |"
        else:
            yield _row((name,), setting)
    yield ""


def _table(of: type[Any], path: tuple[str, ...], sample: str = "") -> Iterator[str]:
    yield "| Setting | Value | Default | Meaning | Variable |"
    yield "|---|---|---|---|---|"
    yield from _rows(of, path, sample)


def _rows(of: type[Any], path: tuple[str, ...], sample: str) -> Iterator[str]:
    for name, setting in keys(of).items():
        yield _row((*path, name), setting, sample)
        kind = setting.metadata["kind"]
        if isinstance(kind, Section):
            yield from _rows(kind.of, (*path, name), sample)


def _row(path: tuple[str, ...], setting: dataclasses.Field[Any], sample: str = "") -> str:
    kind = setting.metadata["kind"]
    named = len(path) > 1 and path[0] in NAMED
    name = variable((path[0], sample, *path[2:])) if named else variable(path)
    shown = f"`{name}`" if kind.text and (sample or not named) else ""
    return f"| `{dotted(path)}` | {kind.words} | {_default(setting.default)} | {setting.metadata['doc']} | {shown} |"


def _default(value: Any) -> str:
    if value is dataclasses.MISSING:
        return "**required**"
    if value is None or value == ():
        return ""
    if isinstance(value, Store):
        return f"`{value.kind}:{value.path}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(value)}]`"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}/`" if isinstance(value, Path) else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    sys.stdout.write(document())
