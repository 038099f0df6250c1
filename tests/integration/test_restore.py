"""What a job gets back, what is said of checkpoints that are not whole, and whose directory it is."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from conftest import wait_until
from jobs import (Job, attached, checkpoints, details, entry, flip, history, names, policy, run, save,
                  state_file, steps, wait_state_file, wait_steps)
from varlink_wire import VarlinkError

GOLDEN = pathlib.Path(__file__).parent.parent / "data/golden/tensorflow"
JOBS, ADMIN = "io.ckptd.Jobs", "io.ckptd.Admin"
TENSORS_WANTED = 3


@pytest.fixture
def d(ckptd):
    return ckptd(policy())


@pytest.fixture
def m(d):
    return d.models / "m"


def made(d, directory, *at, **options):
    """Checkpoints at these steps, by one job; then a new daemon, so that nothing is left in memory."""
    with Job(d, directory, **options) as job:
        for step in at:
            job.train(step)
            assert save(job) == step
        assert job.finish() == 0
    d.restart()


def restored(d, directory, *args, **options):
    """The line of a job that only restores; drill has compared every byte."""
    code, lines = run(d, directory, *args, **options)
    found = [line for line in lines
             if line.startswith(("restored", "fresh", "none-whole", "error", "torn"))]
    assert found, lines
    return found[0]


def data(directory, step):
    return directory / f"model.ckpt-{step}.data-00000-of-00001"


def index(directory, step):
    return directory / f"model.ckpt-{step}.index"


def said_damaged(d, directory, step):
    """Log, history, list and status all name it."""
    assert step in steps(d, directory, "damaged"), checkpoints(d, directory)
    assert step in [e["step"] for e in history(d, directory, "damaged")]
    assert f"damaged {directory}@{step}" in d.log()
    assert f"model.ckpt-{step} is damaged" in d.ctl("status", check=True).stdout


# ---- three answers ----

def test_nothing_there(d, m):
    assert restored(d, m) == "fresh"
    m.rmdir() if not (m / ".ckptd").exists() else None
    assert restored(d, m) == "fresh"


def test_some_but_none_whole(d, m):
    made(d, m, 3)
    flip(data(m, 3))
    code, lines = run(d, m)
    assert code == 3 and lines[1].startswith("none-whole") and lines[2] == "unchanged", lines
    said_damaged(d, m, 3)


def test_no_daemon(d, m):
    made(d, m, 3)
    d.stop()
    code, lines = run(d, m)
    assert code == 1 and lines[0].startswith("error attach: -112"), lines
    assert str(d.socket) in "\n".join(lines)


def test_a_directory_that_once_held_some(d, m):
    """Files removed behind our back: not a fresh start."""
    made(d, m, 3)
    data(m, 3).unlink()
    index(m, 3).unlink()
    assert restored(d, m).startswith("none-whole")
    assert [e["step"] for e in history(d, m, "gone")] == [3]
    assert steps(d, m) == []
    # Where somebody wants one all the same, it says so.
    with Job(d, m, "--fresh", "--no-restore") as job:
        job.train(5)
        save(job)
        job.finish()
    assert restored(d, m) == "restored 5"


# ---- damage ----

def flip_data(m):
    flip(data(m, 20))


def flip_first(m):
    flip(data(m, 20), 0)


def flip_last(m):
    flip(data(m, 20), -1)


def flip_index(m):
    flip(index(m, 20))


def cut_data(m):
    os.truncate(data(m, 20), data(m, 20).stat().st_size - 1)


def cut_index(m):
    os.truncate(index(m, 20), index(m, 20).stat().st_size // 2)


def lose_data(m):
    data(m, 20).unlink()


def lose_index(m):
    index(m, 20).unlink()


def empty_index(m):
    os.truncate(index(m, 20), 0)


def swap_data(m):
    shutil.copy(data(m, 10), data(m, 20))


@pytest.mark.parametrize("harm", [flip_data, flip_first, flip_last, flip_index, cut_data, cut_index,
                                  lose_data, lose_index, empty_index, swap_data])
@pytest.mark.parametrize("running", [False, True])
def test_a_damaged_newest_one_is_named_and_the_next_older_is_taken(d, m, harm, running):
    made(d, m, 10, 20)
    if running:
        # It has looked at the directory before, and holds it open.
        with d.connect() as c:
            c.call(f"{JOBS}.Attach", {"model_dir": str(m), "read_only": True})
            harm(m)
            assert restored(d, m) == "restored 10"
    else:
        d.stop()
        harm(m)
        d.start()
        assert restored(d, m) == "restored 10"
    said_damaged(d, m, 20)
    assert steps(d, m) == [10]
    assert d.ctl("latest", m, check=True).stdout == f"{m}/model.ckpt-10\n"
    # Not counted, not evicted, not overwritten; and remembered.
    d.restart()
    said_damaged(d, m, 20)
    assert restored(d, m) == "restored 10"


def test_all_damaged(d, m):
    made(d, m, 10, 20, 30)
    for step in (10, 20, 30):
        flip(data(m, step))
    assert restored(d, m).startswith("none-whole")
    for step in (10, 20, 30):
        said_damaged(d, m, step)
    done = d.ctl("latest", m)
    assert (done.returncode, done.stdout) == (4, "")


def test_a_damaged_one_is_asked_for_by_its_step(d, m):
    made(d, m, 10, 20)
    flip(data(m, 20))
    code, lines = run(d, m, "--from", "20")
    assert code == 3 and "crc32c" in lines[1], lines
    said_damaged(d, m, 20)
    assert restored(d, m, "--from", "10") == "restored 10"


def test_damage_in_safetensors(ckptd):
    d = ckptd(policy(format="safetensors"))
    m = d.models / "m"
    made(d, m, 10, 20)
    flip(m / "model.ckpt-20.safetensors", -1)
    assert restored(d, m) == "restored 10"
    said_damaged(d, m, 20)


def test_damaged_ones_do_not_count(ckptd):
    d = ckptd(policy(keep_checkpoint_max=2))
    m = d.models / "m"
    made(d, m, 10, 20)
    flip(data(m, 20))
    with Job(d, m) as job:
        job.expect("restored 10")
        for step in (15, 25, 35):
            job.train(step)
            save(job)
        job.finish()
    wait_steps(d, m, [35, 25])
    assert steps(d, m, "damaged") == [20]
    assert checkpoints(d, m)[-1]["kept_by"] == ["damaged: remove it by hand"]
    wait_state_file(m, ("model.ckpt-35", ["model.ckpt-25", "model.ckpt-35"]))


# ---- what does not fit ----

def misfit(d, m, *args, **options):
    code, lines = run(d, m, *args, **options)
    assert code == 3 and lines[1].startswith("error restore: -22"), lines
    assert lines[-2:] == ["unchanged", lines[-1]] or "unchanged" in lines
    return "\n".join(lines)


def test_a_tensor_is_missing(d, m):
    made(d, m, 7)
    said = misfit(d, m, tensors=4, bytes=4096 // 3 * 4)
    assert "Key rank_0/layer_3/kernel not found in checkpoint" in said
    assert "checkpoint model.ckpt-7: 1 of 4 tensors" in said
    assert re.search(r"^model\.ckpt-7 was written by pid:\d+: \S*drill .*--follow.* \(run 1\)$", said, re.M)
    # The checkpoint is as good as before.
    assert restored(d, m) == "restored 7"
    assert steps(d, m) == [7]


def test_a_shape_differs(d, m):
    made(d, m, 7)
    said = misfit(d, m, "--odd-shape")
    assert ("tensor_name = rank_0/layer_0/kernel; shape in shape_and_slice spec [169] does not match the "
            "shape stored in checkpoint: [170]") in said


def test_a_dtype_differs(d, m):
    made(d, m, 7)
    said = misfit(d, m, "--odd-dtype")
    assert ("tensor_name = rank_0/layer_0/kernel; expected dtype int64 does not equal original dtype "
            "uint64") in said


def test_many_do_not_fit(d, m):
    made(d, m, 7, tensors=30, bytes=30 * 80)
    said = misfit(d, m, tensors=30, bytes=30 * 160)
    assert said.count("tensor_name = ") == 20
    assert "and 10 more" in said
    assert "30 of 30 tensors" in said


def test_partial_takes_what_fits(d, m):
    made(d, m, 7)
    code, lines = run(d, m, "--partial", "--odd-shape")
    assert code == 0 and "restored 7" in lines, lines
    code, lines = run(d, m, "--partial", tensors=9, bytes=3 * 4096)
    assert code == 0 and "restored 7" in lines


# ---- another one than the newest ----

def test_from_a_step(d, m):
    made(d, m, 10, 20, 30)
    assert restored(d, m, "--read-only", "--from", "10") == "restored 10"
    assert steps(d, m) == [30, 20, 10]
    assert restored(d, m, "--from", "20") == "restored 20"
    assert steps(d, m) == [20, 10]
    assert steps(d, m, "superseded") == [30]
    assert restored(d, m) == "restored 20"
    # A person's word: the superseded one again.
    assert restored(d, m, "--from", "30") == "restored 30"
    code, lines = run(d, m, "--from", "25")
    assert code == 3 and "25" in lines[1]


def test_a_warm_start(d, m):
    made(d, m, 10, 20)
    other = d.models / "other"
    with Job(d, other, "--from", m / "model.ckpt-10") as job:
        job.expect("restored 10")
        job.train(15)
        assert save(job) == 15
        job.finish()
    assert steps(d, other) == [15]
    assert steps(d, m) == [20, 10] and names(m) == sorted(names(m))
    assert restored(d, other) == "restored 15"


def test_a_warm_start_supersedes_nothing(d, m):
    made(d, m, 10, 20)
    other = d.models / "other"
    made(d, other, 5)
    with Job(d, m, "--from", other / "model.ckpt-5") as job:
        job.expect("restored 5")
        assert steps(d, m) == [20, 10]
        assert steps(d, m, "superseded") == []


def test_a_warm_start_from_safetensors(d, m):
    made(d, m, 10, values='{"format": "safetensors"}')
    other = d.models / "other"
    assert restored(d, other, "--from", m / "model.ckpt-10.safetensors") == "restored 10"
    code, lines = run(d, other, "--from", m / "nothing")
    assert code == 3 and "nothing" in lines[1]
    code, lines = run(d, other, "--from", "/etc/passwd")
    assert code == 3


def test_a_warm_start_from_a_damaged_one(d, m):
    made(d, m, 10)
    flip(data(m, 10))
    other = d.models / "other"
    code, lines = run(d, other, "--from", m / "model.ckpt-10")
    assert code == 3 and "crc32c" in "\n".join(lines) and "unchanged" in lines


def test_what_the_checkpoint_holds(d, m):
    made(d, m, 7, tensors=4)
    with Job(d, m, "--partial", tensors=2, bytes=2048) as job:
        job.expect("restored 7")
        stored = job.do("stored")
    assert stored == [f"stored rank_0/layer_{i}/kernel 23 {128 + i % 3}" for i in range(4)]


# ---- memory ----

def test_from_memory_then_from_disk(d, m):
    with Job(d, m, bytes=1 << 20) as job:
        job.train(5)
        save(job)
        job.kill()
    assert restored(d, m, bytes=1 << 20) == "restored 5"
    assert "from memory" in details(d, m, "restored")[-1]
    assert restored(d, m, "--read-only", bytes=1 << 20) == "restored 5"
    assert "from disk by a reader" in details(d, m, "restored")[-1]
    d.restart()
    assert restored(d, m, bytes=1 << 20) == "restored 5"
    assert "from disk" in details(d, m, "restored")[-1]


def test_the_job_that_is_there_restores_from_memory(d, m):
    with Job(d, m) as job:
        job.train(5)
        save(job)
        assert job.do("restore") == ["restored 5"]
        assert "from memory" in details(d, m, "restored")[-1]
        job.train(6)
        save(job)
        assert job.do("restore") == ["restored 6"]


def slots(pid):
    """The memory files of slots that a process has open."""
    found = []
    for fd in os.listdir(f"/proc/{pid}/fd"):
        path = f"/proc/{pid}/fd/{fd}"
        try:
            if "slot" in os.readlink(path):
                found.append(path)
        except FileNotFoundError:
            pass
    return found


def test_a_byte_flips_in_memory(d, m):
    """Found by its sum; the disk has it too."""
    with Job(d, m, bytes=1 << 20) as job:
        job.train(5)
        save(job)
        job.kill()
    wait_until(lambda: not attached(d, m), "the job has gone")
    assert slots(d.pid)
    for path in slots(d.pid):
        with open(path, "r+b") as f:
            f.seek(5000)
            byte = f.read(1)
            f.seek(5000)
            f.write(bytes([byte[0] ^ 1]))
    assert restored(d, m, bytes=1 << 20) == "restored 5"
    assert "from disk" in details(d, m, "restored")[-1]
    assert "in memory" in d.log() and "crc32c" in d.log()
    assert steps(d, m) == [5]


def test_a_killed_jobs_last_snapshot_is_published(d, m):
    with Job(d, m) as job:
        job.train(5)
        assert job.do("save") == ["handed 5"]
        job.kill()
    wait_until(lambda: not attached(d, m), "the job has gone")
    assert steps(d, m) == [5]
    assert restored(d, m) == "restored 5"


# ---- what others wrote ----

def test_a_directory_that_tensorflow_wrote(d, m):
    shutil.copytree(GOLDEN / "saver", m, ignore=shutil.ignore_patterns("*.json"))
    before = {p.name: p.read_bytes() for p in m.iterdir()}
    expected = json.loads((GOLDEN / "saver/model.ckpt-20.expect.json").read_text())
    wanted = [{"name": name, "dtype": t["dtype"], "shape": t["shape"]} for name, t in expected.items()
              if t["dtype"] != "string"]
    with d.connect() as c:
        c.call(f"{JOBS}.Attach", {"model_dir": str(m), "manifest": wanted})
        found = c.call(f"{JOBS}.Restore")
        assert found["found"] and found["step"] == 20 and found["checkpoint"] == "model.ckpt-20"
        c.call(f"{JOBS}.Restored", {"step": 20})
        c.call(f"{JOBS}.Detach")
    assert [c["origin"] for c in checkpoints(d, m)] == ["adopted", "adopted"]
    assert [e["step"] for e in history(d, m, "adopted")] == [10, 20]
    assert d.ctl("latest", m, check=True).stdout == f"{m}/model.ckpt-20\n"
    assert {p.name: p.read_bytes() for p in m.iterdir() if p.name != ".ckptd"} == before


def test_adopted_ones_are_neither_counted_nor_evicted(ckptd):
    d = ckptd(policy(keep_checkpoint_max=1))
    m = d.models / "m"
    shutil.copytree(GOLDEN / "saver", m, ignore=shutil.ignore_patterns("*.json"))
    with Job(d, m, "--no-restore") as job:
        for step in (30, 31, 32):
            job.train(step)
            save(job)
        job.finish()
    wait_steps(d, m, [32, 20, 10])
    wait_state_file(m, ("model.ckpt-32", ["model.ckpt-32"]))


def test_strays_are_not_touched(d, m):
    made(d, m, 10)
    strays = {"model.ckpt-99.data-00000-of-00001": b"half a checkpoint", "notes.txt": b"mine",
              "model.ckpt-98.index": b"rubbish", "weights.safetensors.tmp": b"x", "model.ckpt-97.tempstate1": b"y"}
    d.stop()
    for name, content in strays.items():
        (m / name).write_bytes(content)
    d.start()
    with Job(d, m) as job:
        job.expect("restored 10")
        job.train(11)
        save(job)
        job.finish()
    assert steps(d, m) == [11, 10]
    assert {name: (m / name).read_bytes() for name in strays} == strays


def test_debris_of_ours_goes(d, m):
    made(d, m, 10)
    d.stop()
    for name in (".ckptd-tmp-77-0", ".ckptd/.ckptd-tmp-x", ".ckptd/checkpoints/.ckptd-tmp-y"):
        (m / name).write_bytes(b"debris")
    d.start()
    assert restored(d, m) == "restored 10"
    assert not list(m.rglob(".ckptd-tmp*"))


# ---- whose directory it is ----

def identity(directory):
    return json.loads((directory / ".ckptd/directory.json").read_text())


def test_identity_and_owner(d, m):
    with Job(d, m):
        own = identity(m)
        assert own["path"] == str(m) and len(own["id"]) == 36 and own["version"] == 1
        owner = json.loads((m / ".ckptd/owner").read_text())
        assert owner["pid"] == d.pid and owner["socket"] == str(d.socket) and owner["uid"] == os.geteuid()
    wait_until(lambda: not attached(d, m), "gone")
    wait_until(lambda: not (m / ".ckptd/owner").read_text().strip(), "nobody owns it")
    assert identity(m) == own


def test_a_copy_gets_an_id_of_its_own(d, m):
    made(d, m, 10)
    copy = d.models / "copy"
    wait_until(lambda: not [p for p in m.rglob("*") if ".ckptd-tmp" in p.name], "the state file is written")
    shutil.copytree(m, copy, ignore=shutil.ignore_patterns(".ckptd-tmp*"))
    assert restored(d, copy) == "restored 10"
    assert identity(copy)["id"] != identity(m)["id"]
    assert identity(copy)["path"] == str(copy)
    assert "a copy of" in str(details(d, copy, "registered"))
    with Job(d, copy) as job:
        job.expect("restored 10")
        job.train(12)
        save(job)
        job.finish()
    assert steps(d, copy) == [12, 10] and steps(d, m) == [10]
    d.restart()
    assert steps(d, copy) == [12, 10] and steps(d, m) == [10]


@pytest.mark.parametrize("running", [True, False])
def test_a_directory_that_moves_keeps_its_id_and_history(d, m, running):
    made(d, m, 10)
    own, saved = identity(m)["id"], len(history(d, m, "saved"))
    there = d.models / "there"
    if not running:
        d.stop()
    m.rename(there)
    if not running:
        d.start()
    assert restored(d, there) == "restored 10"
    assert identity(there)["id"] == own and identity(there)["path"] == str(there)
    assert "moved here from" in str([*details(d, there, "registered")])
    assert len(history(d, there, "saved")) == saved
    assert [x["path"] for x in d.call("Status")["directories"]] == [str(there)]
    d.restart()
    assert steps(d, there) == [10]


def test_another_directory_in_its_place_is_held(ckptd):
    d = ckptd(policy(keep_checkpoint_max=1))
    m, other = d.models / "m", d.models / "other"
    made(d, m, 10)
    made(d, other, 20)
    d.stop()
    m.rename(d.folder / "away")
    other.rename(m)
    d.start()
    with Job(d, m) as job:
        job.expect("restored 20")
        for step in (21, 22, 23):
            job.train(step)
            save(job)
        job.finish()
    assert steps(d, m) == [23, 22, 21, 20]
    assert entry(d, m)["state"] == "held"
    assert "another directory" in d.ctl("status", check=True).stdout
    assert history(d, m, "held")
    assert checkpoints(d, m)[-1]["kept_by"] == ["nothing: held"]


def test_a_directory_made_anew_is_fresh(d, m):
    made(d, m, 10)
    wait_until(lambda: not (m / ".ckptd/owner").read_text().strip(), "the daemon has looked at it")
    shutil.rmtree(m)
    assert restored(d, m) == "fresh"


def test_two_daemons(ckptd):
    first, second = ckptd(policy()), ckptd(policy())
    m = first.models / "m"
    with Job(first, m) as job:
        job.train(3)
        save(job)
        code, lines = run(second, m)
        assert code == 1 and f"pid {first.pid}" in lines[0], lines
        assert "EBUSY" in lines[0] or "-16" in lines[0]
        job.train(4)
        save(job)
        job.finish()
    wait_until(lambda: not attached(first, m), "gone")
    assert restored(second, m) == "restored 4"
    # The first one looks anew, and finds what the second one has done.
    with Job(second, m) as job:
        job.expect("restored 4")
        job.train(6)
        save(job)
        job.finish()
    wait_until(lambda: not attached(second, m), "gone")
    assert restored(first, m) == "restored 6"
    assert steps(first, m) == [6, 4, 3]


def test_a_killed_daemons_directory_is_free(ckptd):
    first, second = ckptd(policy()), ckptd(policy())
    m = first.models / "m"
    made(first, m, 3)
    with first.connect() as c:
        c.call(f"{JOBS}.Attach", {"model_dir": str(m)})
        first.kill()
    assert restored(second, m) == "restored 3"
