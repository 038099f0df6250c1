"""Daemon and job are killed at random moments, again and again.  What is restored is never older than what
anybody was told is published; nothing is damaged; nothing half made is left lying.

    CKPTD_KILL_ROUNDS=1000 CKPTD_KILL_SEED=7 pytest test_kills.py
"""

import os
import random
import re
import time

import pytest

from drills import (  # noqa: F401
    checkpoints, no_drill_is_left, QUICK, quick_ctl, QuickDaemon, Ranks, verify, wait_clean)

ROUNDS = int(os.environ.get("CKPTD_KILL_ROUNDS", 200))
SEED = int(os.environ.get("CKPTD_KILL_SEED", random.randrange(10**6)))
LIVE_MAX_S = 0.12


class Scene:
    """A daemon, a job, and all that was ever said to be published."""

    def __init__(self, rng, world, every, **options):
        self.rng, self.world, self.options = rng, world, options
        self.policy = {"save_checkpoints_steps": every, "keep_checkpoint_max": 3}
        self.daemon = QuickDaemon().start()
        self.directory = self.daemon.models / "m"
        self.job, self.told, self.least = None, -1, -1
        self.log_read = 0
        self.restored = self.saved = 0

    def start(self):
        if not self.daemon.is_alive():
            self.daemon.kill()
            self.daemon.start()
        if self.job and all(rank.process.poll() is None for rank in self.job.ranks):
            return
        self.end_job()
        self.least = self.told
        self.job = Ranks(self.daemon, world=self.world, values=self.policy, steps=10**9, build=QUICK,
                         **self.options)

    def end_job(self):
        if self.job:
            self.job.kill()
            self.read_job()
        self.job = None

    def read_log(self):
        """Takes note of what the daemon has said is saved."""
        text = self.daemon.log()
        for step in re.findall(r"saved \S+/m@(\d+): ", text[self.log_read:].rpartition("\n")[0]):
            self.told = max(self.told, int(step))
            self.saved += 1
        self.log_read = text.rfind("\n") + 1

    def read_job(self):
        """Checks what the ranks have restored, and takes note of what they were told."""
        starts = set()
        for rank in self.job.ranks:
            for line in rank.lines:
                word, _, rest = line.partition(" ")
                assert word not in ("torn", "none-whole"), line
                if word == "fresh":
                    assert self.least < 0, f"fresh, and {self.least} was published"
                elif word == "restored":
                    starts.add(int(rest))
                elif word == "published":
                    self.told = max(self.told, int(rest))
        assert len(starts) <= 1, starts
        if starts:
            step = starts.pop()
            assert step >= self.least, f"restored {step}, and {self.least} was published"
            self.restored += 1

    def latest(self):
        """What `ckptctl latest` names, which needs no daemon."""
        done = quick_ctl(self.daemon, "latest", self.directory)
        step = int(done.stdout.strip().rpartition("-")[2]) if done.returncode == 0 else -1
        assert step >= self.told, f"latest: {done.stdout}{done.stderr}, and {self.told} was published"

    def live(self):
        time.sleep(self.rng.uniform(0, LIVE_MAX_S))

    def kill_daemon(self):
        self.daemon.kill()

    def stop_daemon(self):
        self.daemon.stop()

    def kill_job(self):
        self.end_job()

    def kill_rank(self):
        self.rng.choice(self.job.ranks).kill()

    def kill_all(self):
        """The daemon first or the job first; a new daemon finds everything in order."""
        first, second = self.rng.sample([self.kill_daemon, self.kill_job], 2)
        first()
        second()
        self.read_log()
        if self.rng.random() < 0.5:
            self.latest()
        self.daemon.start()
        self.check_rest()

    def check_rest(self):
        """Nobody writes: all that is there is whole, claimed, and at least what was told."""
        self.read_log()
        if not self.directory.exists():
            return
        wait_clean(self.daemon)
        verify(self.daemon)
        if self.told >= 0:
            found = [row["step"] for row in checkpoints(self.daemon)]
            assert found and found[-1] >= self.told, f"{found}, and {self.told} was published"

    def round(self):
        self.start()
        self.live()
        kills = [(self.kill_daemon, 8), (self.stop_daemon, 2), (self.kill_job, 6), (self.kill_all, 4)]
        if self.world > 1:
            kills.append((self.kill_rank, 4))
        self.rng.choices([k for k, _ in kills], [w for _, w in kills])[0]()
        self.read_log()

    def finish(self):
        """At last everybody is left in peace."""
        self.end_job()
        self.start()
        assert self.job.restored() >= self.told
        self.end_job()
        self.daemon.kill()
        self.daemon.start()
        self.check_rest()
        self.daemon.close()


SHAPES = {
    "one rank": (0.45, {"world": 1, "every": 40, "us": 200, "save_every": 90, "wait": True}),
    "big state": (0.15, {"world": 1, "every": 1, "us": 500, "bytes": 24 << 20}),
    "four ranks": (0.4, {"world": 4, "every": 40, "us": 200, "jitter": 400}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_random_kills(shape):
    share, options = SHAPES[shape]
    rounds = max(1, round(ROUNDS * share))
    rng = random.Random(f"{SEED} {shape}")
    scene = Scene(rng, **options)
    number = 0
    try:
        for number in range(rounds):
            scene.round()
        scene.finish()
    except BaseException:
        print(f"CKPTD_KILL_SEED={SEED}, round {number} of {rounds}\n{scene.daemon.log()[-8000:]}")
        for rank in scene.job.ranks if scene.job else []:
            print(rank.lines[-20:], rank.stderr)
        if scene.job:
            scene.job.kill()
        scene.daemon.kill()
        raise
    print(f"seed {SEED}: {rounds} rounds, {scene.saved} saves, {scene.restored} restores, step {scene.told}")
    assert scene.saved > 0 and (scene.restored > 0 or rounds < 20)
