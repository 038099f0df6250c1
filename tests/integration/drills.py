"""Jobs for the real daemon: one `drill` process a rank, and checks of what they left on the disk."""

import hashlib
import json
import os
import pathlib
import subprocess

import numpy
import pytest

from conftest import BUILD, CKPTD, CKPTCTL, SANITIZERS, Daemon, wait_until

DRILL = BUILD / "tests/integration/drill"
# Rounds that only have to be many take the release build, where there is one.
QUICK = pathlib.Path(os.environ.get("CKPTD_RELEASE", BUILD)).absolute()
LONG_S = 120
running = []


@pytest.fixture(autouse=True)
def no_drill_is_left():
    """A test that fails leaves nobody behind.  Whoever imports it has it."""
    yield
    for process in running:
        if process.poll() is None:
            process.kill()
            process.wait()
    running.clear()


class QuickDaemon(Daemon):
    """The same daemon, built for speed where that build is there."""

    def command(self, *args):
        return [QUICK / CKPTD.relative_to(BUILD), *super().command(*args)[1:]]


class Drill:
    """One rank.  `lines` is all that it has printed so far."""

    def __init__(self, daemon, name, build=BUILD, **options):
        self.out = daemon.folder / f"{name}.out"
        self.err = daemon.folder / f"{name}.err"
        command = [build / DRILL.relative_to(BUILD), "--socket", daemon.socket]
        for key, value in options.items():
            if value is not None and value is not False:
                command.append(f"--{key.replace('_', '-')}")
                command += [] if value is True else [str(value)]
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            self.process = subprocess.Popen(command, stdout=out, stderr=err,
                                            stdin=subprocess.DEVNULL, env=daemon.env)
        running.append(self.process)

    @property
    def lines(self):
        return self.out.read_text().splitlines()

    def values(self, word):
        """The numbers N of its lines `word N`."""
        return [int(l.split()[1]) for l in self.lines if l.startswith(f"{word} ")]

    def said(self, text):
        return any(text in l for l in self.lines)

    def wait_said(self, text, timeout_s=LONG_S):
        wait_until(lambda: self.said(text) or self.process.poll() is not None,
                   f"{text!r} in {self.out}", timeout_s)
        assert self.said(text), f"ended with {self.process.poll()}: {self.lines} {self.stderr}"

    @property
    def stderr(self):
        return self.err.read_text(errors="replace")

    def wait(self, timeout_s=LONG_S):
        """Its exit code, once it has ended by itself."""
        code = self.process.wait(timeout_s)
        assert not any(s in self.stderr for s in SANITIZERS), self.stderr
        assert not self.said("torn"), self.lines
        return code

    def kill(self):
        self.process.kill()
        self.process.wait()


class Ranks:
    """All ranks of a job.  An option that is a list gives each rank its own value."""

    count = 0

    def __init__(self, daemon, directory="m", world=1, values=None, job="j", build=BUILD, **options):
        self.daemon, self.world = daemon, world
        self.options = {**options, "dir": daemon.models / directory,
                        "values": json.dumps(values) if values else None,
                        "job": job if world > 1 else None, "build": build}
        self.ranks = [self.start_rank(i) for i in range(world)]

    def start_rank(self, i, **other):
        Ranks.count += 1
        mine = {k: v[i] if isinstance(v, list) else v for k, v in self.options.items()}
        return Drill(self.daemon, f"drill-{Ranks.count}-{i}", rank=i, world=self.world,
                     **{**mine, **other})

    def __getitem__(self, i):
        return self.ranks[i]

    def wait_all(self, text):
        for rank in self.ranks:
            rank.wait_said(text)

    def end(self, codes=(0,)):
        """Waits for all; returns the one step that they finished at, or None."""
        found = [rank.wait() for rank in self.ranks]
        assert set(found) <= set(codes), [(r.lines[-3:], r.stderr) for r in self.ranks]
        steps = {n for rank in self.ranks for n in rank.values("finished")}
        assert len(steps) <= 1
        return steps.pop() if steps else None

    def kill(self):
        for rank in self.ranks:
            rank.process.kill()
        for rank in self.ranks:
            rank.process.wait()

    def restored(self):
        """The one step that all ranks were restored to."""
        self.wait_all("restored")
        steps = {rank.values("restored")[-1] for rank in self.ranks}
        assert len(steps) == 1, steps
        return steps.pop()


def quick_ctl(daemon, *args):
    return subprocess.run([QUICK / CKPTCTL.relative_to(BUILD), "--socket", daemon.socket, *map(str, args)],
                          text=True, capture_output=True, timeout=LONG_S, env=daemon.env)


def quick_json(daemon, *args):
    done = quick_ctl(daemon, *args, "--json")
    assert done.stdout and done.returncode in (0, 1), f"{done.args}: {done.stdout}{done.stderr}"
    return json.loads(done.stdout)


def checkpoints(daemon, directory="m"):
    """The whole ones, oldest first, as `ckptctl list --json` has them; none before it is registered."""
    done = quick_ctl(daemon, "list", daemon.models / directory, "--json")
    if "not a registered directory" in done.stderr:
        return []
    assert done.returncode == 0, f"{done.args}: {done.stdout}{done.stderr}"
    return [row for row in reversed(json.loads(done.stdout)) if row["state"] == "whole"]


def steps(daemon, directory="m"):
    return [row["step"] for row in checkpoints(daemon, directory)]


def pattern(step, rank, tensor, n_words):
    """As drill.c has it."""
    words = numpy.arange(n_words, dtype=numpy.uint64)
    start = (step * 0x9E3779B97F4A7C15 + rank * 1000003 + tensor * 8191) % 2**64
    x = words + numpy.uint64(start)
    return x ^ (x >> numpy.uint64(29))


def check_checkpoint(daemon, path, step, world, shared=False):
    """Every byte of every rank is of the one step, and all ranks had the same life."""
    found = quick_json(daemon, "inspect", path, "--sha256")
    assert found["step"] == step
    lives, ranks = set(), set()
    for tensor in found["tensors"]:
        owner, _, layer = tensor["name"].partition("/")
        if layer == "life":
            lives.add(tensor["sha256"])
            continue
        rank, layer = (0, owner) if shared else (int(owner.split("_")[1]), layer.split("/")[0])
        ranks.add(rank)
        data = pattern(step, rank, int(layer.split("_")[1]), tensor["bytes"] // 8)
        assert hashlib.sha256(data.tobytes()).hexdigest() == tensor["sha256"], (path, tensor)
    assert len(lives) <= 1, f"{path}: ranks of different lives"
    assert ranks == ({0} if shared else set(range(world))), path


def check_all(daemon, world, directory="m", shared=False):
    """Checks every checkpoint that is there; returns their steps, oldest first."""
    rows = checkpoints(daemon, directory)
    for row in rows:
        check_checkpoint(daemon, row["path"], row["step"], world, shared)
    return [row["step"] for row in rows]


def verify(daemon, directory="m"):
    """Nothing in the directory is damaged; what was evicted meanwhile does not count."""
    rows = quick_json(daemon, "verify", daemon.models / directory)
    bad = [row for row in rows if not row["whole"] and "no checkpoint there" not in str(row["damage"])]
    assert not bad, bad
    return rows


def debris(daemon, directory="m"):
    """Temporary files, and data that no index names."""
    found = [p.name for p in (daemon.models / directory).iterdir()]
    whole = {n.removesuffix(".index") for n in found if n.endswith(".index")}
    return [n for n in found if n.startswith(".ckptd-tmp-")
            or ".data-" in n and n.partition(".data-")[0] not in whole]


def wait_clean(daemon, directory="m"):
    """Nobody writes any more, and nothing half made is left."""
    wait_until(lambda: not debris(daemon, directory), lambda: f"debris: {debris(daemon, directory)}\n{daemon.log()}")


def events(daemon, kind, directory="m"):
    """The history's events of one kind, oldest first."""
    return quick_json(daemon, "history", daemon.models / directory, "--event", kind)
