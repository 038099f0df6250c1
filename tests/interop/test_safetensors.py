"""safetensors' own reader and writer against the daemon, a job and ckptctl."""

import hashlib
import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import arrays
from arrays import same, values


@pytest.fixture
def daemon(ckptd):
    d = ckptd(start=False)
    d.write_settings(arrays.settings(d.models, ", format: safetensors"))
    return d.start()


def inspected(daemon, path):
    """name → (dtype, shape, sha256)"""
    told = json.loads(daemon.ctl("inspect", "--sha256", "--json", path, check=True).stdout)
    return {t["name"]: (t["dtype"], t["shape"], t["sha256"]) for t in told["tensors"]}


def facts_of(state):
    return {name: (a.dtype.name, list(a.shape), hashlib.sha256(a.tobytes()).hexdigest())
            for name, a in state.items()}


def every_dtype():
    names = ("float64 float32 float16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool").split()
    state = {f"v/{name}": values((3, 5), name) for name in names}
    return state | {"scalar": values((), np.float32), "empty": values((0, 4), np.int32),
                    "naïve/重み \"\\": values((7,), np.uint8)}


def test_reads_one_rank(daemon):
    state, directory = every_dtype(), daemon.models / "m"
    arrays.save(daemon, directory, [state], 30)
    path = daemon.ctl("latest", directory, check=True).stdout.strip()
    assert path == str(directory / "model.ckpt-30.safetensors")
    loaded = load_file(path)
    assert loaded.keys() == state.keys()
    for name, array in state.items():
        same(loaded[name], array)
    with safe_open(path, "numpy") as f:
        assert f.metadata()["step"] == "30"
    assert inspected(daemon, path) == facts_of(state)


def test_reads_shards_by_their_index(daemon):
    shared = values((6,), np.float64)
    ranks = [{"shared": shared, f"r{i}/w": values((3 + i, 4), np.float32, i)} for i in range(3)]
    directory = daemon.models / "m"
    arrays.save(daemon, directory, ranks, 31)
    path = directory / "model.ckpt-31.safetensors.index.json"
    assert daemon.ctl("latest", directory, check=True).stdout.strip() == str(path)
    index = json.loads(path.read_text())
    state = {name: array for rank in ranks for name, array in rank.items()}
    assert index["weight_map"].keys() == state.keys()
    assert index["metadata"]["total_size"] == sum(a.nbytes for a in state.values())
    for name, array in state.items():
        same(load_file(directory / index["weight_map"][name])[name], array)
    # A job of one rank takes what three saved.
    step, (found,) = arrays.restore(daemon, directory, [state])
    assert step == 31
    for name, array in state.items():
        same(found[name], array)


def test_we_read_what_it_writes(daemon, tmp_path):
    state, path = every_dtype(), tmp_path / "theirs-12.safetensors"
    save_file(state, path, {"format": "np", "note": "of the test"})
    assert inspected(daemon, path) == facts_of(state)
    assert json.loads(daemon.ctl("verify", "--json", path, check=True).stdout)[0]["whole"]
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    done = daemon.ctl("verify", "--json", path)
    assert done.returncode == 1 and not json.loads(done.stdout)[0]["whole"]


def test_we_read_its_shards(daemon, tmp_path):
    state = every_dtype()
    names, weight_map = sorted(state), {}
    for i in range(3):
        file = f"model-{i + 1:05}-of-00003.safetensors"
        save_file({name: state[name] for name in names[i::3]}, tmp_path / file)
        weight_map |= {name: file for name in names[i::3]}
    path = tmp_path / "model.safetensors.index.json"
    total = sum(a.nbytes for a in state.values())
    path.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    assert inspected(daemon, path) == facts_of(state)
    daemon.ctl("verify", path, check=True)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    done = daemon.ctl("verify", path)
    assert done.returncode == 1 and "model-00002-of-00003.safetensors" in done.stdout + done.stderr


def test_a_job_goes_on_from_what_it_wrote(daemon):
    """Adopted: a file that safetensors wrote, with the step in its name."""
    state, directory = every_dtype(), daemon.models / "m"
    directory.mkdir()
    save_file(state, directory / "theirs-12.safetensors")
    step, (found,) = arrays.restore(daemon, directory, [state])
    assert step == 12
    for name, array in state.items():
        same(found[name], array)
