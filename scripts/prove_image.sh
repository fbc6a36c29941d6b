#!/bin/sh
# Proves the Dockerfile without an image builder: makes a clean root of the base image's Debian release, runs the Dockerfile's own steps in it
# (scripts/prove_image.py reads them from the file), and serves from the result as the image would: as its numeric user, from a read-only
# root without a shell, with no network but loopback.
#
#   scripts/prove_image.sh [FOLDER] [NAME=VALUE …]     as root on Debian or Ubuntu; takes some minutes and 1.5 GB in FOLDER
#
# FOLDER (default: a temporary one that is removed) may be given again: its base root is used once more. NAME=VALUE sets a build argument,
# as in LOCK=requirements-extras.lock. Debian's Python of the same minor version stands for the one of the image.
set -eu
cd "$(dirname "$0")/.."
die() { echo "prove_image: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "needs root, for chroot and namespaces"
for tool in mmdebstrap unshare python3; do
    command -v "$tool" >/dev/null 2>&1 || die "$tool is not here (apt-get install mmdebstrap util-linux python3)"
done
case ${1:-} in
    "" | *=*) folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT ;;
    *) mkdir -p "$1"; folder=$(cd "$1" && pwd -P); shift ;;
esac

base=$(sed -n 's/^ARG BASE=python:\(.*\)$/\1/p' Dockerfile)
version=${base%%-*} release=${base##*-}
[ -n "$version" ] && [ "$release" != slim ] || die "the Dockerfile's base names no Python version and Debian release: $base"
if [ ! -f "$folder/base.done" ]; then
    echo "prove_image: a clean root of Debian $release in $folder/base"
    rm -rf "$folder/base"
    mmdebstrap --quiet --variant=minbase --include="python$version,python$version-venv,ca-certificates" "$release" "$folder/base"
    for name in python python3; do ln -sf "/usr/bin/python$version" "$folder/base/usr/local/bin/$name"; done
    touch "$folder/base.done"
fi
python3 scripts/prove_image.py "$folder" "$@"
