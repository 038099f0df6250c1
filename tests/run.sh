#!/bin/sh
# Builds ckptd and runs its tests; the last line is the sum of all.
#   run.sh [unit|lint|fuzz|tsan|integration|interop|fault]...     without arguments: all of them
# Prints one line a suite and the failures in full.  What it builds lies in build/ and .venv/.
set -eu

cd "$(dirname "$0")/.."
root=$(pwd)
all='unit lint fuzz tsan integration interop fault'
suites=${*:-$all}
reports="$root/build/reports"
rm -rf "$reports"
mkdir -p "$reports"

# A step is something that must work and is no test: it is heard of only when it fails, and counts
# as one failed test then.
step() {
        step_name=$1
        shift
        if "$@" >"$reports/step.log" 2>&1; then
                return 0
        fi
        mv "$reports/step.log" "$reports/$step_name.failed"
        return 1
}

# Is one of these suites asked for?
wanted() {
        for w in "$@"; do
                case " $suites " in
                *" $w "*) return 0 ;;
                esac
        done
        return 1
}

finish() {
        rm -f "$reports/step.log"
        rc=0
        if ! command -v python3 >/dev/null; then
                cat "$reports"/*.failed
                echo '0 passed, 1 failed, 0 skipped'
                exit 1
        fi
        python3 tests/report.py "$reports" || rc=1
        exit "$rc"
}

build() {
        dir="build/$1"
        shift
        if [ ! -f "$dir/build.ninja" ]; then
                rm -rf "$dir"
                meson setup "$dir" "$@" || return 1
        fi
        ninja -C "$dir"
}

# Races are looked for in the worker code alone; the compiler is clang, so that both have warned.
build_tsan() {
        CC=clang build tsan --werror -Db_sanitize=thread -Db_lundef=false
}

make_venv() {
        if cmp -s tests/requirements.txt .venv/installed; then
                return 0
        fi
        rm -rf .venv
        # Debian's own: TensorFlow has no wheels for every Python that may lie before it in PATH.
        /usr/bin/python3 -m venv .venv || return 1
        .venv/bin/pip install --quiet --disable-pip-version-check \
                -r tests/requirements.txt || return 1
        .venv/bin/python -c 'import tensorflow' || return 1
        cp tests/requirements.txt .venv/installed
}

# meson_suite DIR SUITE [WRAPPER...]: the results go to reports/SUITE.json.
meson_suite() {
        dir=$1 suite=$2
        shift 2
        rm -f "$dir/meson-logs/testlog.json"
        "$@" meson test -C "$dir" --no-rebuild --suite "$suite" >"$reports/$suite.log" 2>&1 || true
        if [ -f "$dir/meson-logs/testlog.json" ]; then
                cp "$dir/meson-logs/testlog.json" "$reports/$suite.json"
        else
                mv "$reports/$suite.log" "$reports/$suite.failed"
        fi
}

# pytest_suite SUITE: the results go to reports/SUITE.xml.  5 is pytest's "no tests".
pytest_suite() {
        [ -d "tests/$1" ] || return 0
        rc=0
        .venv/bin/python -m pytest -q --tb=long -p no:cacheprovider -o junit_logging=all \
                --continue-on-collection-errors "--junitxml=$reports/$1.xml" "tests/$1" \
                >"$reports/$1.log" 2>&1 || rc=$?
        if [ "$rc" -gt 1 ] && [ "$rc" -ne 5 ]; then
                cp "$reports/$1.log" "$reports/$1.failed"
        fi
}

# Under high address randomisation TSan cannot place its shadow.
no_randomisation() {
        if setarch -R true 2>/dev/null; then
                setarch -R "$@"
        else
                "$@"
        fi
}

export ASAN_OPTIONS="${ASAN_OPTIONS-detect_stack_use_after_return=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS-halt_on_error=1:print_stacktrace=1}"
export TSAN_OPTIONS="${TSAN_OPTIONS-halt_on_error=1}"

for s in $suites; do
        case " $all " in
        *" $s "*) ;;
        *)
                echo "run.sh: no suite $s; there are: $all" >&2
                exit 2
                ;;
        esac
done

step deps sh tests/deps.sh all || finish
if wanted unit lint fuzz integration interop fault; then
        step build-asan build asan --werror -Db_sanitize=address,undefined -Db_lundef=false || finish
fi
if wanted integration interop fault; then
        step build-release build release --buildtype=release || finish
fi
! wanted unit || meson_suite build/asan unit
! wanted lint || meson_suite build/asan lint
! wanted fuzz || meson_suite build/asan fuzz
! wanted fault || meson_suite build/asan fault
if wanted tsan && step build-tsan build_tsan; then
        meson_suite build/tsan tsan no_randomisation
fi
if wanted integration interop fault && step venv make_venv; then
        export CKPTD_BUILD="$root/build/asan" CKPTD_RELEASE="$root/build/release"
        for suite in integration interop fault; do
                ! wanted "$suite" || pytest_suite "$suite"
        done
fi
finish
