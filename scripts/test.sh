#!/bin/sh
# The whole test suite. Arguments go to pytest. The exit code is pytest's, or else that of the coverage report (which fails below the
# bound set in pyproject.toml). Tools that no Python package brings are installed first; where that fails their tests are skipped.
#
# Without arguments, and with two processors, the suite runs in two halves side by side: what starts servers, and the rest. Branch
# coverage is that of the rest, child processes included: servers under it would take half as long again, and show little more. The
# first half's output comes when it has ended. Tests that fail while the halves take each other's processor are run once more, alone:
# what fails again is a failure, and what does not is named at the end, for it waits too short somewhere.
set -eu
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
outside="tests/e2e tests/ops tests/sdk tests/sim"
most_again=12

"$bin/python" scripts/tools.py

COVERAGE_FILE=$PWD/.coverage
export COVERAGE_FILE
"$bin/coverage" erase
code=0
if [ "$#" -gt 0 ] || [ "$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)" -lt 2 ]; then
    "$bin/coverage" run -m pytest "$@" || code=$?
else
    first="" rest=""
    for path in tests/*; do
        case "$path" in *.py | */__pycache__) case "$path" in tests/test_*) rest="$rest $path" ;; esac ;; *)
            case " $outside " in *" $path "*) first="$first $path" ;; *) rest="$rest $path" ;; esac ;;
        esac
    done
    notes=$(mktemp -d)
    # shellcheck disable=SC2086  # lists of paths
    TESTS_FAILED=$notes/first "$bin/python" -m pytest $first >"$notes/log" 2>&1 &
    other=$!
    trap 'kill "$other" 2>/dev/null || true; rm -rf "$notes"' EXIT INT TERM
    # shellcheck disable=SC2086
    TESTS_FAILED=$notes/rest "$bin/coverage" run -m pytest $rest || code=$?
    beside=0
    wait "$other" || beside=$?
    echo "--- the other half:$first"
    cat "$notes/log"
    [ "$beside" = 0 ] || [ "$code" -gt "$beside" ] || code=$beside
    if [ "$code" = 1 ]; then
        cat "$notes/first" "$notes/rest" 2>/dev/null | sort -u >"$notes/again" || true
        again=$(wc -l <"$notes/again")
        if [ "$again" -gt 0 ] && [ "$again" -le "$most_again" ]; then
            echo "--- $again failed while the halves ran side by side; once more, alone:"
            code=0
            "$bin/coverage" run -m pytest "@$notes/again" || code=$?
            [ "$code" != 0 ] || { echo "passed alone, and failed before:"; cat "$notes/again"; }
        fi
    fi
fi
"$bin/coverage" combine --quiet || true
report=0
"$bin/coverage" report --skip-covered || report=$?
[ "$code" = 0 ] || exit "$code"
[ "$#" -gt 0 ] || exit "$report"
