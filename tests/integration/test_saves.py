"""When saves happen, what they are called, what is kept of them, and how the job's state gets there."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

import pytest

from conftest import wait_until
from jobs import (Job, attached, checkpoints, details, entry, flip, history, names, policy, run, save,
                  save_at, state_file, steps, wait_state_file, wait_steps)
from varlink_wire import VarlinkError

GOLDEN = pathlib.Path(__file__).parent.parent / "data/golden/tensorflow"
JOBS, ADMIN = "io.ckptd.Jobs", "io.ckptd.Admin"


@pytest.fixture
def m(request):
    """The model directory of the test's daemon."""
    return lambda d: d.models / "m"


def inspect(d, path):
    return json.loads(d.ctl("inspect", path, "--json", check=True).stdout)


def verify(d, directory):
    done = d.ctl("verify", directory, "--quiet")
    assert done.returncode == 0, done.stdout + done.stderr


def restored(d, directory, **options):
    """What a new job restores; drill has compared every byte."""
    code, lines = run(d, directory, **options)
    found = [line for line in lines if line.startswith(("restored", "fresh", "none-whole", "error"))]
    assert found, lines
    return found[0]


# ---- when ----

def test_by_steps_at_exactly_these_steps(ckptd, m):
    d = ckptd(policy(save_checkpoints_steps=10))
    with Job(d, m(d)) as job:
        for step in (10, 20, 30):
            save_at(d, job, m(d), step)
        assert job.train(35) == []
        assert job.finish() == 0
    assert steps(d, m(d)) == [30, 20, 10]
    assert all("due: 10 steps" in t for t in details(d, m(d), "saved"))
    verify(d, m(d))
    assert restored(d, m(d)) == "restored 30"


def test_by_steps_counts_from_what_was_restored(ckptd, m):
    d = ckptd(policy(save_checkpoints_steps=10))
    with Job(d, m(d)) as job:
        job.train(7)
        assert save(job) == 7
        job.finish()
    with Job(d, m(d)) as job:
        job.expect("restored 7")
        save_at(d, job, m(d), 17)


def test_by_steps_with_strides(ckptd, m):
    d = ckptd(policy(save_checkpoints_steps=10))
    with Job(d, m(d), stride=7) as job:
        wait_until(lambda: entry(d, m(d)).get("next_save_step") == 10, "announced")
        assert "handed 14" in job.train(14)


def test_by_seconds(ckptd, m):
    d = ckptd(policy(save_checkpoints_secs=1))
    with Job(d, m(d), steps=10**9) as job:
        job.begin("train 1000000000")
        wait_until(lambda: len(history(d, m(d), "saved")) >= 3, "three saves")
    assert all("due: 1s" in t for t in details(d, m(d), "saved"))
    times = [e["time"] for e in history(d, m(d), "saved")]
    assert times == sorted(times)


def test_by_both_whichever_comes_first(ckptd, m):
    d = ckptd(policy(secs=2, save_checkpoints_steps=100000))
    with Job(d, m(d)) as job:
        job.begin("train 1000000000")
        wait_until(lambda: details(d, m(d), "saved"), "a save by time")
    assert "due: 2s" in details(d, m(d), "saved")[0]
    d.restart(policy(secs="1d", save_checkpoints_steps=10))
    with Job(d, m(d), "--fresh", "--no-restore") as job:
        save_at(d, job, m(d), 10)
    assert "due: 10 steps" in details(d, m(d), "saved")[-1]


def test_at_the_start_of_a_fresh_run_only(ckptd, m):
    d = ckptd(policy(save_on_start=True))
    with Job(d, m(d)) as job:
        job.expect("handed 0")
        assert job.do("wait 0") == ["published 0"]
        job.train(5)
        job.finish()
    assert steps(d, m(d)) == [0]
    assert "due: start" in details(d, m(d), "saved")[0]
    with Job(d, m(d)) as job:
        job.expect("restored 0")
        job.train(5)
        job.finish()
    assert steps(d, m(d)) == [0]


def test_at_the_end(ckptd, m):
    d = ckptd(policy(save_on_end=True))
    with Job(d, m(d)) as job:
        job.train(23)
        assert job.finish() == 0
        assert "finished 23" in job.lines
    assert steps(d, m(d)) == [23]
    assert "due: end" in details(d, m(d), "saved")[0]
    assert restored(d, m(d)) == "restored 23"


def test_the_end_is_not_saved_twice(ckptd, m):
    d = ckptd(policy(save_on_end=True))
    with Job(d, m(d)) as job:
        job.train(5)
        save(job)
        job.finish()
    assert steps(d, m(d)) == [5]


def test_nothing_is_due_when_all_is_off(ckptd, m):
    d = ckptd(policy(save_checkpoints_secs=None))
    with Job(d, m(d)) as job:
        assert job.train(50) == []
        job.finish()
    assert steps(d, m(d)) == []
    assert restored(d, m(d)) == "fresh"


def test_asked_for(ckptd, m):
    d = ckptd(policy())
    with Job(d, m(d)) as job:
        job.train(5)
        done = d.ctl("save", m(d), check=True)
        assert done.stdout == f"asked for a save: {m(d)}\n"
        assert job.train(6) == ["handed 6"]
        assert job.do("wait 6") == ["published 6"]
        job.begin("train 1000000000")
        done = d.ctl("save", m(d), "--wait", check=True)
        found = re.fullmatch(rf"saved step (\d+): {m(d)}/model.ckpt-(\d+)\n", done.stdout)
        assert found and found.group(1) == found.group(2)
        assert int(found.group(1)) == steps(d, m(d))[0] > 6
    asked = history(d, m(d), "asked")
    assert len(asked) == 2 and "(uid " in asked[0]["detail"]
    assert all("asked by" in t for t in details(d, m(d), "saved"))


def test_asked_for_by_all(ckptd):
    d = ckptd(policy())
    with Job(d, d.models / "a") as a, Job(d, d.models / "b") as b:
        a.begin("train 1000000000")
        b.begin("train 1000000000")
        assert d.ctl("save", "--all", "--wait", check=True).stdout == "saved 2 jobs\n"
        assert len(steps(d, d.models / "a")) == len(steps(d, d.models / "b")) == 1


def test_asking_where_nobody_saves(ckptd, m):
    d = ckptd(policy())
    nowhere = d.models / "nowhere"
    done = d.ctl("save", nowhere)
    assert (done.returncode, done.stdout) == (1, "") and str(nowhere) in done.stderr
    with Job(d, m(d)) as job:
        job.train(1)
        save(job)
        job.finish()
    done = d.ctl("save", m(d), "--wait")
    assert done.returncode == 1 and "no job is attached" in done.stderr


def test_waiting_for_a_job_that_does_not_step(ckptd, m):
    d = ckptd(policy())
    with Job(d, m(d)):
        done = d.ctl("save", m(d), "--wait", "--timeout", "1s")
        assert done.returncode == 5 and str(m(d)) in done.stderr


def test_waiting_shows_progress(ckptd, m):
    d = ckptd(policy())
    with Job(d, m(d)) as job, d.connect() as c:
        job.begin("train 1000000000")
        replies = list(c.more(f"{ADMIN}.Save", {"model_dir": str(m(d)), "wait": True}))
        assert len(replies) > 1
        assert all(0 <= r["progress"] <= 1 for r in replies[:-1])
        assert replies[-1]["path"] == f"{m(d)}/model.ckpt-{replies[-1]['step']}"


def test_the_job_dies_while_somebody_waits(ckptd, m):
    d = ckptd(policy())
    with Job(d, m(d)) as job:
        waiting = subprocess.Popen(
            [*d.ctl("--help").args[:3], "save", str(m(d)), "--wait"], stderr=subprocess.PIPE, text=True,
            env=d.env)
        wait_until(lambda: history(d, m(d), "asked"), "asked")
        job.kill()
        _, errors = waiting.communicate(timeout=60)
        assert waiting.returncode == 1 and "the job has ended" in errors


def test_waiting_for_what_was_never_handed_off(ckptd, m):
    """A step that is announced and not reached: the one who waits is the one who would reach it."""
    d = ckptd(policy(save_checkpoints_steps=10))
    with Job(d, m(d)) as job:
        save_at(d, job, m(d), 10)
        wait_until(lambda: entry(d, m(d)).get("next_save_step") == 20, "told ahead")
        [said] = job.do("wait 20")
        assert said.startswith("error wait: ") and "no save was handed off" in said
        save_at(d, job, m(d), 20)


# ---- one at a time ----

def test_never_two_in_flight(ckptd, m):
    """A job that steps much faster than its saves are written: they follow one another, none is lost."""
    d = ckptd(policy(save_checkpoints_steps=1, keep_checkpoint_max=3))
    with Job(d, m(d), bytes=1 << 20, us=0) as job:
        job.begin("train 1000000000")
        wait_until(lambda: len(history(d, m(d), "saved")) >= 8, "eight saves")
    saved = [e["step"] for e in history(d, m(d), "saved")]
    assert saved == sorted(set(saved))
    assert details(d, m(d), "skipped") == []
    wait_until(lambda: not attached(d, m(d)), "the job is gone")
    verify(d, m(d))


def test_when_busy_skip(ckptd, m):
    """What falls due while a save is written is passed over, and said."""
    d = ckptd(policy(save_checkpoints_steps=1, when_busy="skip"))
    with Job(d, m(d), bytes=1 << 20, us=100) as job:
        job.begin("train 1000000000")
        wait_until(lambda: len(history(d, m(d), "skipped")) >= 2, "two that were skipped")
    assert "due: 1 step" in details(d, m(d), "skipped")[0]
    assert "being written" in details(d, m(d), "skipped")[0]


def test_the_job_saves_one_step_twice(ckptd, m):
    d = ckptd(policy())
    with Job(d, m(d)) as job:
        job.train(5)
        for _ in range(5):
            assert save(job) == 5
        job.train(6)
        assert save(job) == 6
        job.finish()
    assert steps(d, m(d)) == [6, 5]
    assert [e["step"] for e in history(d, m(d), "saved")] == [5, 6]
    assert set(details(d, m(d), "skipped")) == {"asked by the job: already saved"}


# ---- names ----

def test_a_rollback_publishes_under_the_same_name(ckptd, m):
    d = ckptd(policy(save_checkpoints_steps=10))
    with Job(d, m(d)) as job:
        for step in (10, 20, 30):
            save_at(d, job, m(d), step)
        job.finish()
    with Job(d, m(d), "--from", "20") as job:
        job.expect("restored 20")
        assert steps(d, m(d), "superseded") == [30], (checkpoints(d, m(d)), job.output(), d.log())
        assert steps(d, m(d)) == [20, 10]
        assert d.ctl("latest", m(d), check=True).stdout == f"{m(d)}/model.ckpt-20\n"
        save_at(d, job, m(d), 30)
        job.finish()
    assert steps(d, m(d)) == [30, 20, 10]
    assert [c["path"] for c in checkpoints(d, m(d))][0] == f"{m(d)}/model.ckpt-30"
    assert checkpoints(d, m(d))[0]["run"] == 2
    assert not any((m(d) / ".ckptd/replaced").iterdir())
    assert "replaced by run 2" in details(d, m(d), "evicted")
    wait_state_file(m(d), ("model.ckpt-30", ["model.ckpt-10", "model.ckpt-20", "model.ckpt-30"]))
    verify(d, m(d))
    assert restored(d, m(d)) == "restored 30"


def test_superseded_ones_are_never_latest_and_not_counted(ckptd, m):
    d = ckptd(policy(save_checkpoints_steps=10, keep_checkpoint_max=3))
    with Job(d, m(d)) as job:
        for step in (10, 20, 30, 40):
            save_at(d, job, m(d), step)
        job.finish()
    wait_steps(d, m(d), [40, 30, 20])
    with Job(d, m(d), "--from", "20") as job:
        job.expect("restored 20")
        assert sorted(steps(d, m(d), "superseded")) == [30, 40]
        job.train(25)
        assert save(job) == 25
        job.finish()
    # Step 20 is still among the newest three; the superseded ones went.
    wait_steps(d, m(d), [25, 20])
    assert sorted(t for t in details(d, m(d), "evicted")) == [
        "older than the newest 3", "superseded by run 2", "superseded by run 2"]
    assert restored(d, m(d)) == "restored 25"


def edit_record(directory, name, **values):
    """As pin and the like write them; no daemon may be running."""
    path = directory / f".ckptd/checkpoints/{name}.json"
    record = json.loads(path.read_text())
    record.update(values)
    path.write_text(json.dumps(record))


@pytest.mark.parametrize("why", ["pinned", "damaged", "adopted"])
def test_what_must_stay_keeps_its_name(ckptd, m, why):
    d = ckptd(policy(save_checkpoints_steps=10))
    with Job(d, m(d)) as job:
        save_at(d, job, m(d), 10)
        save_at(d, job, m(d), 20)
        job.finish()
    d.stop()
    if why == "pinned":
        edit_record(m(d), "model.ckpt-20", pin={"by": "alice", "reason": "demo"})
    elif why == "adopted":
        (m(d) / ".ckptd/checkpoints/model.ckpt-20.json").unlink()
    else:
        flip(m(d) / "model.ckpt-20.data-00000-of-00001")
    old = (m(d) / "model.ckpt-20.data-00000-of-00001").read_bytes()
    d.start()
    if why == "damaged":
        assert d.ctl("verify", m(d)).returncode == 1
    with Job(d, m(d), "--from", "10") as job:
        job.expect("restored 10")
        save_at(d, job, m(d), 20)
        job.finish()
    assert (m(d) / "model.ckpt-20.data-00000-of-00001").read_bytes() == old
    assert d.ctl("latest", m(d), check=True).stdout == f"{m(d)}/model.ckpt-20-r2\n"
    assert f"{m(d)}/model.ckpt-20" in [c["path"] for c in checkpoints(d, m(d))]
    assert restored(d, m(d)) == "restored 20"


def test_a_name_of_ones_own(ckptd, m):
    d = ckptd(policy())
    with Job(d, m(d), values='{"checkpoint_name": "weights"}') as job:
        job.train(3)
        save(job)
        job.finish()
    assert names(m(d)) == ["weights-3.data-00000-of-00001", "weights-3.index"]
    assert state_file(m(d)) == ("weights-3", ["weights-3"])
    assert restored(d, m(d)) == "restored 3"


# ---- what is kept ----

@pytest.mark.parametrize("n", [1, 3])
def test_the_newest_n(ckptd, m, n):
    d = ckptd(policy(save_checkpoints_steps=10, keep_checkpoint_max=n))
    with Job(d, m(d)) as job:
        for step in range(10, 80, 10):
            save_at(d, job, m(d), step)
            kept = [s for s in range(step, 0, -10)][:n]
            wait_steps(d, m(d), kept)
            wait_state_file(m(d), (f"model.ckpt-{step}", [f"model.ckpt-{s}" for s in reversed(kept)]))
        job.finish()
    assert len(names(m(d))) == 2 * n
    assert len(list((m(d) / ".ckptd/checkpoints").iterdir())) == n
    assert set(details(d, m(d), "evicted")) == {f"older than the newest {n}"}
    verify(d, m(d))


@pytest.mark.parametrize("all_of_them", [0, None])
def test_all_are_kept(ckptd, m, all_of_them):
    d = ckptd(policy(save_checkpoints_steps=1, keep_checkpoint_max=all_of_them))
    with Job(d, m(d)) as job:
        for step in range(1, 9):
            save_at(d, job, m(d), step)
        job.finish()
    assert steps(d, m(d)) == list(range(8, 0, -1))
    assert checkpoints(d, m(d))[0]["kept_by"] == ["all are kept"]
    assert len(state_file(m(d))[1]) == 8


def test_one_every_n_hours_for_good(ckptd, m):
    """Preserved: n hours (here 1.8 s) or more after the last one that was, or after the first."""
    hours, n_ms = 0.0005, 1800
    d = ckptd(policy(save_checkpoints_secs=1, keep_checkpoint_max=1,
                     keep_checkpoint_every_n_hours=hours))
    with Job(d, m(d)) as job:
        job.begin("train 1000000000")
        wait_until(lambda: len([c for c in checkpoints(d, m(d)) if "every" in str(c["kept_by"])]) >= 2,
                   "two that are preserved")
    wait_until(lambda: not attached(d, m(d)), "the job is gone")
    saved = {e["step"]: e for e in history(d, m(d), "saved")}
    evicted = {e["step"] for e in history(d, m(d), "evicted")}
    kept = sorted(c["step"] for c in checkpoints(d, m(d)))
    times = {s: published_ms(m(d), s) for s in kept}
    preserved = [s for s in kept if record(m(d), s)["preserved"]]
    assert len(preserved) >= 2 and evicted
    assert all(times[b] - times[a] >= n_ms for a, b in zip(preserved, preserved[1:]))
    assert set(saved) == evicted | set(kept)
    # Those that are preserved stand in no state file: an Estimator would delete them.
    assert state_file(m(d))[1] == [f"model.ckpt-{kept[-1]}"]
    d.restart(policy(keep_checkpoint_max=1, save_checkpoints_steps=1))
    with Job(d, m(d)) as job:
        step = int(job.expect("restored").split()[1]) + 1
        save_at(d, job, m(d), step)
        job.finish()
    wait_steps(d, m(d), [step, *reversed(preserved)])
    assert checkpoints(d, m(d))[-1]["kept_by"] == ["preserved by an earlier policy"]


def record(directory, step):
    return json.loads((directory / f".ckptd/checkpoints/model.ckpt-{step}.json").read_text())


def published_ms(directory, step):
    return record(directory, step)["published_ms"]


# ---- how the state gets there ----

def test_safetensors(ckptd, m):
    d = ckptd(policy(format="safetensors", save_checkpoints_steps=10, keep_checkpoint_max=2))
    with Job(d, m(d)) as job:
        for step in (10, 20, 30):
            save_at(d, job, m(d), step)
        job.finish()
    wait_steps(d, m(d), [30, 20])
    assert names(m(d)) == ["model.ckpt-20.safetensors", "model.ckpt-30.safetensors"]
    assert state_file(m(d)) is None
    assert inspect(d, m(d))["format"] == "safetensors"
    verify(d, m(d))
    assert restored(d, m(d)) == "restored 30"
    d.restart()
    assert restored(d, m(d)) == "restored 30"


@pytest.mark.parametrize("how", [
    {"callback": True, "no_restore": True}, {"overlap": True},
    {"overlap": True, "callback": True, "no_restore": True}])
@pytest.mark.parametrize("size", [300, 3 << 20])
def test_copies(ckptd, m, how, size):
    """By the job's own callback, in the background, both; small tensors and large ones."""
    d = ckptd(policy(save_checkpoints_steps=10))
    with Job(d, m(d), bytes=size, **how) as job:
        save_at(d, job, m(d), 10)
        save_at(d, job, m(d), 20)
        job.finish()
    verify(d, m(d))
    assert restored(d, m(d), bytes=size) == "restored 20"
    d.restart()
    assert restored(d, m(d), bytes=size) == "restored 20"


def test_tensors_that_appear_after_the_first_step(ckptd, m):
    d = ckptd(policy())
    with Job(d, m(d)) as job:
        job.train(1)
        save(job)
        assert job.do("describe 6") == ["described 6"]
        job.train(2)
        assert save(job) == 2
        job.train(3)
        assert save(job) == 3
        job.finish()
    assert len(inspect(d, m(d) / "model.ckpt-1")["tensors"]) == 3
    assert len(inspect(d, m(d) / "model.ckpt-3")["tensors"]) == 6
    verify(d, m(d))
    assert restored(d, m(d), tensors=6, bytes=8192) == "restored 3"
    # Step by step: attached with the first ones, described, then restored.
    with Job(d, m(d), "--no-restore") as job:
        assert job.do("describe 6") == ["described 6"]
        assert job.do("restore") == ["restored 3"]
        save_after = job.train(4)
        assert save_after == []
        assert save(job) == 4
    verify(d, m(d))


def test_describe_while_a_save_is_written(ckptd, m):
    d = ckptd(policy(save_checkpoints_steps=1))
    with Job(d, m(d), bytes=4 << 20, us=0, grow_at=5) as job:
        lines = job.train(40)
        assert "described 6" in lines and not [line for line in lines if line.startswith("error")]
        job.finish()
    verify(d, m(d))
    assert restored(d, m(d), tensors=6, bytes=8 << 20).startswith("restored")


# ---- memory ----

STATE = 3 << 20


def test_memory_for_one_slot(ckptd, m):
    d = ckptd("memory_max: 5MiB\n" + policy(save_checkpoints_steps=10))
    with Job(d, m(d), bytes=STATE, attached=False) as job:
        said = job.expect("attached")
        assert "memory for one slot only" in said and "5.0 MiB" in said
        assert d.call("Status")["slots"] == 1
        for step in (10, 20, 30):
            save_at(d, job, m(d), step)
        job.finish()
    assert "memory for one slot only" in d.log()
    verify(d, m(d))
    d.restart()
    assert restored(d, m(d), bytes=STATE) == "restored 30"


def test_memory_for_one_slot_while_it_is_written(ckptd, m):
    d = ckptd("memory_max: 5MiB\n" + policy(save_checkpoints_steps=1))
    with Job(d, m(d), bytes=STATE, us=100) as job:
        job.begin("train 1000000000")
        wait_until(lambda: len(history(d, m(d), "saved")) >= 5, "five saves")
    wait_until(lambda: not attached(d, m(d)), "the job is gone")
    verify(d, m(d))
    assert restored(d, m(d), bytes=STATE).startswith("restored")


def test_memory_for_no_slot(ckptd, m):
    """The state goes through a window, in several pieces, while the job waits."""
    d = ckptd("memory_max: 1MiB\n" + policy(save_checkpoints_steps=10, save_on_end=True))
    with Job(d, m(d), bytes=STATE, attached=False) as job:
        said = job.expect("attached")
        assert "no memory for a slot" in said and "1.0 MiB" in said
        assert d.call("Status")["memory_used"] <= 1 << 20
        for step in (10, 20):
            save_at(d, job, m(d), step)
        job.train(25)
        assert save(job) == 25
        job.train(28)
        assert job.finish() == 0
        assert "finished 28" in job.lines
    assert steps(d, m(d)) == [28, 25, 20, 10]
    verify(d, m(d))
    assert restored(d, m(d), bytes=STATE) == "restored 28"


def test_memory_that_another_job_has(ckptd):
    d = ckptd("memory_max: 8MiB\n" + policy())
    with Job(d, d.models / "a", bytes=STATE, attached=False) as a:
        assert a.expect("attached") == "attached "
        with Job(d, d.models / "b", bytes=STATE, attached=False) as b:
            assert "left of memory_max 8.0 MiB" in b.expect("attached")
            b.train(2)
            save(b)
            b.finish()
    verify(d, d.models / "b")


def test_memory_that_only_an_ended_job_has(ckptd):
    """What it left there for its next run is on disk too, and goes before a job that lives gets less."""
    d = ckptd("memory_max: 8MiB\n" + policy(save_checkpoints_steps=10))
    for name in "a", "b", "c":
        with Job(d, d.models / name, bytes=STATE, attached=False) as job:
            assert job.expect("attached") == "attached "
            save_at(d, job, d.models / name, 10)
        wait_until(lambda: not attached(d, d.models / name), "the job is gone")
    with Job(d, d.models / "c", bytes=STATE) as job:
        assert job.expect("restored") == "restored 10"
    assert "from memory" in d.ctl("history", d.models / "c").stdout
    assert d.call("Status")["memory_used"] <= 8 << 20


# ---- several jobs ----

def test_a_second_job_is_refused_with_the_pid(ckptd, m):
    d = ckptd(policy())
    with Job(d, m(d)) as first:
        code, lines = run(d, m(d))
        assert code == 1 and str(first.pid) in lines[0] and "saves into it" in lines[0], lines
        first.train(3)
        save(first)
        first.kill()
        with Job(d, m(d)) as second:
            second.expect("restored 3")


def test_a_new_job_of_the_same_process_takes_over(ckptd, m):
    d = ckptd(policy())
    with Job(d, m(d)) as job:
        job.train(3)
        save(job)
        assert job.do("again") == ["attached "]
        assert job.do("restore") == ["restored 3"]
        for step in (4, 5, 6):
            job.train(step)
            assert save(job) == step
        assert job.finish() == 0
    assert steps(d, m(d)) == [6, 5, 4, 3]
    assert [c["run"] for c in checkpoints(d, m(d))] == [2, 2, 2, 1]


def test_readers_beside_a_job(ckptd, m):
    d = ckptd(policy())
    with Job(d, m(d), bytes=1 << 20) as job:
        job.train(3)
        save(job)
        for _ in range(3):
            code, lines = run(d, m(d), "--read-only", bytes=1 << 20)
            assert code == 0 and "restored 3" in lines
        assert attached(d, m(d))
        code, lines = run(d, m(d), bytes=1 << 20)
        assert code == 1 and str(job.pid) in lines[0]
        job.train(4)
        assert save(job) == 4
        job.finish()


def test_readers_while_the_job_saves(ckptd, m):
    d = ckptd(policy(save_checkpoints_steps=1, keep_checkpoint_max=1))
    with Job(d, m(d), bytes=1 << 20) as job:
        job.begin("train 1000000000")
        wait_until(lambda: steps(d, m(d)), "a checkpoint")
        last = 0
        for _ in range(10):
            code, lines = run(d, m(d), "--read-only", bytes=1 << 20)
            found = [line for line in lines if line.startswith("restored ")]
            assert code == 0 and found, lines
            assert int(found[0].split()[1]) >= last
            last = int(found[0].split()[1])


def test_the_daemon_stops_beside_an_idle_reader(ckptd, m):
    d = ckptd(policy())
    with Job(d, m(d)) as job:
        job.train(3)
        save(job)
        job.finish()
    with d.connect() as reader:
        reader.call(f"{JOBS}.Attach", {"model_dir": str(m(d)), "read_only": True})
        d.stop()


# ---- jobs that cannot pass descriptors ----

def copy_bundle(directory, step):
    """As TensorFlow's Saver leaves one."""
    for suffix in ("data-00000-of-00001", "index"):
        shutil.copy(GOLDEN / f"saver/model.ckpt-20.{suffix}", directory / f"model.ckpt-{step}.{suffix}")


class Plain:
    """A job of another language: no descriptors, its own files."""

    def __init__(self, d, directory, **more):
        directory.mkdir(exist_ok=True)
        self.directory, self.wire = directory, d.connect()
        self.reply = self.wire.call(f"{JOBS}.Attach", {"model_dir": str(directory), **more})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()

    def step(self, n):
        return self.wire.call(f"{JOBS}.Step", {"step": n})

    def commit(self, step, path):
        return self.wire.call(f"{JOBS}.Commit", {"step": step, "path": str(path)})


def test_a_job_that_writes_its_own_files(ckptd, m):
    d = ckptd(policy(save_checkpoints_steps=20))
    with Plain(d, m(d)) as job:
        assert job.reply["mode"] == "commit"
        assert job.reply.get("page_fd") is None
        assert not job.step(1)["due"] and not job.step(19)["due"]
        due = job.step(20)
        assert due["due"] and due["reason"] == "due: 20 steps"
        copy_bundle(m(d), 20)
        job.commit(20, m(d) / "model.ckpt-20")
        assert not job.step(21)["due"] and not job.step(39)["due"]
        assert job.step(40)["due"]
        copy_bundle(m(d), 40)
        job.commit(40, "model.ckpt-40")
        job.wire.call(f"{JOBS}.Detach")
    assert steps(d, m(d)) == [40, 20]
    assert [c["origin"] for c in checkpoints(d, m(d))] == ["committed", "committed"]
    assert d.ctl("latest", m(d), check=True).stdout == f"{m(d)}/model.ckpt-40\n"
    assert [e["step"] for e in history(d, m(d), "saved")] == [20, 40]
    wait_state_file(m(d), ("model.ckpt-40", ["model.ckpt-20", "model.ckpt-40"]))
    d.restart()
    assert [c["origin"] for c in checkpoints(d, m(d))] == ["committed", "committed"]
    with d.connect() as c:
        c.call(f"{JOBS}.Attach", {"model_dir": str(m(d)), "read_only": True,
                                  "manifest": tensors_of(d, m(d) / "model.ckpt-40")})
        found = c.call(f"{JOBS}.Restore")
        assert found["found"] and found["checkpoint"] == "model.ckpt-40"


def tensors_of(d, path):
    return [{k: t[k] for k in ("name", "dtype", "shape")} for t in inspect(d, path)["tensors"]
            if t["dtype"] != "string"]


def test_what_such_a_job_writes_is_retained_like_any_other(ckptd, m):
    d = ckptd(policy(keep_checkpoint_max=2))
    with Plain(d, m(d)) as job:
        for step in (1, 2, 3):
            copy_bundle(m(d), step)
            job.commit(step, f"model.ckpt-{step}")
    wait_steps(d, m(d), [3, 2])
    assert not (m(d) / "model.ckpt-1.index").exists()


def test_asking_such_a_job(ckptd, m):
    d = ckptd(policy())
    with Plain(d, m(d)) as job:
        job.step(5)
        d.ctl("save", m(d), check=True)
        due = job.step(6)
        assert due["due"] and due["reason"].startswith("asked by")
        copy_bundle(m(d), 6)
        job.commit(6, "model.ckpt-6")
        assert not job.step(7)["due"]
    assert steps(d, m(d)) == [6]


def test_rubbish_is_not_recorded(ckptd, m):
    d = ckptd(policy())
    with Plain(d, m(d)) as job:
        (m(d) / "model.ckpt-1.index").write_bytes(b"rubbish" * 100)
        (m(d) / "model.ckpt-1.data-00000-of-00001").write_bytes(b"rubbish" * 100)
        copy_bundle(m(d), 2)
        flip(m(d) / "model.ckpt-2.data-00000-of-00001")
        copy_bundle(m(d), 3)
        (m(d) / "model.ckpt-3.data-00000-of-00001").unlink()
        outside = d.models / "outside"
        outside.mkdir()
        copy_bundle(outside, 4)
        for step, path in [(1, "model.ckpt-1"), (2, "model.ckpt-2"), (3, "model.ckpt-3"),
                           (4, outside / "model.ckpt-4"), (4, "../outside/model.ckpt-4"), (5, "model.ckpt-5"),
                           (5, m(d)), (5, ".ckptd/directory.json")]:
            with pytest.raises(VarlinkError) as e:
                job.commit(step, path)
            assert e.value.error.rsplit(".", 1)[1] in ("Failed", "InvalidParameter"), path
        copy_bundle(m(d), 6)
        job.commit(6, "model.ckpt-6")
    assert steps(d, m(d)) == [6]


def test_such_a_job_writes_a_name_again(ckptd, m):
    d = ckptd(policy())
    for _ in range(2):
        with Plain(d, m(d)) as job:
            copy_bundle(m(d), 20)
            job.commit(20, "model.ckpt-20")
    assert steps(d, m(d)) == [20]
    assert checkpoints(d, m(d))[0]["run"] == 2


# ---- whose policy ----

def in_force(d, directory):
    return entry(d, directory)["policy"]


MINE = "policies:\n  mine: {save_checkpoints_steps: 5}\n  other: {save_checkpoints_steps: 7}\n"


def test_model_dirs_decide_over_the_job(ckptd):
    d = ckptd(start=False)
    d.write_settings(MINE + f"model_dirs:\n  - {{path: {d.models}/a*, policy: mine}}\n")
    d.start()
    with Job(d, d.models / "a1", policy="other", attached=False) as job:
        job.expect("attached")
        assert in_force(d, d.models / "a1") == "mine"
    with Job(d, d.models / "b1", policy="other") as job:
        assert in_force(d, d.models / "b1") == "other"
    with Job(d, d.models / "b2") as job:
        assert in_force(d, d.models / "b2") == "normal"
    with Job(d, d.models / "b3", policy="nonsense", attached=False) as job:
        said = job.expect("attached")
        assert "no policy nonsense; known:" in said and "mine" in said
        assert in_force(d, d.models / "b3") == "normal"


def test_values_of_the_job(ckptd):
    d = ckptd(start=False)
    d.write_settings(MINE + f"model_dirs:\n"
                     f"  - {{path: {d.models}/closed, policy: mine}}\n"
                     f"  - {{path: {d.models}/open, policy: mine, jobs_may_set: [save_checkpoints_steps]}}\n")
    d.start()
    values = '{"save_checkpoints_steps": 3, "checkpoint_name": "w", "save_on_start": false}'
    with Job(d, d.models / "free", values=values) as job:
        save_at(d, job, d.models / "free", 3)
        assert (d.models / "free/w-3.index").exists()
    with Job(d, d.models / "closed", values=values, attached=False) as job:
        said = job.expect("attached") + job.expect("")
        assert f"save_checkpoints_steps is ignored: policy mine at {d.config}:" in said
        assert "save_on_start is ignored" in job.output()
        assert "checkpoint_name is ignored" not in job.output()
    assert "save_checkpoints_steps is ignored" in d.log()
    with Job(d, d.models / "open", values='{"save_checkpoints_steps": 3, "checkpoint_name": "w"}',
             attached=False) as job:
        assert "checkpoint_name is ignored" in job.expect("attached")
        wait_until(lambda: "next_save_step" in entry(d, d.models / "open"), "announced")


@pytest.mark.parametrize("values, said", [
    ('{"save_checkpoint_steps": 3}', "did you mean save_checkpoints_steps?"),
    ('{"keep_checkpoint_max": -1}', "keep_checkpoint_max"),
    ('{"format": "tar"}', "format"),
    ('{"when_busy": "panic"}', "when_busy"),
])
def test_wrong_values_are_named_and_ignored(ckptd, m, values, said):
    d = ckptd(policy())
    with Job(d, m(d), values=values, attached=False) as job:
        line = job.expect("attached")
        assert "ignored" in line and said in line
        job.train(1)
        save(job)


# ---- reload ----

@pytest.mark.parametrize("by", ["signal", "ctl"])
def test_a_reload_acts_on_attached_jobs(ckptd, m, by):
    d = ckptd(policy(save_checkpoints_steps=1000))
    with Job(d, m(d)) as job:
        wait_until(lambda: entry(d, m(d)).get("next_save_step") == 1000, "announced")
        job.train(5)
        d.write_settings(policy(save_checkpoints_steps=10, keep_checkpoint_max=1))
        if by == "signal":
            d.send_signal(signal.SIGHUP)
        else:
            said = d.ctl("reload", check=True).stdout
            assert f"{m(d)}: save_checkpoints_steps 1000 -> 10\n" in said
            assert f"{m(d)}: keep_checkpoint_max 5 -> 1\n" in said
        save_at(d, job, m(d), 10)
        save_at(d, job, m(d), 20)
        wait_steps(d, m(d), [20])
    assert "save_checkpoints_steps 1000 -> 10" in str(details(d, m(d), "reloaded"))


def test_a_reload_says_what_will_go(ckptd, m):
    d = ckptd(policy(save_checkpoints_steps=1))
    with Job(d, m(d)) as job:
        for step in range(1, 5):
            save_at(d, job, m(d), step)
        d.write_settings(policy(save_checkpoints_steps=1, keep_checkpoint_max=2))
        said = d.ctl("reload", check=True).stdout
        assert re.search(rf"{m(d)}: 2 checkpoints, [\d.]+ KiB, go after the next save\n", said)
        # Nothing goes before.
        assert steps(d, m(d)) == [4, 3, 2, 1]
        save_at(d, job, m(d), 5)
        wait_steps(d, m(d), [5, 4])


def test_a_reload_of_broken_settings_changes_nothing(ckptd, m):
    d = ckptd(policy(save_checkpoints_steps=10))
    with Job(d, m(d)) as job:
        wait_until(lambda: entry(d, m(d)).get("next_save_step") == 10, "announced")
        d.write_settings(policy(save_checkpoints_steps=3, keep_checkpoint_maks=1))
        done = d.ctl("reload")
        assert done.returncode == 1
        assert re.search(rf"{d.config}:\d+:\d+: unknown key keep_checkpoint_maks; did you mean "
                         "keep_checkpoint_max?", done.stderr)
        assert "nothing was changed" in done.stderr
        assert "keep_checkpoint_maks" in d.ctl("status", check=True).stdout
        save_at(d, job, m(d), 10)
        d.write_settings(policy(save_checkpoints_steps=10))
        assert d.ctl("reload", check=True).stdout == "Read anew; nothing has changed.\n"
        assert "Problems: none" in d.ctl("status", check=True).stdout


def test_broken_settings_at_a_restart(ckptd, m):
    """The last good ones are used, and nothing is evicted until the file is good again."""
    d = ckptd(policy(save_checkpoints_steps=1, keep_checkpoint_max=2))
    with Job(d, m(d)) as job:
        for step in (1, 2, 3):
            save_at(d, job, m(d), step)
        wait_steps(d, m(d), [3, 2])
        job.finish()
    d.stop()
    d.write_settings(policy(save_checkpoints_steps=1, keep_checkpoint_maks=1))
    d.start()
    with Job(d, m(d)) as job:
        job.expect("restored 3")
        for step in (4, 5):
            save_at(d, job, m(d), step)
        assert steps(d, m(d)) == [5, 4, 3, 2]
        problems = d.call("Status")["problems"]
        assert len(problems) == 1 and "last good settings" in problems[0]["text"]
        d.write_settings(policy(save_checkpoints_steps=1, keep_checkpoint_max=2))
        d.ctl("reload", check=True)
        assert d.call("Status")["problems"] == []
        save_at(d, job, m(d), 6)
        wait_steps(d, m(d), [6, 5])


def test_broken_policies_d_at_a_restart(ckptd):
    """What loaded last is kept with all its files."""
    d = ckptd(start=False, policies={"10-mine.yaml": "policies:\n  mine: {save_checkpoints_steps: 5}\n"})
    m = d.models / "m"
    d.write_settings(f"model_dirs:\n  - {{path: {m}, policy: mine}}\n")
    d.start()
    assert f"Settings  {d.config} + 1 in policies.d, loaded" in d.ctl("status", check=True).stdout
    d.stop()
    broken = d.config.parent / "policies.d/10-mine.yaml"
    broken.write_text("policies:\n  mine: {save_checkpoints_steps: many}\n")
    d.start()
    with Job(d, m) as job:
        assert in_force(d, m) == "mine"
        save_at(d, job, m, 5)
    assert f"{broken}:2:" in d.ctl("status", check=True).stdout
    assert "as it last loaded" in d.ctl("status", check=True).stdout
    d.restart()
    assert f"{broken}:2:" in d.log()
    broken.unlink()
    d.write_settings("")
    d.restart()
    assert "Problems: none" in d.ctl("status", check=True).stdout
