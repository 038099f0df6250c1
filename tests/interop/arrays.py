"""Numpy arrays, whole or in parts, as the tensors of jobs in C: saved and restored by the real daemon."""

import pathlib
import subprocess

import numpy as np
import tensorflow as tf

from conftest import BUILD

JOB = BUILD / "tests/interop/arrays-job"
# Saves happen when the job says so, and never else.
QUIET = "save_checkpoints_secs: null, save_on_start: false, save_on_end: false"


def values(shape, dtype, seed=1):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "c":
        return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(dtype)
    if np.dtype(dtype).kind == "b":
        return np.asarray(rng.integers(0, 2, shape)).astype(dtype)
    return np.asarray(rng.standard_normal(shape) * 50).astype(dtype)


def same(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape
    assert a.tobytes() == b.tobytes()


class Part:
    """A part of a larger array: where it begins, and how long it is."""

    def __init__(self, full, *extents):
        self.full = full
        self.slices = tuple(slice(None) if e is None else slice(e[0], e[0] + e[1]) for e in extents)
        spec = ":".join("-" if e is None else f"{e[0]},{e[1]}" for e in extents)
        self.spec = " ".join(map(str, full.shape)) + " " + spec
        self.array = np.ascontiguousarray(full[self.slices])


def settings(models, more=""):
    """For a daemon whose model directories lie below `models`."""
    return f"policies:\n  quiet: {{{QUIET}{more}}}\nmodel_dirs:\n  - {{path: {models}/*, policy: quiet}}\n"


def pairs(tensors):
    """(name, array, slice spec) of a rank; the arrays have the shape of what the rank holds."""
    items = tensors.items() if isinstance(tensors, dict) else tensors
    for name, value in items:
        yield (name, value.array, value.spec) if isinstance(value, Part) else (name, value, "")


def line_of(name, array, spec):
    number = tf.as_dtype(array.dtype).as_datatype_enum
    return f"{number}\t{array.nbytes}\t{','.join(map(str, array.shape))}\t{spec}\t{name}\n"


def run(daemon, verb, directory, ranks, step=0):
    """Starts a process a rank; the paths of their data.  All must succeed."""
    folder = pathlib.Path(daemon.folder)
    jobs, paths = [], []
    for i, tensors in enumerate(ranks):
        stem = folder / f"{verb}-{i}"
        rows = list(pairs(tensors))
        stem.with_suffix(".tensors").write_text("".join(line_of(*row) for row in rows))
        data = stem.with_suffix(".data")
        data.write_bytes(b"".join(a.tobytes() for _, a, _ in rows) if verb == "save" else b"")
        paths.append(data)
        jobs.append(subprocess.Popen(
            [JOB, verb, directory, "arrays", str(i), str(len(ranks)), str(step), stem.with_suffix(".tensors"), data],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**daemon.env, "CKPTD_SOCKET": str(daemon.socket)}))
    said = []
    try:
        for job in jobs:
            out, err = job.communicate(timeout=120)
            assert job.returncode == 0, f"{err}\n{daemon.log()}"
            said.append(out.split())
    finally:
        for job in jobs:
            job.kill()
    return said, paths


def save(daemon, directory, ranks, step):
    said, _ = run(daemon, "save", directory, ranks, step)
    assert said == [["published", str(step)]] * len(ranks)


def restore(daemon, directory, ranks):
    """Into arrays as those of `ranks`: (step, a dict a rank of name to array)."""
    said, paths = run(daemon, "restore", directory, ranks)
    assert len({tuple(s) for s in said}) == 1 and said[0][0] == "restored"
    result = []
    for tensors, path in zip(ranks, paths):
        data, found = path.read_bytes(), {}
        for name, array, _ in pairs(tensors):
            found[name] = np.frombuffer(data[:array.nbytes], array.dtype).reshape(array.shape)
            data = data[array.nbytes:]
        assert not data
        result.append(found)
    return int(said[0][1]), result
