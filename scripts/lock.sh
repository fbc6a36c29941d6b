#!/bin/sh
# Writes requirements*.lock anew: exact versions with hashes for every platform and Python that pyproject.toml allows. The resolver
# (uv) comes into a throw-away environment and leaves nothing behind. Versions already locked stay where they still fit;
# `UPGRADE=1 make lock` takes the newest. Read the diff before committing: it is what machines will run.
set -eu
cd "$(dirname "$0")/.."
scripts/venv.sh run
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
"${VENV:-.venv}/bin/python" -m venv "$tmp/uv"
"$tmp/uv/bin/python" -m pip install --quiet --disable-pip-version-check uv

compile() {  # output, then what goes in
    out=$1
    shift
    "$tmp/uv/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
        ${UPGRADE:+--upgrade} --output-file "$out" "$@"
    echo "$out: $(grep -c '^[a-zA-Z0-9]' "$out") packages"
}

compile requirements.lock pyproject.toml
compile requirements-extras.lock --constraint requirements.lock --all-extras pyproject.toml
compile requirements-dev.lock --constraint requirements-extras.lock --all-extras --group dev pyproject.toml
compile tests/phoenix/requirements.lock tests/phoenix/requirements.in
sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml >"$tmp/build.in"
compile requirements-build.lock --constraint requirements-dev.lock "$tmp/build.in"
sed -i.bak "s|$tmp/build.in|pyproject.toml (build-system)|" requirements-build.lock && rm requirements-build.lock.bak
