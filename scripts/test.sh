#!/bin/sh
# The whole test suite with branch coverage, child processes included. Arguments go to pytest. The exit code is pytest's, or else
# that of the coverage report (which fails below the bound set in pyproject.toml). Clients that no Python package brings are installed
# first; where that fails their tests are skipped.
set -eu
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin

"$bin/python" scripts/tools.py

COVERAGE_FILE=$PWD/.coverage
export COVERAGE_FILE
"$bin/coverage" erase
code=0
"$bin/coverage" run -m pytest "$@" || code=$?
"$bin/coverage" combine --quiet || true
report=0
"$bin/coverage" report --skip-covered || report=$?
[ "$code" = 0 ] || exit "$code"
[ "$#" -gt 0 ] || exit "$report"
