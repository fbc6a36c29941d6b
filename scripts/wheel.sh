#!/bin/sh
# Builds the wheel as it would be published, installs it with the locked dependencies into a fresh environment outside the tree, and
# starts it there: what is missing from the wheel shows here and not at the user's.
set -eu
cd "$(dirname "$0")/.."
scripts/venv.sh dev
python=${VENV:-.venv}/bin/python
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"$python" -m hatchling build -t wheel -d "$tmp/dist"
"$python" -m venv "$tmp/venv"
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary=:all: -r requirements.lock
"$tmp/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --no-deps "$tmp"/dist/*.whl
cd "$tmp"
venv/bin/python -m pip check
venv/bin/fleetgate --help >/dev/null
venv/bin/python -I -c '
import importlib.metadata, pathlib, pkgutil, proxy
root = pathlib.Path(proxy.__file__).parent
extras = {"ecologits", "google", "opentelemetry", "psycopg", "pyarrow"}  # their modules load where they are asked for
without = []
for module in pkgutil.walk_packages(proxy.__path__, "proxy."):
    if module.name.endswith("__main__"):
        continue
    try:
        __import__(module.name)
    except ModuleNotFoundError as e:
        if (e.name or "").partition(".")[0] not in extras:
            raise
        without.append(module.name)
print("modules that wait for their extra:", *without)
for name in ("cl100k_base", "o200k_base"):
    assert (root / "budget" / "vocab" / (name + ".tiktoken")).stat().st_size > 1_000_000, name
from proxy.policy.rules_yaml import shipped_rules
assert len(shipped_rules()) > 30
print("wheel of fleetgate", importlib.metadata.version("fleetgate"), "installs, imports and starts")
'
