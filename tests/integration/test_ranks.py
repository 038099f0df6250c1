"""Several ranks, each a process of its own: one step for all, published whole or not at all."""

import json
import os

import pytest

from conftest import wait_until
from drills import (  # noqa: F401
    check_all, checkpoints, events, no_drill_is_left, Ranks, steps, verify, wait_clean)
from jobs import entry

EVERY_20 = {"save_checkpoints_steps": 20, "keep_checkpoint_max": 0}
ASKED = {"save_checkpoints_secs": 86400, "save_on_start": False, "save_on_end": False}
LOST = "is gone"


def n_connections(daemon):
    """How many sockets the daemon has open, its own one among them."""
    folder = f"/proc/{daemon.pid}/fd"
    return sum(os.readlink(f"{folder}/{fd}").startswith("socket:") for fd in os.listdir(folder))


def names(daemon, directory="m"):
    return sorted(p.name for p in (daemon.models / directory).iterdir() if not p.name.startswith("."))


def step_of(daemon, directory="m"):
    return entry(daemon, daemon.models / directory).get("step", -1)


def wait_step(daemon, step):
    wait_until(lambda: step_of(daemon) >= step, f"step {step}: {entry(daemon, daemon.models / 'm')}")


def test_eight_ranks_that_drift(ckptd):
    """They start at different times and run apart; every checkpoint has one step all the same."""
    d = ckptd()
    job = Ranks(d, world=8, values=EVERY_20, steps=200, us=200, lives=True,
                jitter=[1 + 500 * i for i in range(8)], delay=[20000 * (i * 5 % 8) for i in range(8)])
    assert job.end() == 200
    found = check_all(d, 8)
    assert found[0] == 0 and found[-1] == 200
    assert len(found) >= 2 and found == sorted(set(found))
    assert len(verify(d)) == len(found)
    files = [n for n in names(d) if n.startswith("model.ckpt-200.")]
    assert files == [f"model.ckpt-200.data-{i:05}-of-00008" for i in range(8)] + ["model.ckpt-200.index"]
    assert not events(d, "failed")
    wait_clean(d)


def test_sixty_four_ranks(ckptd):
    d = ckptd()
    job = Ranks(d, world=64, values={"save_checkpoints_steps": 50, "keep_checkpoint_max": 0}, steps=200,
                us=1000, jitter=1000, bytes=960)
    assert job.end() == 200
    found = check_all(d, 64)
    assert found[-1] == 200 and len(found) >= 2
    assert not events(d, "failed")


def test_all_resume_at_one_step(ckptd):
    """Killed at once, at steps of their own; restored, every byte checked by each rank itself."""
    d = ckptd()
    job = Ranks(d, world=8, values=EVERY_20, steps=10**9, us=500, jitter=2000)
    wait_until(lambda: len(steps(d)) >= 4, "saves")
    job.kill()
    newest = steps(d)[-1]
    again = Ranks(d, world=8, values=EVERY_20, steps=newest + 300, us=200)
    assert again.restored() >= newest
    assert again.end() == newest + 300
    check_all(d, 8)


def test_strides(ckptd):
    """A rank that counts by sevens is asked at steps that it never calls."""
    d = ckptd()
    assert Ranks(d, world=3, values=EVERY_20, steps=210, stride=7, us=500, jitter=500).end() == 210
    found = check_all(d, 3)
    assert found[-1] == 210 and all(step % 7 == 0 for step in found)
    assert len(found) > 3 and not events(d, "failed")


def test_ranks_of_other_strides_fail(ckptd):
    d = ckptd()
    job = Ranks(d, world=2, values={"save_checkpoints_steps": 1001, "save_on_start": False}, steps=4000,
                stride=[4, 5], us=300)
    job.end(codes=(0, 1))
    failed = [e["detail"] for e in events(d, "failed")]
    assert failed and all("it calls ckpt_step with other steps than rank 0" in f for f in failed[:1])


# ---- what ranks share ----


def test_shared_tensors_are_stored_once(ckptd):
    d = ckptd()
    assert Ranks(d, world=8, values=EVERY_20, steps=60, bytes=96000, shared=True).end() == 60
    check_all(d, 8, shared=True)
    row = checkpoints(d)[-1]
    assert 96000 <= row["bytes"] < 2 * 96000
    found = json.loads(d.ctl("inspect", row["path"], "--json", check=True).stdout)
    assert [t["name"] for t in found["tensors"]] == [f"layer_{i}/kernel" for i in range(3)]


@pytest.mark.parametrize("odd, words", [("odd_shape", ("[512]", "[511]")), ("odd_dtype", ("uint64", "int64"))])
def test_shared_tensors_must_agree(ckptd, odd, words):
    d = ckptd()
    job = Ranks(d, world=4, shared=True, tensors=1, **{odd: [False, False, True, False]})
    job.end(codes=(1,))
    for rank in job.ranks:
        text = next(l for l in rank.lines if l.startswith("error attach"))
        assert "layer_0/kernel" in text and "rank 0" in text and "rank 2" in text, text
        assert all(w in text for w in words), text
    assert names(d) == []
    assert Ranks(d, world=4, shared=True, tensors=1, steps=10).end() == 10


def test_half_as_many_ranks_go_on(ckptd):
    d = ckptd()
    assert Ranks(d, world=8, values=EVERY_20, steps=100, shared=True).end() == 100
    job = Ranks(d, world=4, values=EVERY_20, steps=150, shared=True)
    assert job.restored() == 100
    assert job.end() == 150
    assert any("-of-00004" in n for n in names(d)) and any("-of-00008" in n for n in names(d))
    check_all(d, 4, shared=True)


def test_twice_as_many_ranks_go_on(ckptd):
    d = ckptd()
    assert Ranks(d, world=2, values=EVERY_20, steps=40, shared=True).end() == 40
    job = Ranks(d, world=4, values=EVERY_20, steps=80, shared=True)
    assert job.restored() == 40 and job.end() == 80


# ---- ranks that are lost ----


def lose_a_rank(d, world=4):
    """A rank hangs, a save is due that it cannot answer, and it is killed.  The job, and what was there."""
    assert Ranks(d, world=world, values=EVERY_20, steps=50).end() == 50
    job = Ranks(d, world=world, values=EVERY_20, steps=10**9, us=300,
                hang_after=[10**6] * (world - 1) + [65])
    wait_until(lambda: step_of(d) > 120, "the others go on")
    before = steps(d)
    assert before[-1] == 50
    job[world - 1].kill()
    wait_until(lambda: events(d, "failed"), "a failed save")
    return job, before


def test_a_killed_rank_fails_the_save(ckptd):
    d = ckptd()
    job, before = lose_a_rank(d)
    [failed] = events(d, "failed")
    assert f"rank 3 of 4 (pid {job[3].process.pid}) is gone" in failed["detail"]
    d.wait_log("save failed")
    status = json.loads(d.ctl("status", "--json").stdout)
    assert any("rank 3 of 4" in p["text"] for p in status["problems"]), status["problems"]
    assert steps(d) == before
    job.kill()
    assert check_all(d, 4) == before
    wait_clean(d)


def test_the_other_ranks_are_told(ckptd):
    """They train on, and learn at the end that nothing more was saved."""
    d = ckptd()
    job = Ranks(d, world=3, values=EVERY_20, steps=3000, us=300, hang_after=[-1, -1, 65])
    wait_until(lambda: step_of(d) > 120, "the others go on")
    job[2].kill()
    for rank in job.ranks[:2]:
        assert rank.wait() == 1
        [text] = [l for l in rank.lines if l.startswith("error finish")]
        assert "rank 2 of 3" in text and LOST in text


def test_new_ranks_wait_until_the_old_ones_are_gone(ckptd):
    d = ckptd()
    job, before = lose_a_rank(d)
    new = Ranks(d, world=4, values=EVERY_20, steps=before[-1] + 50)
    wait_until(lambda: n_connections(d) >= 7, "they are there")
    assert not any(r.said("attached") for r in new.ranks)
    job.kill()
    assert new.restored() == before[-1]
    assert new.end() == before[-1] + 50
    assert steps(d)[:len(before)] == before


def test_a_rank_that_attaches_twice_ends_the_run(ckptd):
    d = ckptd()
    job = Ranks(d, world=2, values=EVERY_20, steps=10**9, us=300)
    wait_step(d, 60)
    twin = job.start_rank(1)
    wait_until(lambda: "rank 1 of 2" in d.log(), "the run ends")
    assert f"{job[1].process.pid}" in d.log() and f"{twin.process.pid}" in d.log()
    count = len(steps(d))
    assert not twin.said("attached")
    job.kill()
    check_all(d, 2)
    job = Ranks(d, directory="other", values=EVERY_20, steps=40)
    assert job.end() == 40
    assert len(steps(d)) <= count + 1
    twin.kill()


def test_a_rank_that_leaves_ends_the_run(ckptd):
    """It detaches in good order, while the others train on: no save can be whole any more."""
    d = ckptd()
    job = Ranks(d, world=2, values=EVERY_20, steps=[50, 3000], us=300, no_finish=[True, False])
    assert job[0].wait() == 0
    assert job[1].wait() == 1
    [text] = [l for l in job[1].lines if l.startswith("error finish")]
    assert "rank 0 of 2" in text
    assert all(step <= 50 for step in check_all(d, 2))


def test_a_rank_that_never_comes_is_waited_for(ckptd):
    """One that dies before all are there leaves its place to another."""
    d = ckptd()
    job = Ranks(d, world=3, values=EVERY_20, steps=40, delay=[0, 0, 10**9])
    wait_until(lambda: entry(d, d.models / "m"), "registered")
    job[1].kill()
    job[2].kill()
    job.ranks[1] = job.start_rank(1, delay=0)
    job.ranks[2] = job.start_rank(2, delay=0)
    assert job.end() == 40


# ---- the end ----


def test_unequal_ends_fail(ckptd):
    d = ckptd()
    job = Ranks(d, world=3, values=EVERY_20, steps=[60, 60, 70], us=300)
    job.end(codes=(1,))
    assert all(rank.said("error finish") for rank in job.ranks)
    reasons = [e["detail"] for e in events(d, "failed")]
    assert any("finished at different steps" in r or "beyond the step" in r for r in reasons), reasons
    assert max(check_all(d, 3)) <= 60


def test_the_last_save_waits_for_the_slowest(ckptd):
    """Ranks that are done serve the last step whenever it is announced."""
    d = ckptd()
    values = {"save_checkpoints_steps": 7, "keep_checkpoint_max": 0}
    job = Ranks(d, world=4, values=values, steps=50, us=[0, 100, 2000, 8000])
    assert job.end() == 50
    assert check_all(d, 4)[-1] == 50
    assert not events(d, "failed")


def test_no_save_at_the_end_where_the_policy_says_so(ckptd):
    d = ckptd()
    values = {"save_checkpoints_secs": 3600, "save_on_end": False, "save_on_start": False}
    assert Ranks(d, world=2, values=values, steps=20).end() == 20
    assert steps(d) == []


# ---- turning back ----


def test_all_roll_back(ckptd):
    """They turn back by themselves; no checkpoint mixes what was before with what came after."""
    d = ckptd()
    job = Ranks(d, world=4, values={**EVERY_20, "save_checkpoints_steps": 10}, steps=300, us=200, jitter=800,
                lives=True, roll_back_at=150, roll_back_to=95)
    assert job.end() == 300
    found = check_all(d, 4)
    assert found[-1] == 300
    assert not events(d, "failed"), events(d, "failed")


def test_all_roll_back_again_and_again(ckptd):
    d = ckptd()
    job = Ranks(d, world=3, values={"save_checkpoints_steps": 5, "keep_checkpoint_max": 0}, steps=300, us=300,
                jitter=600, lives=True, roll_every=20, roll_by=13)
    assert job.end() == 300
    assert check_all(d, 3)[-1] == 300


def test_all_restore_in_mid_run(ckptd):
    d = ckptd()
    job = Ranks(d, world=4, values=EVERY_20, steps=200, us=300, jitter=600, lives=True, restore_at=130)
    assert job.end() == 200
    assert check_all(d, 4)[-1] == 200
    restored = {tuple(rank.values("restored")) for rank in job.ranks}
    assert len(restored) == 1 and 0 < restored.pop()[0] <= 130


# ---- saves that are asked for ----


@pytest.mark.parametrize("world", [1, 8])
def test_each_rank_saves_on_its_own(ckptd, world):
    """ckpt_save at the same step on every rank is one save."""
    d = ckptd()
    job = Ranks(d, world=world, values={**ASKED, "keep_checkpoint_max": 0}, steps=60, us=300, jitter=800,
                save_every=10, wait=True)
    assert job.end() == 60
    assert check_all(d, world) == [10, 20, 30, 40, 50, 60]
    for rank in job.ranks:
        assert rank.values("published") == [10, 20, 30, 40, 50, 60]
        assert not rank.said("error")


@pytest.mark.parametrize("world", [1, 3])
def test_saves_faster_than_the_disk(ckptd, world):
    """Each is handed over; none is forgotten while another one is written."""
    d = ckptd()
    job = Ranks(d, world=world, values={**ASKED, "keep_checkpoint_max": 0}, steps=30, us=0, save_every=1)
    assert job.end() == 30
    found = check_all(d, world)
    assert found[-1] == 30, found
    assert not events(d, "failed"), events(d, "failed")


def test_own_saves_beside_the_schedule(ckptd):
    d = ckptd()
    job = Ranks(d, world=4, values={"save_checkpoints_steps": 7, "keep_checkpoint_max": 0}, steps=100, us=300,
                jitter=900, save_every=10, wait=True, lives=True)
    assert job.end() == 100
    check_all(d, 4)
    for rank in job.ranks:
        assert rank.values("published") == list(range(10, 101, 10)), rank.lines


def test_an_operator_asks(ckptd):
    d = ckptd()
    job = Ranks(d, world=8, values={**ASKED, "keep_checkpoint_max": 0}, steps=10**9, us=500, jitter=500)
    wait_step(d, 10)
    for _ in range(3):
        done = d.ctl("save", d.models / "m", "--wait", check=True)
        assert str(steps(d)[-1]) in done.stdout
    assert len(check_all(d, 8)) == 3
    job.kill()


# ---- formats, memory ----


def test_safetensors_of_several_ranks(ckptd):
    d = ckptd()
    job = Ranks(d, world=3, values={**EVERY_20, "format": "safetensors"}, steps=60)
    assert job.end() == 60
    assert check_all(d, 3)[-1] == 60
    assert "model-60.safetensors.index.json" in " ".join(names(d)) or any(
        n.endswith(".safetensors.index.json") for n in names(d))
    again = Ranks(d, world=3, values={**EVERY_20, "format": "safetensors"}, steps=80)
    assert again.restored() == 60 and again.end() == 80


def test_one_slot_each(ckptd):
    """Memory for one slot a rank: a save waits for the one before it, and all goes well."""
    d = ckptd("memory_max: 40KiB\n")
    job = Ranks(d, world=4, values=EVERY_20, steps=100, us=300, jitter=500, bytes=4096)
    assert job.end() == 100
    assert job[0].said("memory for one slot")
    assert check_all(d, 4)[-1] == 100


def test_no_slot_at_all(ckptd):
    """Memory for none: every rank sends its pieces through a window."""
    d = ckptd("memory_max: 2MiB\n")
    job = Ranks(d, world=2, values={**ASKED, "keep_checkpoint_max": 0}, steps=30, us=300, jitter=500, bytes=3 << 20,
                save_every=10, wait=True)
    assert job.end() == 30
    assert job[0].said("no memory for a slot")
    assert check_all(d, 2) == [10, 20, 30]
