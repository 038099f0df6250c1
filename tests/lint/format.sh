#!/bin/sh
# clang-format finds nothing to change.   format.sh ROOT
set -eu
cd "$1"
if ! out=$(find lib daemon tests -name '*.[ch]' -print0 |
        xargs -0 -r clang-format --dry-run -Werror 2>&1); then
        echo "$out" | grep -v '^ ' >&2
        exit 1
fi
