"""What an operator types, and what the real daemon lets him see: outputs, JSON, exit codes, failures."""

import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from conftest import CKPTCTL, environment, wait_until
from jobs import (Job, attached, checkpoints, details, entry, flip, history, policy, run, save, save_at,
                  steps, wait_steps)

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
UTC = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


@pytest.fixture
def d(ckptd):
    return ckptd(policy())


@pytest.fixture
def m(d):
    return d.models / "m"


def made(d, directory, *at, **options):
    with Job(d, directory, **options) as job:
        for step in at:
            job.train(step)
            assert save(job) == step
        assert job.finish() == 0
    wait_until(lambda: not attached(d, directory), "the job has gone")


def damage(directory, step):
    flip(directory / f"model.ckpt-{step}.data-00000-of-00001")


# ---- status ----

def test_status_of_an_idle_daemon(d):
    out = d.ctl("status", check=True).stdout.splitlines()
    assert re.fullmatch(rf"ckptd \d+\.\d+\.\d+ on \S+, .+, pid {d.pid} \(user \S+\), up .+", out[0])
    assert re.fullmatch(rf"Settings  {d.config}, loaded {STAMP}", out[1])
    assert re.fullmatch(rf"Catalog   {d.state}/catalog.sqlite, [\d.]+ \S+: 0 directories, 0 checkpoints",
                        out[2])
    assert re.fullmatch(r"Memory    0 B of [\d.]+ GiB in 0 slots \(memory_max: 50%\)", out[3])
    assert out[4:] == ["Writing   0 saves", "", "Problems: none"]


def test_status_of_a_job(d, m):
    with Job(d, m) as job:
        job.train(7)
        save(job)
        job.train(9)
        out = d.ctl("status", check=True).stdout
        lines = out.splitlines()
        head = next(i for i, line in enumerate(lines) if line.startswith("DIRECTORY"))
        assert lines[head].split() == "DIRECTORY POLICY JOB RANKS STEP STEPS/S UNSAVED NEXT SAVE".split()
        row = lines[head + 1].split()
        assert row[:5] == [str(m), "normal", f"pid:{job.pid}", "1", "9"]
        assert lines[head + 1].rstrip().endswith("  in 23h 59m")
        disk = next(i for i, line in enumerate(lines) if line.startswith("FILE SYSTEM"))
        assert lines[disk].split() == "FILE SYSTEM TYPE FREE USABLE BIGGEST SAVE ROOM FOR".split()
        assert lines[disk + 1].split()[0] == str(m)
        assert "in 2 slots" in out
        status = json.loads(d.ctl("status", "--json", check=True).stdout)
        found = status["directories"][0]
        assert found["path"] == str(m) and found["step"] == 9 and found["ranks"] == 1
        assert status["slots"] == 2 and status["memory_used"] > 0
        assert UTC.fullmatch(status["settings_loaded"])
        assert status["problems"] == []
        assert status["disks"][0]["free"] >= status["disks"][0]["usable"]
        job.finish()
    wait_until(lambda: not attached(d, m), "the job has gone")
    row = next(line for line in d.ctl("status", check=True).stdout.splitlines() if line.startswith(str(m)))
    assert row.split() == [str(m), "normal", "-", "-", "-", "-", "-", "-"]


def test_status_tells_the_next_save_by_steps(ckptd):
    d = ckptd(policy(save_checkpoints_steps=1000))
    m = d.models / "m"
    with Job(d, m):
        wait_until(lambda: "at step 1000" in d.ctl("status", check=True).stdout, "announced")


# ---- list ----

def test_list_of_directories(d):
    made(d, d.models / "a", 1, 2)
    made(d, d.models / "b", 3)
    out = d.ctl("list", check=True).stdout.splitlines()
    assert out[0].split() == "DIRECTORY CHECKPOINTS SIZE NEWEST PUBLISHED POLICY STATE".split()
    assert re.fullmatch(rf"{d.models}/a +2 +[\d.]+ KiB +2  {STAMP}  normal  ok", out[1])
    assert re.fullmatch(rf"{d.models}/b +1 +[\d.]+ KiB +3  {STAMP}  normal  ok", out[2])
    assert re.fullmatch(r"2 directories, 3 checkpoints, [\d.]+ KiB", out[3])
    rows = json.loads(d.ctl("list", "--json", check=True).stdout)
    assert [(r["path"], r["checkpoints"], r["newest_step"]) for r in rows] == [
        (f"{d.models}/a", 2, 2), (f"{d.models}/b", 1, 3)]
    assert all(UTC.fullmatch(r["newest_published"]) for r in rows)


def test_list_of_checkpoints(ckptd):
    d = ckptd(policy(keep_checkpoint_max=2))
    m = d.models / "m"
    with Job(d, m) as job:
        for step in (1, 2, 3):
            job.train(step)
            save(job)
        wait_steps(d, m, [3, 2])
        out = d.ctl("list", m, check=True).stdout.splitlines()
        assert out[0] == f"{m}: policy normal, job pid:{job.pid} attached, 1 rank"
        assert out[2].split() == "STEP PUBLISHED SIZE STATE KEPT BY".split()
        assert re.fullmatch(rf" +3  {STAMP}  [\d.]+ KiB  whole  newest 1/2", out[3])
        assert re.fullmatch(rf" +2  {STAMP}  [\d.]+ KiB  whole  newest 2/2", out[4])
        assert re.fullmatch(r"2 checkpoints, [\d.]+ KiB", out[5])
        job.finish()
    rows = checkpoints(d, m)
    assert [(r["step"], r["path"], r["state"], r["kept_by"]) for r in rows] == [
        (3, f"{m}/model.ckpt-3", "whole", ["newest 1/2"]), (2, f"{m}/model.ckpt-2", "whole", ["newest 2/2"])]
    assert all(UTC.fullmatch(r["published"]) and r["bytes"] > 0 for r in rows)
    everything = json.loads(d.ctl("list", m, "--all", "--json", check=True).stdout)
    assert [(r["step"], r["state"]) for r in everything] == [(3, "whole"), (2, "whole"), (1, "evicted")]
    wait_until(lambda: "no job attached" in d.ctl("list", m, check=True).stdout, "the job has gone")


def test_list_says_what_goes_next(ckptd):
    d = ckptd(policy())
    m = d.models / "m"
    made(d, m, 1, 2, 3)
    d.restart(policy(keep_checkpoint_max=2))
    assert steps(d, m) == [3, 2, 1]
    assert checkpoints(d, m)[-1]["kept_by"] == ["nothing: goes after the next save"]


def test_list_and_history_of_an_unknown_directory(d):
    for command in ("list", "history"):
        done = d.ctl(command, d.models / "nowhere")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (f"ckptctl: {d.models}/nowhere: not a registered directory: "
                               "no job has attached here yet; known ones: ckptctl list\n")


# ---- history ----

def test_history(ckptd):
    d = ckptd(policy(keep_checkpoint_max=1))
    m = d.models / "m"
    made(d, m, 1, 2)
    wait_until(lambda: details(d, m, "evicted"), "evicted")
    out = d.ctl("history", m, check=True).stdout.splitlines()
    assert out[0].split() == "TIME EVENT STEP DETAIL".split()
    events = [line.split()[2] for line in out[1:]]
    assert events == ["registered", "saved", "saved", "evicted"]
    saved = rf"{STAMP}  saved +1  asked by the job; job lost [\d.]+[mu]?s; durable in [\d.]+m?s; [\d.]+ KiB"
    assert re.fullmatch(saved, out[2])
    assert re.fullmatch(rf"{STAMP}  evicted +1  older than the newest 1", out[4])
    rows = history(d, m)
    assert all(UTC.fullmatch(r["time"]) for r in rows)
    assert [r["id"] for r in rows] == sorted(r["id"] for r in rows)
    assert {r["event"] for r in history(d, m, "saved")} == {"saved"}
    everywhere = d.ctl("history", check=True).stdout.splitlines()
    assert everywhere[0].split() == "TIME DIRECTORY EVENT STEP DETAIL".split()
    assert d.ctl("history", m, "--event", "failed", check=True).stdout == "No events.\n"
    last = json.loads(d.ctl("history", m, "--limit", "1", "--json", check=True).stdout)
    assert last == rows[-1:]
    assert json.loads(d.ctl("history", m, "--since", "1h", "--json", check=True).stdout) == rows
    d.restart()
    assert history(d, m) == rows


# ---- latest ----

def latest(d, directory):
    done = d.ctl("latest", directory)
    return done.returncode, done.stdout


def test_latest(d, m):
    assert latest(d, m) == (1, "")
    m.mkdir()
    assert latest(d, m) == (1, "")
    with Job(d, m) as job:
        assert latest(d, m) == (1, "")
        job.train(3)
        save(job)
        assert latest(d, m) == (0, f"{m}/model.ckpt-3\n")
        job.finish()
    assert latest(d, m) == (0, f"{m}/model.ckpt-3\n")
    answer = json.loads(d.ctl("latest", m, "--json", check=True).stdout)
    assert answer == {"step": 3, "path": f"{m}/model.ckpt-3"}


def test_latest_right_after_a_start(d, m):
    """While the directory is being looked at, nobody is told that there never was any."""
    made(d, m, 3)
    for _ in range(5):
        d.restart()
        assert latest(d, m) == (0, f"{m}/model.ckpt-3\n")


def test_latest_names_only_what_is_there(d, m):
    made(d, m, 3, 4)
    for file in m.glob("model.ckpt-4.*"):
        file.unlink()
    assert latest(d, m) == (0, f"{m}/model.ckpt-3\n")
    for file in m.glob("model.ckpt-3.*"):
        file.unlink()
    assert latest(d, m) == (4, "")
    d.restart()
    assert latest(d, m) == (4, "")
    assert sorted(e["step"] for e in history(d, m, "gone")) == [3, 4]


def test_latest_of_damaged_ones(d, m):
    made(d, m, 3, 4)
    damage(m, 4)
    assert d.ctl("verify", m).returncode == 1
    assert latest(d, m) == (0, f"{m}/model.ckpt-3\n")
    damage(m, 3)
    assert d.ctl("verify", m).returncode == 1
    assert latest(d, m) == (4, "")


def test_latest_of_a_directory_that_is_gone(d, m):
    made(d, m, 3)
    m.rename(d.folder / "away")
    code, out = latest(d, m)
    assert (code, out) == (4, "")


def test_latest_without_a_daemon(d, m):
    made(d, m, 3, 4)
    d.stop()
    assert latest(d, m) == (0, f"{m}/model.ckpt-4\n")
    damage(m, 4)
    (m / "model.ckpt-4.index").write_bytes(b"")
    assert latest(d, m) == (0, f"{m}/model.ckpt-3\n")
    (m / "model.ckpt-3.index").write_bytes(b"")
    assert latest(d, m) == (4, "")
    (d.models / "empty").mkdir()
    assert latest(d, d.models / "empty") == (1, "")
    assert latest(d, d.models / "nowhere") == (3, "")


def test_what_latest_named_stays_for_a_while(ckptd):
    d = ckptd(policy(keep_checkpoint_max=1))
    m = d.models / "m"
    made(d, m, 1)
    assert latest(d, m) == (0, f"{m}/model.ckpt-1\n")
    with Job(d, m) as job:
        job.expect("restored 1")
        for step in (2, 3, 4):
            job.train(step)
            save(job)
        wait_steps(d, m, [4, 1])
        assert checkpoints(d, m)[-1]["kept_by"] == ["leased by a reader"]
        job.finish()


# ---- verify, inspect ----

def test_verify_tells_the_daemon(d, m):
    made(d, m, 10, 20)
    damage(m, 20)
    assert steps(d, m) == [20, 10]
    done = d.ctl("verify", m)
    assert done.returncode == 1
    assert re.search(rf"^{m}@10  whole +[\d.]+ KiB$", done.stdout, re.M)
    assert re.search(rf"^{m}@20  DAMAGED +[\d.]+ KiB$", done.stdout, re.M)
    assert "crc32c is" in done.stdout and "the index says" in done.stdout
    assert "told ckptd: it found it damaged too" in done.stdout
    assert "1 whole, 1 damaged. A restore would take step 10." in done.stdout
    assert steps(d, m) == [10] and steps(d, m, "damaged") == [20]
    assert "crc32c is" in details(d, m, "damaged")[0]
    assert f"damaged {m}@20" in d.log()
    assert "model.ckpt-20 is damaged" in d.ctl("status", check=True).stdout
    record = json.loads((m / ".ckptd/checkpoints/model.ckpt-20.json").read_text())
    assert record["state"] == "damaged"
    # Told once.
    d.ctl("verify", m)
    assert len(details(d, m, "damaged")) == 1
    rows = json.loads(d.ctl("verify", m, "--json").stdout)
    assert {r["path"]: r["whole"] for r in rows} == {
        f"{m}/model.ckpt-10": True, f"{m}/model.ckpt-20": False}


def test_verify_of_a_job_that_saves(ckptd):
    d = ckptd(policy(save_checkpoints_steps=1, keep_checkpoint_max=2))
    m = d.models / "m"
    with Job(d, m, us=5000) as job:
        job.begin("train 1000000000")
        wait_until(lambda: len(steps(d, m)) >= 2, "two checkpoints")
        for _ in range(10):
            done = d.ctl("verify", m)
            assert done.returncode == 0, done.stdout
    assert history(d, m, "damaged") == []


def test_inspect(d, m):
    made(d, m, 10)
    out = json.loads(d.ctl("inspect", m, "--json", "--sha256", check=True).stdout)
    assert out["format"] == "tensorbundle" and out["step"] == 10
    assert [(t["name"], t["dtype"], t["shape"]) for t in out["tensors"]] == [
        (f"rank_0/layer_{i}/kernel", "uint64", [170 + i]) for i in range(3)]
    assert all(len(t["sha256"]) == 64 for t in out["tensors"])
    assert json.loads(d.ctl("inspect", f"{m}@10", "--json", check=True).stdout)["step"] == 10
    done = d.ctl("inspect", f"{m}@11")
    assert done.returncode == 1 and done.stderr


# ---- check, reload ----

def test_check_of_the_daemons_settings(d):
    done = subprocess.run([CKPTCTL, "check", d.config], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    d.write_settings("memory_max: lots\n")
    done = subprocess.run([CKPTCTL, "check", d.config], capture_output=True, text=True, env=environment())
    assert done.returncode == 1
    assert f"{d.config}:1:13: memory_max: expected a size like 64GiB or a share like 25%, found lots" in done.stdout
    assert "a running ckptd keeps what it has" in done.stdout
    done = d.ctl("reload")
    assert done.returncode == 1 and f"{d.config}:1:13: memory_max" in done.stderr


def test_reload_is_told_everywhere(d, m):
    made(d, m, 1)
    d.write_settings(policy(keep_checkpoint_max=3))
    said = d.ctl("reload", check=True).stdout.splitlines()
    assert f"{m}: keep_checkpoint_max 5 -> 3" in said and "policy normal: keep_checkpoint_max 5 -> 3" in said
    assert re.fullmatch(r"by \S+ \(uid \d+\): keep_checkpoint_max 5 -> 3", details(d, m, "reloaded")[0])
    assert "reloaded" in d.log()
    d.write_settings(policy(keep_checkpoint_max=None))
    said = json.loads(d.ctl("reload", "--json", check=True).stdout)["changes"]
    assert f"{m}: keep_checkpoint_max 3 -> null" in said


# ---- exit codes ----

def test_no_daemon(d, m):
    d.stop()
    for args in (["status"], ["list"], ["history"], ["save", "--all"], ["reload"]):
        done = d.ctl(*args)
        assert done.returncode == 3, args
        assert "no ckptd answers" in done.stderr and str(d.socket) in done.stderr


def test_usage(d):
    for args in (["list", "a", "b"], ["save"], ["latest"], ["status", "--nonsense"], ["frobnicate"]):
        assert d.ctl(*args).returncode == 2, args


# ---- failures reach everybody ----

def test_a_save_that_fails_is_told_everywhere(ckptd):
    """More room wanted in reserve than there is."""
    d = ckptd("disk_reserve: 1000TiB\n" + policy())
    m = d.models / "m"
    with Job(d, m) as job:
        job.train(5)
        assert job.do("save") == ["handed 5"]
        said = job.do("wait 5")
        assert len(said) == 1 and said[0].startswith("error wait") and "usable" in said[0], said
        reason = details(d, m, "failed")[0]
        assert re.search(r"No space in .*: [\d.]+ KiB needed, 0 B usable \(free less disk_reserve\)", reason)
        assert "retry in 10s (1 in a row)" in reason
        assert re.search(r"error: .*failed .*No space", d.log()) or "No space in" in d.log()
        job.begin("train 1000000000")
        done = d.ctl("save", m, "--wait")
        assert done.returncode == 1 and "No space in" in done.stderr, done.stderr
        status = d.ctl("status", check=True).stdout
        assert re.search(rf"{m}: saves fail since \d\d:\d\d:\d\d \(2 in a row\), .* of training unsaved\n"
                         r" +No space in ", status), status
        assert re.search(r"retry in \d+s|retry in \d+\.\ds", status)
        assert entry(d, m)["state"] == "failing"
        d.write_settings("disk_reserve: 0\n" + policy())
        d.ctl("reload", check=True)
        d.ctl("save", m, "--wait", check=True)
        assert entry(d, m)["state"] == "ok"
        assert "Problems: none" in d.ctl("status", check=True).stdout
    assert {row["result"] for row in saves(d)} == {"failed", "saved"}


def saves(d):
    """Rows of the catalog's view, as people read it."""
    out = subprocess.run(["sqlite3", "-readonly", "-json", d.state / "catalog.sqlite",
                          "SELECT * FROM saves ORDER BY id"], capture_output=True, text=True, check=True)
    return json.loads(out.stdout or "[]")


def test_a_failing_save_does_not_run_hot(ckptd):
    """Asked for and failed: back-off counts from then on, not every step."""
    d = ckptd("disk_reserve: 1000TiB\n" + policy(save_checkpoints_steps=1))
    m = d.models / "m"
    with Job(d, m, us=100) as job:
        job.begin("train 1000000000")
        assert d.ctl("save", m, "--wait").returncode == 1
        wait_until(lambda: entry(d, m)["step"] > 2000, "many steps")
        assert len(history(d, m, "failed")) <= 3


def test_a_failed_restore_is_told_everywhere(d, m):
    made(d, m, 7)
    code, lines = run(d, m, "--odd-shape")
    assert code == 3
    assert "does not match the shape stored" in details(d, m, "failed")[0]
    assert "does not match the shape stored" in d.log()


def test_every_save_has_its_row(d, m):
    made(d, m, 1, 2)
    rows = saves(d)
    assert [(r["step"], r["result"], r["reason"]) for r in rows] == [
        (1, "saved", "asked by the job"), (2, "saved", "asked by the job")]
    assert all(r["published"] and r["handed_off"] and r["bytes"] > 0 for r in rows)


def test_runs_are_recorded(d, m):
    made(d, m, 1)
    with Job(d, m) as job:
        job.expect("restored 1")
        job.kill()
    wait_until(lambda: not attached(d, m), "gone")
    d.stop()
    out = subprocess.run(["sqlite3", "-readonly", "-json", d.state / "catalog.sqlite",
                          "SELECT * FROM run ORDER BY run"], capture_output=True, text=True, check=True)
    first, second = json.loads(out.stdout)
    assert (first["base"], second["base"]) == (-1, 1)
    assert first["end_reason"] == "detached" and second["end_reason"] == "gone"
    for r in (first, second):
        assert 0 < r["started_ms"] <= r["ended_ms"] and r["pid"] > 0 and "drill" in r["command"]
