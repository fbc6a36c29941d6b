#!/bin/sh
# Asks the advisory database about every locked package that may serve, extras included. A known vulnerability fails; a database that cannot be reached
# does not, but says so loudly.
set -eu
cd "$(dirname "$0")/.."
scripts/venv.sh dev
bin=${VENV:-.venv}/bin
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

code=0
"$bin/pip-audit" --progress-spinner off --timeout 10 --require-hashes --disable-pip --format json --output "$tmp/report.json" \
    --requirement "${1:-requirements-extras.lock}" 2>"$tmp/errors" || code=$?
"$bin/python" scripts/audit_report.py "$tmp/report.json" "$tmp/errors" "$code"
