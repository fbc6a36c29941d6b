"""Completes the bill of materials that cyclonedx-py makes of a lock, checks it by the schema, and prints it.

    scripts/sbom.py LOCK SBOM

From the lock's own comments (`# via`) comes who needs whom, which a list of requirements does not say. From this tree come the parts that
are no packages: vocabularies, learned weights, the scripts of others that the dashboard loads. References are package URLs, so that they
stay when lines move.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

ROOT = Path(__file__).resolve().parents[1]
SELF = "fleetgate"
VENDORED = ROOT / "proxy" / "admin" / "web" / "vendor"
_ROW = re.compile(r"^\| `(\S+)` \| (\S+) \(`[^`]*`\) \| (\S+) \| (\S+) \(`\S+`\) \|", re.MULTILINE)
_PACKAGE = re.compile(r"^([a-z0-9][a-z0-9._-]*)==(\S+)")
DATA = {
    "proxy/budget/vocab/cl100k_base.tiktoken": ("MIT", "Byte-pair vocabulary of OpenAI's tiktoken"),
    "proxy/budget/vocab/o200k_base.tiktoken": ("MIT", "Byte-pair vocabulary of OpenAI's tiktoken"),
    "proxy/budget/price_list/genai-prices.json": ("MIT", "Prices and context windows, from genai-prices"),
    "proxy/loops/weights.json": ("Apache-2.0", "Weights of the loop detector"),
    "proxy/routing/difficulty.json": ("Apache-2.0", "Weights of the difficulty score"),
}


def needs(lock: str) -> dict[str, set[str]]:
    """Return what each package of a lock needs directly, by its comments; `fleetgate` stands for this project."""
    found: dict[str, set[str]] = {SELF: set()}
    name, listed = "", False
    for line in lock.splitlines():
        if match := _PACKAGE.match(line):
            name, listed = match[1], False
            found.setdefault(name, set())
        elif line.strip().startswith("# via"):
            listed = True
            asker = line.strip()[5:].strip()
            if asker:
                found.setdefault(_plain(asker), set()).add(name)
        elif listed and line.strip().startswith("#"):
            found.setdefault(_plain(line.strip("# ")), set()).add(name)
        else:
            listed = False
    return {asker: packages for asker, packages in found.items() if not asker.startswith("-")}


def _plain(asker: str) -> str:
    return asker.partition(" ")[0].partition(":")[0]


def own_parts() -> Iterator[dict[str, Any]]:
    """Give the components that are no packages of the lock."""
    for path, (licence, words) in DATA.items():
        yield {**_file(path, licence), "type": "data", "name": Path(path).name, "description": words}
    for name, package, version, licence in _ROW.findall((VENDORED / "README.md").read_text(encoding="utf-8")):
        path = (VENDORED / name).relative_to(ROOT).as_posix()
        yield {
            **_file(path, licence),
            "type": "file",
            "name": name,
            "version": version,
            "description": f"Of the npm package {package} {version}",
            "purl": f"pkg:npm/{package}@{version}#{name}",
        }


def _file(path: str, licence: str) -> dict[str, Any]:
    digest = hashlib.sha256((ROOT / path).read_bytes()).hexdigest()
    return {"bom-ref": path, "hashes": [{"alg": "SHA-256", "content": digest}], "licenses": [{"license": {"id": licence}}]}


def completed(bom: dict[str, Any], lock: str) -> dict[str, Any]:
    """Return `bom` with references, dependencies and our own parts."""
    main, packages = bom["metadata"]["component"], bom["components"]
    main["bom-ref"] = main["purl"] = f"pkg:pypi/{SELF}@{main['version']}"
    for package in packages:
        package["bom-ref"] = package["purl"]
        line = package.pop("description").partition("--hash")[0]
        if ";" in line:
            package["description"] = f"Only where {line.partition(';')[2].strip()}"
    parts = sorted(own_parts(), key=lambda part: str(part["bom-ref"]))
    refs = {package["name"]: package["bom-ref"] for package in packages} | {SELF: main["bom-ref"]}
    edges = {refs[asker]: sorted(refs[name] for name in names) for asker, names in needs(lock).items() if asker in refs}
    edges[main["bom-ref"]] += [part["bom-ref"] for part in parts]
    bom["components"] = sorted(packages, key=lambda package: str(package["bom-ref"])) + parts
    every = [main["bom-ref"], *(component["bom-ref"] for component in bom["components"])]
    bom["dependencies"] = [{"ref": ref, **({"dependsOn": edges[ref]} if edges.get(ref) else {})} for ref in every]
    return bom


def main(arguments: list[str]) -> int:
    """Print the whole bill, or say why it is none."""
    lock, made = (Path(name).read_text(encoding="utf-8") for name in arguments)
    text = json.dumps(completed(json.loads(made), lock), indent=1, sort_keys=True) + "\n"
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    if wrong is not None:
        print(f"sbom: not valid by the schema: {wrong}", file=sys.stderr)  # noqa: T201
        return 1
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
