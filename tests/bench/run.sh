#!/bin/sh
# Measures ckptd against what the machine can do, from a release build; one JSON object a line.
#   run.sh [--table] [NAME...]     NAME: a figure ("stall.first") or a group ("stall"); without: all
# --table: a Markdown table instead, with the size of the machine.  BENCH_ROUNDS: rounds measured (7; at least 5).
# Temporary files lie below ${TMPDIR:-/tmp}: what is measured is that file system.
set -eu

cd "$(dirname "$0")/../.."
root=$(pwd)
build="$root/build/release"
programs='stall durable restore step attach rpc idle inspect'

figures_of() {
        case "$1" in
        stall) echo stall stall.first stall.overlap ;;
        durable) echo durable durable.small cpu ;;
        restore) echo restore.memory restore.disk ;;
        step) echo step step.ranks ;;
        attach) echo attach attach.gap ;;
        rpc) echo rpc rpc.pipelined ;;
        idle) echo idle ;;
        inspect) echo inspect verify ;;
        esac
}

# Is $1 among the other arguments?
among() {
        what=$1
        shift
        for w in "$@"; do
                [ "$w" = "$what" ] && return 0
        done
        return 1
}

all=''
for p in $programs; do
        all="$all $(figures_of "$p")"
done

table=''
names=''
for a in "$@"; do
        if [ "$a" = --table ]; then
                table=1
        elif among "$a" $all; then
                names="$names $a"
        elif among "$a" $programs; then
                names="$names $(figures_of "$a")"
        else
                echo "run.sh: no figure $a; there are:$all" >&2
                exit 2
        fi
done
[ -n "$names" ] || names=$all

log=$(mktemp)
if ! {
        sh tests/deps.sh build &&
                { [ -f "$build/build.ninja" ] || meson setup "$build" --buildtype=release; } &&
                ninja -C "$build" daemon/ckptd daemon/ctl/ckptctl bench
} >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        exit 1
fi
rm -f "$log"

TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/ckptd-bench.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 130' INT TERM

run_all() {
        rc=0
        for p in $programs; do
                wanted=''
                for f in $(figures_of "$p"); do
                        ! among "$f" $names || wanted="$wanted $f"
                done
                [ -z "$wanted" ] || "$build/tests/bench/bench-$p" $wanted || rc=1
        done
        return "$rc"
}

if [ -n "$table" ]; then
        rc=0
        run_all >"$TMPDIR/figures" || rc=1
        python3 tests/bench/table.py "$TMPDIR" <"$TMPDIR/figures"
        exit "$rc"
fi
run_all
