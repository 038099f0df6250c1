#!/bin/sh
# Installs the Debian packages that ckptd needs.   deps.sh build|all
# build: to build it and run the demo; all: to run every test too.
# Where all of them are installed already, it only looks.
set -eu

build='meson ninja-build pkg-config gcc libc6-dev libuv1-dev libyaml-dev libsqlite3-dev
libjansson-dev libisal-dev libprotobuf-c-dev protobuf-c-compiler libcmocka-dev libsmartcols-dev
nettle-dev scdoc python3 python3-venv'
tests='clang clang-format clang-tidy libclang-rt-14-dev sqlite3 e2fsprogs xfsprogs btrfs-progs
util-linux procps'

case "${1-}" in
build) packages="$build" ;;
all) packages="$build $tests" ;;
*)
        echo 'usage: deps.sh build|all' >&2
        exit 2
        ;;
esac

if ! command -v dpkg-query >/dev/null; then
        echo "deps.sh: this is no Debian; install what these packages hold:" $packages >&2
        exit 1
fi

missing=''
for p in $packages; do
        case "$(dpkg-query -W -f='${db:Status-Status}' "$p" 2>/dev/null || true)" in
        installed) ;;
        *) missing="$missing $p" ;;
        esac
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
        echo "deps.sh: not root; run: apt-get install$missing" >&2
        exit 1
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "deps.sh: installing$missing"
if ! { apt-get update && apt-get install -y --no-install-recommends $missing; } >"$log" 2>&1; then
        cat "$log" >&2
        echo "deps.sh: could not install$missing" >&2
        exit 1
fi
