"""The control page under stress: real processes that take steps as fast as they can, turn back, and are killed,
daemon and ranks alike.  Every checkpoint that is published has all ranks, at one step, of one life."""

import os
import random
import time

import pytest

from drills import check_all, no_drill_is_left, QUICK, QuickDaemon, Ranks, verify, wait_clean  # noqa: F401
from conftest import wait_until

SEED = int(os.environ.get("CKPTD_KILL_SEED", random.randrange(10**6)))
ROUNDS = int(os.environ.get("CKPTD_STRESS_ROUNDS", 3))
LIVE_S = (0.1, 0.6)
DRIFT_STEPS = 3

# ranks, microseconds a step and its jitter, how often the ranks turn back and how far, bytes of a rank
SHAPES = [
    (1, 0, 0, 0, 0, 48), (1, 100, 100, 500, 300, 48), (1, 10000, 0, 7, 5, 4096),
    (2, 0, 0, 0, 0, 48), (2, 0, 0, 100000, 60000, 48), (2, 1, 3, 20000, 15000, 4096), (2, 10000, 5000, 9, 4, 4096),
    (8, 0, 0, 0, 0, 48), (8, 1, 10, 2000, 1500, 480), (8, 200, 400, 150, 90, 4096), (8, 10000, 10000, 8, 5, 4096),
    (64, 0, 0, 0, 0, 48), (64, 1000, 2000, 90, 60, 480), (64, 10000, 10000, 0, 0, 960),
]


class Stress:
    def __init__(self, rng, shape):
        self.rng, self.daemon = rng, QuickDaemon().start()
        self.world, us, jitter, every, by, size = shape
        fast = us * 1000 + 100
        steps = max(1, 20_000_000 // fast)
        self.options = {"values": {"save_checkpoints_steps": steps, "keep_checkpoint_max": 0}, "us": us,
                        "jitter": jitter, "bytes": size, "lives": True, "build": QUICK}
        if every:
            self.options |= {"roll_every": every, "roll_by": by}
        self.drift = DRIFT_STEPS if every else None
        self.job, self.n_starts = None, 0

    def start(self):
        """Ranks that turn back keep together as collectives make them; the others run free."""
        self.n_starts += 1
        together = self.daemon.folder / f"together-{self.n_starts}" if self.drift else None
        self.job = Ranks(self.daemon, world=self.world, steps=10**12, together=together, drift=self.drift,
                         **self.options)

    def n_saved(self):
        return self.daemon.log().count("\nsaved ")

    def live(self):
        """Until something is saved, and a while longer."""
        before = self.n_saved()
        wait_until(lambda: self.n_saved() > before, lambda: f"no save\n{self.daemon.log()[-3000:]}", 60)
        time.sleep(self.rng.uniform(*LIVE_S))

    def restart_daemon(self):
        self.daemon.kill()
        self.daemon.start()

    def restart_job(self):
        """One rank is killed, in the midst of everything; the others follow."""
        self.rng.choice(self.job.ranks).kill()
        self.job.kill()
        self.start()

    def restart_all(self):
        self.daemon.kill()
        self.job.kill()
        self.daemon.start()
        self.start()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: f"{s[0]}x{s[1]}us{'-back' if s[3] else ''}")
def test_stress(shape):
    rng = random.Random(f"{SEED} {shape}")
    s = Stress(rng, shape)
    try:
        s.start()
        for _ in range(ROUNDS):
            s.live()
            rng.choice([s.restart_daemon, s.restart_job, s.restart_all])()
        s.live()
        s.job.kill()
        found = check_all(s.daemon, s.world)
        assert len(found) > 1
        wait_clean(s.daemon)
        verify(s.daemon)
        s.daemon.close()
    except BaseException:
        print(f"CKPTD_KILL_SEED={SEED} {shape}\n{s.daemon.log()[-6000:]}")
        s.job.kill()
        s.daemon.kill()
        raise
    print(f"seed {SEED} {shape}: {len(found)} checkpoints checked")
