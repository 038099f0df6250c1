#!/bin/sh
# The main job, shown: installs what is missing (as root), builds ckptd, and lets it serve a real training job: the
# Iris classifier of TensorFlow's tutorial, in C.  The job is killed and resumes, the daemon is killed in mid-save and
# the job goes on, and a network of another shape is refused.  Everything happens in a new folder below TMPDIR.
set -eu

cd "$(dirname "$0")/.."
bold= plain=
if [ -t 1 ] && [ -z "${NO_COLOR-}" ]; then
        bold=$(printf '\033[1m') plain=$(printf '\033[0m')
fi
say() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
show() { sed 's/^/    /' "$@"; }

say 'Installing what is missing, and building (about 1 minute)'
log=$(mktemp)
{
        sh tests/deps.sh build
        [ -f build/release/build.ninja ] || meson setup build/release --buildtype=release
        ninja -C build/release daemon/ckptd daemon/ctl/ckptctl lib/client/examples/iris
} >"$log" 2>&1 || {
        cat "$log"
        exit 1
}
rm -f "$log"

ckptd=build/release/daemon/ckptd
ckptctl=build/release/daemon/ctl/ckptctl
iris=build/release/lib/client/examples/iris
demo=$(mktemp -d "${TMPDIR:-/tmp}/ckptd-demo-XXXXXX")
models=$demo/models/iris
mkdir "$demo/models"
export CKPTD_SOCKET="$demo/ckptd.sock"
daemon= job=

clean_up() {
        [ -z "$job" ] || kill -9 "$job" 2>/dev/null || true
        [ -z "$daemon" ] || kill -9 "$daemon" 2>/dev/null || true
        wait 2>/dev/null || true
        rm -rf "$demo"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

fail() {
        echo "demo: $*" >&2
        cat "$demo/log" >&2
        exit 1
}

cat >"$demo/ckptd.yaml" <<END
policies:
  demo:
    save_checkpoints_secs: 2    # every two seconds,
    save_checkpoints_steps: 200 # or every 200 steps, whichever comes first
    keep_checkpoint_max: 5
model_dirs:
  - {path: $demo/models/*, policy: demo}
END

start_daemon() {
        "$ckptd" --config "$demo/ckptd.yaml" --state "$demo/state" --socket "$CKPTD_SOCKET" \
                2>>"$demo/log" &
        daemon=$!
        until "$ckptctl" status >/dev/null 2>&1; do
                kill -0 "$daemon" 2>/dev/null || fail 'ckptd does not start'
                sleep 0.02
        done
}

# The shell's own words about a killed process stay out of the picture.
kill_hard() {
        kill -9 "$1"
        wait "$1" 2>/dev/null || true
}

start_job() {
        "$iris" --model-dir "$models" --steps "$1" --sleep-ms 1 >"$demo/iris" 2>&1 &
        job=$!
}

# Of the newest checkpoint, from the state file that TensorFlow reads, too; -1 when there is none.
newest_step() {
        newest=$(sed -n 's/^model_checkpoint_path: .*-\([0-9]*\)"$/\1/p' "$models/checkpoint" 2>/dev/null) || newest=
        echo "${newest:--1}"
}

# Waits until a checkpoint of step $1 or later is there.
until_saved() {
        until [ "$(newest_step)" -ge "$1" ]; do
                kill -0 "$job" 2>/dev/null || fail "the job ended early: $(cat "$demo/iris")"
                sleep 0.02
        done
}

is_being_written() {
        set -- "$models"/.ckptd-tmp-*
        [ -e "$1" ]
}

# Stops the daemon where it is when a save is under way; goes on looking when that save was done before it stopped.
stop_in_mid_save() {
        while :; do
                until is_being_written; do
                        kill -0 "$job" 2>/dev/null || return 1
                done
                kill -STOP "$daemon"
                until grep -q '^State:[[:space:]]*T' "/proc/$daemon/status"; do :; done
                ! is_being_written || return 0
                kill -CONT "$daemon"
        done
}

say 'The daemon starts'
start_daemon
"$ckptctl" status | show

say 'A job trains; a save every 200 steps or 2 seconds'
start_job 4000
random=$(od -An -N2 -tu2 /dev/urandom)
until_saved $((400 + random % 800))
kill_hard "$job"
job=
show "$demo/iris"
say 'It was killed with SIGKILL at a random moment; these checkpoints are published:'
"$ckptctl" list "$models" | show
published=$(newest_step)

say 'The job is started again'
start_job 4000
until grep -q '^step ' "$demo/iris"; do
        kill -0 "$job" 2>/dev/null || fail "the job ended early: $(cat "$demo/iris")"
        sleep 0.02
done
show "$demo/iris"
restored=$(sed -n 's/^restored step //p' "$demo/iris")
[ "${restored:--1}" -ge "$published" ] || fail "it did not resume at step $published"
echo "    It goes on at step $restored, the last that was published."

say 'The daemon is killed with SIGKILL in the middle of a save'
if stop_in_mid_save; then
        echo '    Being written at that moment:'
        ls -A "$models" | grep '^\.ckptd-tmp-' | show
else
        echo '    No save was long enough to be met half-way on this machine; it is killed between two.'
fi
at=$(tail -n 1 "$demo/iris")
kill_hard "$daemon"
daemon=
before=$(grep -c '^step ' "$demo/iris")
until [ "$(grep -c '^step ' "$demo/iris")" -gt $((before + 2)) ] || ! kill -0 "$job" 2>/dev/null; do
        sleep 0.02
done
echo "    The job had said \"$at\", and trains on without it:"
tail -n 2 "$demo/iris" | show

say 'The daemon comes back, the job attaches again by itself, and finishes'
start_daemon
rc=0
wait "$job" || rc=$?
job=
{ grep 'attached again' "$demo/log" || true; } | show
tail -n 8 "$demo/iris" | show
[ "$rc" -eq 0 ] || fail "the job ended with $rc"

say 'ckptctl list: what is kept'
"$ckptctl" list "$models" | show
say 'ckptctl history: what happened'
"$ckptctl" history "$models" --limit 12 | show
say 'ckptctl verify: every byte is read, every sum compared'
"$ckptctl" verify "$models" | show

say 'A network of another shape (--hidden-units 20,20) is refused, in TensorFlow'\''s words'
if "$iris" --model-dir "$models" --steps 5000 --hidden-units 20,20 >"$demo/iris" 2>&1; then
        fail 'a network of another shape was accepted'
fi
show "$demo/iris"

kill "$daemon"
wait "$daemon"
daemon=
say 'Done; the daemon has stopped in good order'
