#!/bin/sh
# Writes a bill of materials (CycloneDX 1.6, JSON) of what serves: every locked package with the hashes of its files and who asked for it,
# and the data and scripts that the wheel brings. The same lock and the same SOURCE_DATE_EPOCH (default: the last commit's) give the same bytes.
#
#   scripts/sbom.sh [LOCK [FILE]]      default: requirements.lock, and standard output
set -eu
cd "$(dirname "$0")/.."
scripts/venv.sh dev
bin=${VENV:-.venv}/bin
lock=${1:-requirements.lock}
[ -f "$lock" ] || { echo "sbom: there is no file $lock" >&2; exit 1; }
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 315532800)}
export SOURCE_DATE_EPOCH
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

"$bin/python" -W ignore -m cyclonedx_py requirements --pyproject pyproject.toml --output-reproducible --short-PURLs --no-validate \
    -o "$tmp/sbom.json" "$lock" 2>"$tmp/errors" || { cat "$tmp/errors" >&2; exit 1; } # it is checked below, once it is whole
"$bin/python" scripts/sbom.py "$lock" "$tmp/sbom.json" >"$tmp/whole.json"
if [ "$#" -gt 1 ]; then cp "$tmp/whole.json" "$2"; else cat "$tmp/whole.json"; fi
