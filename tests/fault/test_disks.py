"""The real daemon on real file systems, and on such as are full, gone, read-only or somebody else's: a save fails with
one clear reason, told to the job, status, history and log; the next one works when that is mended; nothing that was
published is lost, and nothing outside the model directory is written."""

import json
import os
import pathlib
import shutil
import socket
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "integration"))

from conftest import CKPTD, wait_until
from disks import LEAST_MIB, MIB, Disk, call, mount, unmount
from jobs import (Job, checkpoints, details, entry, history, names, policy, run, save, state_file, steps,
                  wait_state_file, wait_steps)

NOBODY = 65534
GOLDEN = pathlib.Path(__file__).parent.parent / "data/golden/tensorflow/saver"
# Bytes of a state: below a block, around the limit of direct writes, not a whole number of blocks.
SIZES = (24, 4096, 65536, 65544, 1 * MIB + 8, 9 * MIB + 520)


@pytest.fixture
def disk(tmp_path):
    """disk(kind, mib, ...) makes one.  Asked for before `ckptd`, so that it goes after the daemon."""
    assert os.geteuid() == 0, "these tests make and mount file systems: run them as root"
    disks = []

    def make(kind, mib=None, **options):
        disks.append(Disk(tmp_path / f"disk{len(disks)}", kind, mib, **options))
        return disks[-1]

    yield make
    for d in reversed(disks):
        d.close()


def verify(d, directory):
    done = d.ctl("verify", directory, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return {int(c["path"].rsplit("-", 1)[1].split(".")[0]) for c in json.loads(done.stdout)}


def problems(d, directory):
    return [" ".join((p["text"], p.get("advice", ""))) for p in d.call("Status")["problems"]
            if p["subject"] == str(directory)]


def try_save(job, step):
    """Trains to that step and saves there; what the job is told."""
    job.train(step)
    assert job.do("save") == [f"handed {step}"]
    return job.do(f"wait {step}")


def fails(d, job, directory, step, reason):
    """The save at this step fails, and everybody is told the same."""
    said = try_save(job, step)
    assert len(said) == 1 and said[0].startswith("error wait: ") and reason in said[0], said
    text = said[0].split("): ", 1)[1]
    event = history(d, directory, "failed")[-1]
    assert event["detail"].startswith(f"{text}; retry in "), (event, text)
    assert f"failed {directory}" in d.log() and f": {text}; retry in " in d.log(), d.log()
    found = problems(d, directory)
    assert any("saves fail" in p and text in p for p in found), found
    assert text in " ".join(d.ctl("status").stdout.split())
    return text


def works(d, job, directory, step):
    """The save at this step is published, and nothing fails any more."""
    assert try_save(job, step) == [f"published {step}"], d.log()
    assert not any("saves fail" in p for p in problems(d, directory))
    assert step in steps(d, directory)


def no_debris(directory):
    found = [p for p in directory.rglob("*") if ".ckptd-tmp" in p.name]
    assert not found, found


def restored(d, directory, **options):
    """What a new job finds; drill has compared every byte."""
    _, lines = run(d, directory, **options)
    found = [line for line in lines if line.startswith(("restored", "fresh", "none-whole", "error"))]
    assert found, lines
    return found[0]


def listing(folder):
    """All that lies below, with times, for proof that nothing was written."""
    return {str(p.relative_to(folder)): (p.lstat().st_mtime_ns, p.lstat().st_size, p.lstat().st_ino)
            for p in [folder, *folder.rglob("*")]}


# ---- file systems ----

def cached(path):
    """Bytes of the file in the page cache."""
    return int(call("fincore", "--bytes", "--noheadings", "--output", "RES", path))


def save_all_sizes(d, folder, **options):
    jobs = [Job(d, folder / f"m{size}", bytes=size, tensors=n, **options)
            for size, n in zip(SIZES, (1, 2, 3, 5, 7, 11))]
    for job in jobs:
        for step in (3, 4):
            job.train(step)
            assert save(job) == step
        assert job.finish() == 0


def check_all_sizes(d, folder, **options):
    """After a restart, so that nothing comes from memory."""
    d.restart()
    for size, n in zip(SIZES, (1, 2, 3, 5, 7, 11)):
        m = folder / f"m{size}"
        assert restored(d, m, bytes=size, tensors=n, **options) == "restored 4"
        assert verify(d, m) == {3, 4}
        no_debris(m)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "ext4-4k", "overlay", "tmpfs"])
def test_every_byte_on(disk, ckptd, kind):
    made = disk("ext4" if kind == "overlay" else kind.split("-")[0],
                None if kind in LEAST_MIB else 64, sector=4096 if kind == "ext4-4k" else 512)
    folder = made.path
    if kind == "overlay":
        for name in ("lower", "upper", "work", "merged"):
            (folder / name).mkdir()
        mount("-t", "overlay", "-o", f"lowerdir={folder}/lower,upperdir={folder}/upper,workdir={folder}/work",
              "overlay", folder / "merged")
        folder = folder / "merged"
    d = ckptd(policy(keep_checkpoint_max=2))
    save_all_sizes(d, folder)
    if kind in ("ext4", "xfs", "ext4-4k"):
        big = next((folder / f"m{SIZES[-1]}").glob("model.ckpt-4.data*"))
        assert cached(big) < MIB, "not written around the page cache"
    check_all_sizes(d, folder)
    d.stop()
    if kind == "overlay":
        unmount(folder)


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_every_byte_of_safetensors_on(disk, ckptd, kind):
    made = disk(kind, 64, sector=4096 if kind == "ext4" else 512)
    d = ckptd(policy(keep_checkpoint_max=2, format="safetensors"))
    save_all_sizes(d, made.path)
    check_all_sizes(d, made.path)


def test_every_byte_on_nfs():
    pytest.skip("NFS: no server here")


# ---- full ----

SIX = 6 * MIB


def test_full_before_the_save_begins(disk, ckptd):
    made = disk("ext4", 48)
    d = ckptd(policy(secs=1) + "disk_reserve: 1MiB\n")
    m = made.path / "m"
    with Job(d, m, bytes=SIX) as job:
        works(d, job, m, 1)
        before = set(steps(d, m))
        made.fill(leave=4 * MIB)
        text = fails(d, job, m, 1000, f"No space in {m}: 6.0 MiB needed, ")
        assert "usable (free less disk_reserve)" in text
        no_debris(m)
        assert before <= set(steps(d, m))
        job.begin("train 1000000000")
        wait_until(lambda: len(history(d, m, "failed")) >= 3, "two more tries")
        made.empty()
        wait_until(lambda: entry(d, m)["state"] == "ok" and details(d, m, "saved")[-1].startswith("due: retry"),
                   lambda: d.log())
    assert restored(d, m, bytes=SIX).startswith("restored ")
    verify(d, m)


def test_no_more_than_disk_reserve_leaves(disk, ckptd):
    made = disk("tmpfs", 32)
    d = ckptd(policy() + "disk_reserve: 30MiB\n")
    m = made.path / "m"
    with Job(d, m, bytes=SIX) as job:
        fails(d, job, m, 1, f"No space in {m}: 6.0 MiB needed, 2.0 MiB usable")
        assert names(m) == []
        d.write_settings(policy() + "disk_reserve: 1MiB\n")
        d.ctl("reload", check=True)
        works(d, job, m, 2)


def test_no_inode_is_left(disk, ckptd):
    """The check finds space, and making the file fails all the same."""
    made = disk("ext4", 64, mkfs=("-N", "64"))
    d = ckptd(policy() + "disk_reserve: 1MiB\n")
    m = made.path / "m"
    with Job(d, m, bytes=SIX) as job:
        works(d, job, m, 1)
        full = made.path / "full"
        full.mkdir()
        with pytest.raises(OSError):
            for i in range(100):
                (full / str(i)).touch()
        fails(d, job, m, 2, f"No space left in {m}: cannot make a data file")
        no_debris(m)
        shutil.rmtree(full)
        works(d, job, m, 3)
    assert restored(d, m, bytes=SIX) == "restored 3"
    assert verify(d, m) == {1, 3}


def test_the_quota_is_used_up(disk, ckptd):
    """btrfs tells free space without quotas: the check passes, fallocate fails."""
    made = disk("btrfs")
    call("btrfs", "quota", "enable", made.path)
    call("btrfs", "subvolume", "create", made.path / "s")
    call("btrfs", "qgroup", "limit", "16M", made.path / "s")
    d = ckptd(policy() + "disk_reserve: 1MiB\n")
    m = made.path / "s/m"
    with Job(d, m, bytes=SIX) as job:
        works(d, job, m, 1)
        (made.path / "s/filler").write_bytes(b"\1" * SIX)
        call("sync", "-f", made.path)
        fails(d, job, m, 2, f"The disk quota of uid 0 on {m} (btrfs) is used up: cannot make a data file")
        no_debris(m)
        assert steps(d, m) == [1]
        call("btrfs", "qgroup", "limit", "64M", made.path / "s")
        works(d, job, m, 3)
    assert restored(d, m, bytes=SIX) == "restored 3"


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_catalog_and_checkpoints_on_one_full_disk(disk, ckptd, kind):
    """What the plan lets go after the save goes before it, while two whole ones stay."""
    made = disk(kind, 80)
    d = ckptd(policy(keep_checkpoint_max=4) + "disk_reserve: 0B\n", start=False)
    d.state = made.path / "state"
    d.start()
    m = made.path / "m"
    with Job(d, m, bytes=SIX) as job:
        for step in (1, 2, 3, 4):
            works(d, job, m, step)
        made.fill()
        assert made.free() < MIB
        works(d, job, m, 5)
        assert state_file(m)[0] == "model.ckpt-5"
        works(d, job, m, 6)
        works(d, job, m, 7)
        left = steps(d, m)
        assert left[:2] == [7, 6] and len(left) >= 2, left
        assert set(state_file(m)[1]) == {f"model.ckpt-{s}" for s in left}
        assert job.finish() == 0
    assert any("making room" in t for t in details(d, m, "evicted")), d.log()
    d.restart()
    assert steps(d, m) == left
    assert restored(d, m, bytes=SIX) == "restored 7"
    assert verify(d, m) == set(left)


def test_making_room_stops_at_two(disk, ckptd):
    made = disk("ext4", 48)
    d = ckptd(policy(keep_checkpoint_max=2) + "disk_reserve: 1MiB\n")
    m = made.path / "m"
    with Job(d, m, bytes=SIX) as job:
        for step in (1, 2, 3):
            works(d, job, m, step)
        wait_steps(d, m, [3, 2])
        made.fill(leave=4 * MIB)
        fails(d, job, m, 4, f"No space in {m}")
        assert steps(d, m) == [3, 2]
        made.empty()
        works(d, job, m, 5)
    wait_steps(d, m, [5, 3])


def test_the_job_dies_after_a_save_failed(disk, ckptd):
    """What it handed over is still in memory, and is written when there is room and nobody else to do it."""
    made = disk("ext4", 32)
    d = ckptd(policy() + "disk_reserve: 1MiB\n")
    m = made.path / "m"
    with Job(d, m, bytes=SIX) as job:
        works(d, job, m, 1)
        made.fill(leave=4 * MIB)
        fails(d, job, m, 2, f"No space in {m}")
        made.empty()
        job.kill()
        wait_steps(d, m, [2, 1])
    assert restored(d, m, bytes=SIX) == "restored 2"


def test_an_eviction_fails_while_room_is_made(disk, ckptd):
    """Only the one that was about to go is hidden by that, however often it is tried."""
    made = disk("ext4", 80)
    d = ckptd(policy(keep_checkpoint_max=4) + "disk_reserve: 1MiB\n")
    m = made.path / "m"
    with Job(d, m, bytes=SIX) as job:
        for step in (1, 2, 3, 4):
            works(d, job, m, step)
        made.fill(leave=4 * MIB)
        call("chattr", "+i", m / "model.ckpt-1.index")
        try:
            for step in (5, 6):
                fails(d, job, m, step, f"No space in {m}")
                assert steps(d, m) == [4, 3, 2]
            assert any("an eviction fails\nmodel.ckpt-1: " in p for p in problems(d, m)), problems(d, m)
            assert any("eviction of model.ckpt-1: " in e["detail"] for e in history(d, m, "failed"))
        finally:
            call("chattr", "-i", m / "model.ckpt-1.index")
        works(d, job, m, 7)
        wait_steps(d, m, [7, 4, 3, 2])
        assert not any("eviction" in p for p in problems(d, m))
        assert not list(m.glob("model.ckpt-1.*"))


def test_nothing_goes_where_it_would_not_do(disk, ckptd):
    made = disk("ext4", 64)
    d = ckptd(policy(keep_checkpoint_max=3) + "disk_reserve: 1MiB\n")
    m = made.path / "m"
    with Job(d, m, bytes=SIX) as job:
        for step in (1, 2, 3):
            works(d, job, m, step)
        d.write_settings(policy(keep_checkpoint_max=3) + "disk_reserve: 60MiB\n")
        d.ctl("reload", check=True)
        fails(d, job, m, 4, f"No space in {m}")
        assert steps(d, m) == [3, 2, 1]


def test_the_only_one_is_never_given_up(disk, ckptd):
    made = disk("ext4", 32)
    d = ckptd(policy(keep_checkpoint_max=1) + "disk_reserve: 1MiB\n")
    m = made.path / "m"
    with Job(d, m, bytes=SIX) as job:
        works(d, job, m, 1)
        made.fill(leave=4 * MIB)
        for step in (2, 3):
            fails(d, job, m, step, f"No space in {m}")
            assert steps(d, m) == [1]
            assert state_file(m) == ("model.ckpt-1", ["model.ckpt-1"])
        assert job.finish() == 0
    d.restart()
    assert restored(d, m, bytes=SIX) == "restored 1"


def test_the_end_is_told_of_a_full_disk(disk, ckptd):
    made = disk("tmpfs", 32)
    d = ckptd(policy(save_on_end=True) + "disk_reserve: 30MiB\n")
    m = made.path / "m"
    with Job(d, m, bytes=SIX) as job:
        job.train(5)
        assert job.finish() == 1
        assert any("error finish" in l and f"No space in {m}" in l for l in job.lines), job.lines


# ---- gone, and back ----

def test_removed_and_made_again(ckptd):
    d = ckptd(policy())
    m = d.models / "m"
    with Job(d, m) as job:
        works(d, job, m, 1)
        shutil.rmtree(m)
        fails(d, job, m, 2, f"{m} has vanished")
        assert not m.exists()
        fails(d, job, m, 3, f"{m} has vanished")
        m.mkdir()
        works(d, job, m, 4)
        works(d, job, m, 5)
        assert names(m) == [f"model.ckpt-{s}.{part}" for s in (4, 5)
                            for part in ("data-00000-of-00001", "index")]
        assert job.finish() == 0
    assert steps(d, m) == [5, 4]
    d.restart()
    assert restored(d, m) == "restored 5"


def test_its_own_folder_removed(ckptd):
    d = ckptd(policy())
    m = d.models / "m"
    with Job(d, m) as job:
        works(d, job, m, 1)
        shutil.rmtree(m / ".ckptd")
        fails(d, job, m, 2, f"{m} has vanished")
        works(d, job, m, 3)
        assert job.finish() == 0
    assert steps(d, m) == [3, 1]
    assert restored(d, m) == "restored 3"


def test_renamed_away_and_back(ckptd):
    d = ckptd(policy())
    m, away = d.models / "m", d.models / "away"
    with Job(d, m) as job:
        works(d, job, m, 1)
        m.rename(away)
        before = listing(away)
        fails(d, job, m, 2, f"{m} has vanished")
        assert listing(away) == before and not m.exists()
        away.rename(m)
        works(d, job, m, 3)
        assert job.finish() == 0
    assert steps(d, m) == [3, 1]
    d.restart()
    assert restored(d, m) == "restored 3"


def test_another_directory_in_its_place(ckptd):
    """What the other one holds is adopted and stays; the first one keeps what it has."""
    d = ckptd(policy(keep_checkpoint_max=1))
    m, away = d.models / "m", d.models / "away"
    with Job(d, m) as job:
        works(d, job, m, 1)
        m.rename(away)
        shutil.copytree(GOLDEN, m)
        given = names(m)
        fails(d, job, m, 30, f"{m} has vanished")
        assert names(m) == given and not (m / ".ckptd").exists()
        works(d, job, m, 31)
        works(d, job, m, 32)
        assert job.finish() == 0
    assert set(given) <= set(names(m))
    assert entry(d, m)["state"] == "held"
    assert set(steps(d, m)) == {10, 20, 31, 32}
    assert names(away) == ["model.ckpt-1.data-00000-of-00001", "model.ckpt-1.index"]
    assert restored(d, away) == "restored 1"


def test_unmounted_and_mounted_again(disk, ckptd):
    made = disk("ext4", 48)
    d = ckptd(policy())
    m = made.path
    shutil.rmtree(m / "lost+found")
    with Job(d, m) as job:
        works(d, job, m, 1)
        unmount(m, "--lazy")
        fails(d, job, m, 2, f"{m} has vanished")
        fails(d, job, m, 3, f"{m} is empty and on another file system than recorded; is it mounted?")
        assert entry(d, m)["state"] in ("missing", "failing")
        assert not list(m.iterdir())
        made.mount()
        works(d, job, m, 4)
        assert job.finish() == 0
    assert steps(d, m) == [4, 1]
    d.restart()
    assert restored(d, m) == "restored 4"


def test_not_mounted_when_the_daemon_starts(disk, ckptd):
    made = disk("ext4", 48)
    d = ckptd(policy())
    m = made.path
    shutil.rmtree(m / "lost+found")
    with Job(d, m) as job:
        works(d, job, m, 1)
    d.stop()
    unmount(m)
    d.start()
    assert not list(m.iterdir())
    wait_until(lambda: entry(d, m)["state"] == "missing", lambda: d.log())
    assert any("is it mounted?" in p for p in problems(d, m))
    _, lines = run(d, m)
    assert any("is it mounted?" in l for l in lines), lines
    assert not list(m.iterdir())
    made.mount()
    assert restored(d, m) == "restored 1"


def test_the_job_ends_while_its_directory_is_away(ckptd):
    d = ckptd(policy(save_on_end=True))
    m, away = d.models / "m", d.models / "away"
    with Job(d, m) as job:
        works(d, job, m, 1)
        m.rename(away)
        job.train(2)
        assert job.finish() == 1
        assert any("error finish" in l and "has vanished" in l for l in job.lines), job.lines
    away.rename(m)
    assert restored(d, m) == "restored 1"


# ---- not ours to write ----

def test_read_only(disk, ckptd):
    """ext4 goes read-only by itself after an error; by hand it cannot while the daemon has files open."""
    made = disk("ext4", 48)
    m = made.path / "m"
    d = ckptd(policy())
    with Job(d, m) as job:
        works(d, job, m, 1)
        mount("-o", "remount,abort", made.path)
        fails(d, job, m, 2, f"{m} is on a file system that is mounted read-only: cannot make a data file")
        fails(d, job, m, 3, "mounted read-only")
        assert job.finish() == 0
    assert steps(d, m) == [1]
    d.stop()
    unmount(made.path)
    made.mount()
    d.start()
    assert restored(d, m) == "restored 1"
    with Job(d, m) as job:
        works(d, job, m, 4)
        assert job.finish() == 0


def test_immutable(disk, ckptd):
    """What even root may not change."""
    made = disk("ext4", 48)
    m = made.path / "m"
    d = ckptd(policy())
    with Job(d, m) as job:
        works(d, job, m, 1)
        call("chattr", "+i", m)
        try:
            fails(d, job, m, 2, f"{m}: uid 0 may not make a data file: Operation not permitted")
        finally:
            call("chattr", "-i", m)
        works(d, job, m, 3)
        assert job.finish() == 0
    assert restored(d, m) == "restored 3"


def test_read_only_from_the_start(disk, ckptd):
    made = disk("ext4", 48)
    m = made.path / "m"
    m.mkdir()
    mount("--bind", m, m)
    mount("-o", "remount,ro,bind", m)
    d = ckptd(policy())
    code, lines = run(d, m)
    assert code == 1 and any("mounted read-only" in l for l in lines), lines
    mount("-o", "remount,rw,bind", m)
    with Job(d, m) as job:
        works(d, job, m, 1)
    d.stop()
    unmount(m)


@pytest.fixture
def nobodys(ckptd):
    """nobodys(settings): a daemon that runs as an unprivileged user, from a copy that this user may run."""
    def make(settings=""):
        d = ckptd(settings, start=False)
        program = d.folder / "ckptd"
        shutil.copy(CKPTD, program)
        for p in [d.folder, *d.folder.rglob("*")]:
            os.chown(p, NOBODY, NOBODY)
        command = d.command
        d.command = lambda *args: ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups",
                                   program, *command(*args)[1:]]
        d.env.update(HOME=str(d.folder), XDG_RUNTIME_DIR=str(d.folder), XDG_STATE_HOME=str(d.folder))
        d.model = d.models / "m"
        d.model.mkdir()
        os.chown(d.model, NOBODY, NOBODY)
        return d.start()
    return make


@pytest.mark.parametrize("mode", ["mode", "owner"])
def test_permission_is_lost(nobodys, mode):
    d = nobodys(policy())
    m = d.model

    def take_away():
        os.chown(m, 0 if mode == "owner" else NOBODY, 0)
        m.chmod(0o755 if mode == "owner" else 0o555)

    def give_back():
        os.chown(m, NOBODY, NOBODY)
        m.chmod(0o755)

    with Job(d, m) as job:
        works(d, job, m, 1)
        before = names(m)
        take_away()
        fails(d, job, m, 2, f"{m}: uid {NOBODY} may not make a data file: Permission denied")
        assert names(m) == before
        give_back()
        works(d, job, m, 3)
        take_away()
        fails(d, job, m, 4, "Permission denied")
        give_back()
        works(d, job, m, 5)
        assert job.finish() == 0
    assert steps(d, m) == [5, 3, 1]
    assert restored(d, m) == "restored 5"


def test_a_directory_of_another_user(nobodys):
    d = nobodys(policy())
    for name, mode in (("theirs", 0o755), ("closed", 0o700)):
        m = d.models / name
        m.mkdir(mode=mode)
        (m / "notes.txt").write_text("mine")
        code, lines = run(d, m)
        assert code == 1 and any(f"uid {NOBODY} may not" in l for l in lines), lines
        assert [p.name for p in m.iterdir()] == ["notes.txt"]
        assert f"attach to {m} refused: {m}: uid {NOBODY} may not" in d.log()


def test_files_of_another_user(nobodys):
    """In a directory of ours, files of somebody else under the names that a save would take."""
    d = nobodys(policy())
    m = d.model
    with Job(d, m) as job:
        works(d, job, m, 1)
        theirs = m / "model.ckpt-2.index"
        theirs.write_bytes(b"theirs")
        theirs.chmod(0o600)
        works(d, job, m, 2)
        assert job.finish() == 0
    assert theirs.read_bytes() == b"theirs"
    assert f"{theirs} exists and is not ours to replace" in d.log()
    assert [pathlib.Path(c["path"]).name for c in checkpoints(d, m)] == ["model.ckpt-2-r1", "model.ckpt-1"]
    d.restart()
    assert restored(d, m) == "restored 2"
    assert theirs.read_bytes() == b"theirs"


# ---- links, and what is no file ----

def test_the_model_directory_is_a_link(ckptd):
    d = ckptd(policy())
    real, link = d.models / "real", d.models / "link"
    real.mkdir()
    link.symlink_to(real)
    with Job(d, link) as job:
        works(d, job, real, 1)
        assert job.finish() == 0
    assert link.is_symlink() and steps(d, link) == [1]
    assert restored(d, real) == "restored 1"


def test_its_link_leads_elsewhere(ckptd):
    """What was opened is the directory itself, by its real path."""
    d = ckptd(policy())
    real, other, link = d.models / "real", d.models / "other", d.models / "link"
    real.mkdir()
    other.mkdir()
    link.symlink_to(real)
    with Job(d, link) as job:
        works(d, job, real, 1)
        link.unlink()
        link.symlink_to(other)
        works(d, job, real, 2)
        assert job.finish() == 0
    assert not list(other.iterdir()) and steps(d, real) == [2, 1]


@pytest.mark.parametrize("name", [".ckptd", ".ckptd/checkpoints", ".ckptd/owner", ".ckptd/directory.json"])
def test_a_link_in_place_of_ours(ckptd, name):
    d = ckptd(policy())
    m, outside = d.models / "m", d.folder / "outside"
    with Job(d, m) as job:
        works(d, job, m, 1)
        assert job.finish() == 0
    d.stop()
    (m / name).rename(outside)
    (m / name).symlink_to(outside)
    before = listing(outside)
    d.start()
    code, lines = run(d, m)
    assert code == 1 and any(str(m) in l and name.split("/")[-1] in l for l in lines), lines
    assert (m / name).is_symlink() and listing(outside) == before
    assert any(name in p for p in problems(d, m)), problems(d, m)
    (m / name).unlink()
    outside.rename(m / name)
    assert restored(d, m) == "restored 1"


def make_node(path, kind, outside):
    if kind == "link":
        path.symlink_to(outside)
    elif kind == "dangling link":
        path.symlink_to(outside.parent / "nothing")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as s:
            here = os.open(path.parent, os.O_PATH)  # a socket's name has 107 bytes at most
            s.bind(f"/proc/self/fd/{here}/{path.name}")
            os.close(here)
    elif kind == "device":
        os.mknod(path, 0o600 | 0o020000, os.makedev(1, 5))
    else:
        path.mkdir()
        (path / "inside").write_text("mine")


@pytest.mark.parametrize("kind", ["link", "dangling link", "fifo", "socket", "device", "folder"])
def test_what_is_no_file_stays(ckptd, kind):
    """Under every name that a save, an eviction, a restore or the state file would touch."""
    d = ckptd(policy(keep_checkpoint_max=2))
    m, outside = d.models / "m", d.folder / "outside"
    outside.write_text("outside")
    with Job(d, m) as job:
        for step in (1, 2):
            works(d, job, m, step)
        wait_state_file(m, ("model.ckpt-2", ["model.ckpt-1", "model.ckpt-2"]))
        nodes = [m / "model.ckpt-3.index", m / "model.ckpt-4.data-00000-of-00001", m / "checkpoint",
                 m / "model.ckpt-1.index", m / "model.ckpt-9.index", m / "other.safetensors"]
        for node in nodes:
            node.unlink(missing_ok=True)
            make_node(node, kind, outside)
        before = {n: (n.lstat().st_ino, n.lstat().st_mode) for n in nodes}
        works(d, job, m, 3)
        works(d, job, m, 4)
        works(d, job, m, 5)
        assert job.finish() == 0
    assert f"{m}/checkpoint is not a file, and not ours" in d.log()
    assert {n: (n.lstat().st_ino, n.lstat().st_mode) for n in nodes} == before
    d.restart()
    assert restored(d, m) == "restored 5"
    # Without a state file nothing was evicted; now it can be written, and only ours goes.
    os.rename(m / "checkpoint", d.folder / "moved")
    before.pop(nodes.pop(2))
    with Job(d, m) as job:
        works(d, job, m, 6)
        works(d, job, m, 7)
        assert job.finish() == 0
    wait_until(lambda: [s for s in steps(d, m)] == [7, 6], lambda: d.log() + str(steps(d, m)))
    assert {n: (n.lstat().st_ino, n.lstat().st_mode) for n in nodes} == before
    assert outside.read_text() == "outside"
    assert restored(d, m) == "restored 7"


# ---- what others are writing ----

def test_others_write_just_now(ckptd):
    """Parts of bundles are nobody's debris; what is completed later is adopted at the next look."""
    d = ckptd(policy(keep_checkpoint_max=1))
    m = d.models / "m"
    with Job(d, m) as job:
        works(d, job, m, 1)
        assert job.finish() == 0
    d.stop()
    data, index = (GOLDEN / f"model.ckpt-20.{part}" for part in ("data-00000-of-00001", "index"))
    begun = {
        "model.ckpt-20.data-00000-of-00001": data.read_bytes(),
        "model.ckpt-30.data-00000-of-00002": b"the first of two shards",
        "model.ckpt-40.index": index.read_bytes(),
        "model.ckpt-50.index.tempstate7023": b"half an index",
        "model.ckpt-50.data-00000-of-00001.tempstate12": b"half",
        "model.ckpt-60_temp/part-00000-of-00001.data-00000-of-00001": b"half",
        "model.ckpt-60_temp/part-00000-of-00001.index": b"half",
        "model.ckpt-70.index~": b"an editor's",
        ".model.ckpt-80.index.Xb1sQ2": b"rsync's",
        "model.ckpt-90.safetensors": b"\x10\0\0\0\0\0\0\0{half a header",
    }
    for name, content in begun.items():
        (m / name).parent.mkdir(exist_ok=True)
        (m / name).write_bytes(content)

    def untouched():
        return all((m / name).read_bytes() == content for name, content in begun.items())

    d.start()
    with Job(d, m) as job:
        for step in (2, 3):
            works(d, job, m, step)
        assert job.finish() == 0
    wait_steps(d, m, [3])
    assert untouched()
    # TensorFlow and cp finish what they began.
    shutil.copy(index, m / "model.ckpt-20.index")
    shutil.copy(data, m / "model.ckpt-40.data-00000-of-00001")
    d.restart()
    wait_until(lambda: set(steps(d, m)) == {3, 20, 40}, lambda: str(checkpoints(d, m)))
    assert untouched()
    assert [c["origin"] for c in checkpoints(d, m) if c["step"] == 20] == ["adopted"]
    for step in (3, 20, 40):
        assert d.ctl("verify", f"{m}@{step}").returncode == 0
    with Job(d, m, "--fresh", no_restore=True) as job:
        works(d, job, m, 100)
        assert job.finish() == 0
    assert untouched() and 20 in steps(d, m)
