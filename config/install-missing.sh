#!/bin/sh
# install-missing.sh FILE DIR: into DIR below DESTDIR, unless it is there: what was edited stays.
set -eu

to="${DESTDIR-}$2/$(basename "$1")"
[ ! -e "$to" ] || exit 0
install -D -m 0644 "$1" "$to"
[ -n "${MESON_INSTALL_QUIET-}" ] || echo "Installing $1 to $(dirname "$to")"
