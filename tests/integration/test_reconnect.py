"""The daemon goes away under running jobs, and comes back, or does not: training goes on, nothing that was
published is lost, and what was complete in memory is published when somebody is there to do it."""

import json
import shutil

import pytest

from conftest import wait_until
from drills import check_all, events, no_drill_is_left, Ranks, steps, verify, wait_clean  # noqa: F401
from jobs import Job, attached, details, entry, policy, save

NOTHING_DUE = policy(save_checkpoints_secs="1d", keep_checkpoint_max=0)
BY_STEPS = {"save_checkpoints_steps": 20, "keep_checkpoint_max": 0}


def wait_attached(daemon, directory):
    wait_until(lambda: attached(daemon, directory), lambda: f"not attached again:\n{daemon.log()}")


def wait_step(daemon, step, directory="m"):
    wait_until(lambda: (entry(daemon, daemon.models / directory).get("step") or -1) >= step, f"step {step}")


def wait_published(daemon, step, directory="m"):
    wait_until(lambda: step in steps(daemon, directory), lambda: f"{step} is not there:\n{daemon.log()}")


def runs(directory):
    return {json.loads(p.read_text())["run"] for p in (directory / ".ckptd/checkpoints").glob("*.json")}


@pytest.fixture
def place(ckptd):
    """(daemon, directory): nothing is due by itself."""
    d = ckptd(NOTHING_DUE)
    return d, d.models / "m"


# ---- the daemon is killed ----


def test_training_goes_on_and_attaches_again(place):
    d, m = place
    with Job(d, m) as job:
        save(job)
        d.kill()
        assert job.train(500) == []
        d.start()
        wait_attached(d, m)
        job.train(510)
        assert save(job) == 510
        assert job.finish() == 0
    assert steps(d) == [0, 510]
    assert runs(m) == {1}
    assert not events(d, "failed")
    wait_clean(d)


def test_what_was_kept_is_published(place):
    """Saves while the daemon is away stay in the slots; the newest one is published when it is back."""
    d, m = place
    with Job(d, m) as job:
        save(job)
        d.kill()
        job.train(10)
        assert job.do("save") == ["kept 10"]
        job.train(20)
        assert job.do("save") == ["kept 20"]
        job.train(30)
        [refused] = job.do("save")
        assert refused.startswith("error save: -16") and "ckptd is away" in refused
        d.start()
        assert job.do("wait 20") == ["published 20"]
        job.train(40)
        assert save(job) == 40
        assert job.finish() == 0
    assert steps(d) == [0, 20, 40] or steps(d) == [0, 10, 20, 40]
    assert check_all(d, 1)
    assert "kept by the job while ckptd was away" in " ".join(details(d, m, "saved"))


def test_a_step_that_was_announced_is_served(place):
    """The page outlives the daemon: the job answers it while nobody is there."""
    d, m = place
    with Job(d, m, values=json.dumps({"save_checkpoints_steps": 50})) as job:
        wait_until(lambda: entry(d, m).get("next_save_step") == 50, "step 50 is announced")
        d.kill()
        assert "handed 50" in job.train(60)
        d.start()
        wait_published(d, 50)
        assert job.finish() == 0
    check_all(d, 1)


def test_two_kills_in_a_row(place):
    d, m = place
    with Job(d, m) as job:
        save(job)
        d.kill()
        job.train(10)
        assert job.do("save") == ["kept 10"]
        d.start()
        d.kill()
        d.start()
        d.kill()
        d.start()
        assert job.do("wait 10") == ["published 10"]
        d.kill()
        d.start()
        wait_attached(d, m)
        d.kill()
        job.train(20)
        assert job.do("save") == ["kept 20"]
        d.start()
        assert job.do("wait 20") == ["published 20"]
        assert job.finish() == 0
    assert {0, 10, 20} <= set(check_all(d, 1))
    assert runs(m) == {1}


def test_killed_while_it_writes(place):
    """The slot is offered again and written anew."""
    d, m = place
    size = 48 << 20
    with Job(d, m, bytes=size) as job:
        for step in (10, 20, 30):
            job.train(step)
            assert job.do("save") == [f"handed {step}"]
            d.kill()
            d.start()
            assert job.do(f"wait {step}") == [f"published {step}"]
        assert job.finish() == 0
    assert {10, 20, 30} <= set(check_all(d, 1))
    wait_clean(d)
    verify(d)


def test_killed_between_begin_and_end(ckptd):
    d = ckptd()
    job = Ranks(d, values={"save_checkpoints_steps": 3, "save_on_start": False, "keep_checkpoint_max": 0},
                steps=6, us=700000, overlap=True, bytes=1 << 20)
    job[0].wait_said("begun 3")
    d.kill()
    job[0].wait_said("handed 3")
    d.start()
    wait_published(d, 3)
    assert job.end() == 6
    assert check_all(d, 1) == [3, 6]


def test_calls_wait_for_its_return(place):
    """Restore, describe, wait and finish, begun while it is away, end when it is back."""
    d, m = place
    with Job(d, m) as job:
        job.train(10)
        save(job)
        for command, answer in (("restore", "restored 10"), ("describe 4", "described 4"), ("wait 10", "published 10")):
            d.kill()
            job.begin(command)
            d.start()
            assert job.end() == [answer]
        job.train(20)
        d.kill()
        job.process.stdin.close()
        d.start()
        assert job.process.wait(60) == 0
    assert "finished 10" not in job.output() and "finished 20" in job.output()


def test_the_catalog_is_lost_too(place):
    """A daemon that knows nothing any more takes the job back all the same."""
    d, m = place
    with Job(d, m) as job:
        job.train(10)
        save(job)
        d.kill()
        shutil.rmtree(d.state)
        job.train(20)
        assert job.do("save") == ["kept 20"]
        d.start()
        assert job.do("wait 20") == ["published 20"]
        assert job.finish() == 0
    assert steps(d) == [10, 20]


def test_it_never_comes_back(place):
    """Training goes on; finish says in the end what is not published, and does not wait for ever."""
    d, m = place
    with Job(d, m, values=json.dumps({"save_on_end": True})) as job:
        job.train(10)
        save(job)
        d.kill()
        assert job.train(1000) == []
        assert job.do("save") == ["kept 1000"]
        job.process.stdin.close()
        assert job.process.wait(120) == 1
        job.reader.join()
        [text] = [l for l in job.lines if l.startswith("error finish")]
        assert "did not come back within 60 s" in text
        assert "step 1000" in job.output() and "in memory" in job.output()
    d.start()
    with Job(d, m) as job:
        job.expect("restored 10")


def test_it_comes_back_with_another_format(place):
    """The tensors lie otherwise in its files: the job is given new slots, and goes on with them."""
    d, m = place
    odd = {"tensors": 7, "bytes": 3001}
    with Job(d, m, **odd) as job:
        save(job)
        d.kill()
        d.write_settings(policy(save_checkpoints_secs="1d", keep_checkpoint_max=0, format="safetensors"))
        job.train(10)
        d.start()
        wait_attached(d, m)
        job.train(20)
        assert save(job) == 20
        job.train(30)
        assert save(job) == 30
        assert job.finish() == 0
    assert (m / "model.ckpt-30.safetensors").exists()
    verify(d)
    with Job(d, m, **odd) as again:
        assert again.expect("restored") == "restored 30"


def test_a_window_without_a_daemon(ckptd):
    """What is due is postponed, and training goes on."""
    state = {"bytes": 3 << 20}
    d = ckptd("memory_max: 1MiB\n" + policy(save_checkpoints_steps=10))
    m = d.models / "m"
    with Job(d, m, **state) as job:
        wait_until(lambda: entry(d, m).get("next_save_step") == 10, "told ahead")
        d.kill()
        assert job.train(30) == []
        d.start()
        wait_attached(d, m)
        job.train(35)
        assert save(job) == 35
        assert job.finish() == 0
    with Job(d, m, **state) as again:
        assert again.expect("restored") == "restored 35"


# ---- the daemon is stopped in good order ----


@pytest.mark.parametrize("world", [1, 4])
def test_restarted_under_a_running_job(ckptd, world):
    d = ckptd()
    job = Ranks(d, world=world, values=BY_STEPS, steps=10**9, us=500, jitter=500)
    for _ in range(3):
        before = len(steps(d))
        wait_until(lambda: len(steps(d)) >= before + 2, "saves")
        d.restart()
    newest = steps(d)[-1]
    wait_until(lambda: steps(d)[-1] > newest, lambda: f"no save afterwards\n{d.log()}")
    assert runs(d.models / "m") == {1}
    assert not events(d, "failed"), events(d, "failed")
    job.kill()
    check_all(d, world)
    verify(d)


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_ranks_that_wait_in_finish(ckptd, end):
    """One has finished and waits for the other; they finish with the next daemon."""
    d = ckptd()
    job = Ranks(d, world=2, values={"save_checkpoints_steps": 1000, "keep_checkpoint_max": 0}, steps=100,
                us=[0, 10000])
    wait_step(d, 100)
    getattr(d, end)()
    d.start()
    assert job.end() == 100
    assert check_all(d, 2)[-1] == 100
    assert not events(d, "failed")


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_ranks_that_wait_for_a_save(ckptd, end):
    """One has saved and waits for it, the other has yet to come there."""
    d = ckptd(NOTHING_DUE)
    m = d.models / "m"
    first = Job(d, m, rank=0, world=2, job="j", attached=False)
    with first, Job(d, m, rank=1, world=2, job="j") as second:
        first.expect("attached")
        first.train(10)
        assert first.do("save") == ["handed 10"]
        first.begin("wait 10")
        second.train(5)
        getattr(d, end)()
        d.start()
        wait_attached(d, m)
        second.train(10)
        assert second.do("save") == ["handed 10"]
        assert second.do("wait 10") == ["published 10"]
        assert first.end() == ["published 10"]
        first.process.stdin.close()
        assert second.finish() == 0 and first.process.wait(60) == 0
    assert check_all(d, 2) == [10]


@pytest.mark.parametrize("world", [2, 8])
def test_killed_under_many_ranks(ckptd, world):
    d = ckptd()
    job = Ranks(d, world=world, values=BY_STEPS, steps=10**9, us=300, jitter=1000, lives=True)
    for _ in range(4):
        before = steps(d)
        wait_until(lambda: len(steps(d)) >= len(before) + 2, lambda: f"no saves\n{d.log()}")
        d.kill()
        d.start()
        assert steps(d)[:len(before)] == before
    newest = steps(d)[-1]
    wait_until(lambda: steps(d)[-1] > newest, lambda: f"no save afterwards\n{d.log()}")
    job.kill()
    check_all(d, world)
    wait_clean(d)


# ---- the job is killed ----


@pytest.mark.parametrize("world", [1, 4])
def test_killed_right_after_the_hand_off(ckptd, world):
    """The daemon has it all: it publishes the snapshot of a job that is no more."""
    d = ckptd(NOTHING_DUE)
    job = Ranks(d, world=world, steps=10**9, us=100, save_at=50, bytes=1 << 20, hang_after=50)
    job.wait_all("handed 50")
    job.kill()
    wait_published(d, 50)
    again = Ranks(d, world=world, steps=60, us=100, bytes=1 << 20)
    assert again.restored() == 50
    again.end()
    verify(d)


def test_killed_before_all_have_handed_off(ckptd):
    """Half a snapshot is none."""
    d = ckptd(NOTHING_DUE)
    m = d.models / "m"
    first = Job(d, m, rank=0, world=2, job="j", attached=False)
    with first, Job(d, m, rank=1, world=2, job="j") as second:
        first.expect("attached")
        for job in (first, second):
            job.train(10)
            assert job.do("save") == ["handed 10"]
        assert first.do("wait 10") == ["published 10"]
        first.train(20)
        second.train(19)
        assert first.do("save") == ["handed 20"]
    wait_until(lambda: not attached(d, m), "both are gone")
    assert check_all(d, 2) == [10]
    job = Ranks(d, world=2, steps=30)
    assert job.restored() == 10 and job.end() == 30
    wait_clean(d)


def test_killed_while_the_daemon_is_dead(ckptd):
    """Their memory is gone with them: the older whole one is restored."""
    d = ckptd()
    for world in (1, 3):
        job = Ranks(d, f"m{world}", world=world, values=BY_STEPS, steps=10**9, us=300)
        wait_until(lambda: len(steps(d, f"m{world}")) >= 3, "saves")
        d.kill()
        job.kill()
        d.start()
        newest = steps(d, f"m{world}")[-1]
        wait_clean(d, f"m{world}")
        verify(d, f"m{world}")
        again = Ranks(d, f"m{world}", world=world, values=BY_STEPS, steps=newest + 40, us=300)
        assert again.restored() == newest
        assert again.end() == newest + 40


def test_a_rank_killed_while_the_daemon_is_dead(ckptd):
    """The others come back alone; new ranks wait until those are gone, and don't mix with them."""
    d = ckptd()
    job = Ranks(d, world=3, values=BY_STEPS, steps=10**9, us=300)
    wait_until(lambda: len(steps(d)) >= 3, "saves")
    d.kill()
    job[1].kill()
    d.start()
    newest = steps(d)[-1]
    wait_until(lambda: entry(d, d.models / "m").get("job"), lambda: f"{entry(d, d.models / 'm')}")
    new = Ranks(d, world=3, values=BY_STEPS, steps=newest + 40, us=300)
    job.kill()
    assert new.restored() == newest
    assert new.end() == newest + 40
    check_all(d, 3)
