#!/bin/sh
# Makes .venv ready, or finds it ready and says nothing.
#
#   scripts/venv.sh run     what serving needs   (requirements.lock)
#   scripts/venv.sh dev     what developing and testing need, too (requirements-dev.lock)
#
# Everything is installed from hash-locked files; this project itself comes last, in place, without touching the network. A stamp
# holds the checksum of all inputs: nothing is installed twice, and a changed lock installs anew. PYTHON=… picks the interpreter,
# VENV=… another folder. Fails with one sentence that says what to do.
set -eu

kind=${1:?usage: scripts/venv.sh run|dev}
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
stamp="$venv/.installed-$kind"
unset PYTHONHOME PYTHONPATH 2>/dev/null || true

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

case $kind in
    run) locks="requirements.lock requirements-build.lock" ;;
    dev) locks="requirements-dev.lock requirements-build.lock" ;;
    *) die "unknown kind '$kind': run or dev" ;;
esac

# Enough to serve: the version, and the standard modules that minimal builds leave out.
suitable() {
    "$1" -c 'import sys, ssl, sqlite3, zlib; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

can_make_venv() {
    "$1" -c 'import venv, ensurepip' >/dev/null 2>&1
}

candidates() {
    if [ -n "${PYTHON:-}" ]; then
        echo "$PYTHON"
    else
        echo python3.14 python3.13 python3.12 python3.11 python3 python
    fi
}

install_venv_module() {  # Debian and Ubuntu ship Python without it
    version=$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    hint="this Python cannot make virtual environments; install its venv module (Debian, Ubuntu: apt-get install python3-venv)"
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || die "$hint"
    say "installing python$version-venv with apt-get"
    DEBIAN_FRONTEND=noninteractive
    export DEBIAN_FRONTEND
    apt-get install -y -qq "python$version-venv" >/dev/null 2>&1 \
        || { apt-get update -qq >/dev/null && apt-get install -y -qq "python$version-venv" >/dev/null; } \
        || die "$hint"
    can_make_venv "$1" || die "$hint"
}

find_python() {
    bare=
    for name in $(candidates); do
        suitable "$name" || continue
        if can_make_venv "$name"; then echo "$name"; return; fi
        bare=${bare:-$name}
    done
    [ -n "$bare" ] || die "no Python 3.11 or newer (with ssl and sqlite3) on PATH; install one, or name it: make PYTHON=/path/to/python3"
    install_venv_module "$bare" >&2
    echo "$bare"
}

# A venv is usable when its Python starts and its scripts point at this very folder (in a copied tree they point at the old one).
usable() {
    [ -x "$venv/bin/python" ] && suitable "$venv/bin/python" && head -n 3 "$venv/bin/pip" 2>/dev/null | grep -qF "$(cd "$venv" && pwd -P)/bin/"
}

wanted() {
    # shellcheck disable=SC2086  # a list of names without spaces
    cat pyproject.toml scripts/venv.sh $locks | cksum
    "$venv/bin/python" -c 'import sys; print(sys.version)'
}

if ! usable; then
    python=$(find_python)
    say "making $venv with $("$python" --version)"
    rm -rf "$venv"
    mkdir -p "$venv"
    "$python" -m venv "$(cd "$venv" && pwd -P)"
fi

now=$(wanted)
[ -f "$stamp" ] && [ "$(cat "$stamp")" = "$now" ] && exit 0

rm -f "$stamp"
set --
for lock in $locks; do set -- "$@" -r "$lock"; done
say "installing $(cat $locks | grep -c '^[a-zA-Z0-9]') locked packages ($locks) into $venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }
pip install --quiet --require-hashes --only-binary=:all: "$@" \
    || die "installing failed; if a wheel is missing for $("$venv/bin/python" --version), pick another: rm -rf $venv && make PYTHON=python3.12"
pip install --quiet --no-index --no-deps --no-build-isolation --editable .
printf '%s\n' "$now" >"$stamp"
