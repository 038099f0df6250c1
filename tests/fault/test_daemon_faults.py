"""The n-th I/O call of the real daemon fails, for every n: while it reconciles, saves, publishes, records, replaces and
evicts.  Afterwards a new daemon finds every checkpoint that was reported published whole, no half one, no debris, and what
is not ours untouched."""

import concurrent.futures
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess

import pytest

from conftest import wait_until

RELEASE = pathlib.Path(os.environ.get("CKPTD_RELEASE", os.environ.get("CKPTD_BUILD", "build/release"))).absolute()
FAULTY = RELEASE / "tests/fault/faulty-ckptd"
DRILL = RELEASE / "tests/integration/drill"
KINDS = {"EIO": 1, "ENOSPC": 2, "short": 3, "EINTR": 4, "kill": 5}
KILLED = 77
WORKERS = max(2, os.cpu_count() or 2)
LONG_S = 120
FOREIGN = {
    "other.data-00000-of-00001": b"a bundle that TensorFlow is just writing",
    "model.ckpt-5_temp/part-00000-of-00001.index": b"half",
    "model.ckpt-7.index.tempstate123": b"half an index",
    "notes.txt": b"mine",
}


class Saves:
    """The usual life: reconcile, save, publish, record, evict."""
    settings = "policies:\n  normal: {save_checkpoints_steps: 1, keep_checkpoint_max: 2}\n"
    world = 1
    template = {2, 3}
    job = ["--steps", "5"]
    index, parts = ".index", 2


class Replaces(Saves):
    """A later run goes back, and publishes a step again under the name that it has already."""
    settings = "policies:\n  normal: {save_checkpoints_steps: 1, keep_checkpoint_max: 10}\n"
    template = {1, 2, 3}
    job = ["--from", "2", "--steps", "3"]


class Ranks(Saves):
    """Several shards and an index that is renamed last, in the other format."""
    settings = "policies:\n  normal: {save_checkpoints_steps: 1, keep_checkpoint_max: 2, format: safetensors}\n"
    world = 2
    index, parts = ".safetensors.index.json", 3


class Round:
    """One life of a model directory: a daemon with a fault and a job, then a sound daemon that looks at it."""

    def __init__(self, story, template, folder, kind, n):
        self.story, self.folder, self.kind, self.n = story, folder, kind, n
        shutil.copytree(template, folder)
        self.models, self.state, self.socket = folder / "m", folder / "state", folder / "s"
        self.log = folder / "log"

    def daemon(self, program, **env):
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [program, "--config", self.folder / "c.yaml", "--state", self.state, "--socket", self.socket],
                stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **env})
        wait_until(lambda: process.poll() is not None or self.answers(), "the daemon answers", LONG_S)
        return process

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(str(self.socket))
            except OSError:
                return False
        return True

    def ctl(self, *args):
        return subprocess.run([RELEASE / "daemon/ctl/ckptctl", "--socket", self.socket, *args], capture_output=True,
                              text=True, timeout=LONG_S)

    def drill(self, daemon, *args):
        """All ranks; what they printed, one text a rank.  As a launcher does it: they end with the first that fails, and
        do not wait for a daemon that is gone."""
        world = self.story.world
        more = ["--world", str(world), "--job", "j"] if world > 1 else []
        ranks = [subprocess.Popen([DRILL, "--dir", self.models, "--socket", self.socket, "--us", "100", *more,
                                   "--rank", str(i), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, text=True) for i in range(world)]
        wait_until(lambda: daemon.poll() is not None or any(r.poll() for r in ranks) or
                   all(r.poll() is not None for r in ranks), "the job ends", LONG_S)
        for r in ranks:
            r.kill()
        return [r.communicate(timeout=LONG_S)[0] for r in ranks]

    def text(self):
        return f"{self.kind} at call {self.n}\n{self.log.read_text() if self.log.exists() else ''}"

    def said(self, event):
        return {int(s) for s in re.findall(rf"^{event} \S+@(\d+):", self.text(), re.M)}

    def listed(self):
        return [c for c in json.loads(self.ctl("list", str(self.models), "--json").stdout) if c["state"] != "evicting"]

    def stop(self, process):
        process.terminate()
        return process.wait(LONG_S)


def make_template(story, base):
    """What was published before, and files that are not ours."""
    empty = base / "empty"
    empty.mkdir()
    (empty / "c.yaml").write_text(story.settings.replace("save_checkpoints_steps: 1", "save_on_start: false"))
    r = Round(story, empty, base / "made", "none", 0)
    d = r.daemon(RELEASE / "daemon/ckptd")
    done = r.drill(d, "--steps", "3", "--save-every", "1", "--wait")
    assert all("finished 3" in text for text in done), f"{done}\n{r.text()}"
    wait_until(lambda: {c["step"] for c in r.listed()} == story.template, lambda: f"{r.listed()}")
    assert r.stop(d) == 0
    for name, data in FOREIGN.items():
        path = r.models / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    (r.folder / "c.yaml").write_text(story.settings)
    r.log.unlink()
    # Nothing stays where it was made: every round's is the same directory, moved, and no copy.
    return r.folder.rename(base / "kept")


def run_with_fault(r):
    d = r.daemon(FAULTY, CKPTD_FAULT=f"{KINDS[r.kind]} {r.n}")
    if d.poll() is None:
        r.drill(d, *r.story.job)
    code = r.stop(d) if d.poll() is None else d.returncode
    assert code in (0, KILLED), f"exit {code}: {r.text()}"
    return code


def look(r):
    """What a new daemon finds.  Whatever failed, nothing is damaged by it."""
    published = r.said("saved")
    d = r.daemon(RELEASE / "daemon/ckptd")
    again = r.drill(d, "--steps", "0", "--no-finish")
    listed = r.listed()
    where = f"{r.text()}\n{listed}\n{again}"
    assert r.stop(d) == 0, where
    # What the disk did not give back is kept, and passed over until somebody has looked.
    assert not r.said("damaged") or r.kind == "EIO", where
    checks = json.loads(r.ctl("verify", str(r.models), "--json").stdout)
    assert checks and all(c["whole"] for c in checks), f"{where}\n{checks}"
    index = r.story.index
    names = {p.name[:-len(r.story.index)] for p in r.models.glob(f"model.ckpt-*{r.story.index}")
             if p.name not in FOREIGN}
    assert names == {pathlib.Path(c["path"]).name.removesuffix(r.story.index) for c in listed}, where
    on_disk = {c["step"] for c in listed}
    assert max(on_disk) >= max(published | r.story.template), where
    whole = {c["step"] for c in listed if c["state"] == "whole"}
    assert all(f"restored {max(whole)}" in text for text in again), where
    files = [p for p in r.models.glob("model.ckpt-*") if p.name not in FOREIGN and p.is_file()]
    assert len(files) == r.story.parts * len(names), f"{where}\n{files}"
    check_no_debris(r, where)
    if r.story is Replaces:
        check_replaced(listed, published, on_disk, where)
    else:
        assert set(sorted(published | r.story.template | on_disk)[-2:]) <= on_disk, where


def check_no_debris(r, where):
    debris = [p for p in r.models.rglob("*") if ".ckptd-tmp" in p.name]
    debris += [p for p in (r.models / ".ckptd/replaced").glob("*")]
    assert not debris, f"{where}\n{debris}"
    for name, content in FOREIGN.items():
        assert (r.models / name).read_bytes() == content, where


def check_replaced(listed, published, on_disk, where):
    """Either the old or the new one stands there, and the new one for sure once that was said."""
    assert on_disk == Replaces.template, where
    run = {c["step"]: c["run"] for c in listed}
    assert {run[1], run[2]} == {1}, where
    assert 3 not in published or run[3] > 1, where


def one_round(story, template, folder, kind, n):
    """Was there an n-th call?"""
    r = Round(story, template, folder, kind, n)
    code = run_with_fault(r)
    look(r)
    fired = code == KILLED if kind == "kill" else "the fault was met" in r.log.read_text()
    shutil.rmtree(r.folder)
    return fired


@pytest.fixture(scope="module")
def templates(tmp_path_factory):
    return {story: make_template(story, tmp_path_factory.mktemp("f")) for story in (Saves, Replaces, Ranks)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("story", [Saves, Replaces, Ranks])
def test_every_call(templates, tmp_path, story, kind):
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        for first in range(1, 1000, 2 * WORKERS):
            rounds = [pool.submit(one_round, story, templates[story], tmp_path / f"r{n}", kind, n)
                      for n in range(first, first + 2 * WORKERS)]
            if not all([f.result() for f in rounds]):
                break
    assert first > (20 if kind == "short" else 80), f"only {first} calls"
