"""Checkpoints and state files that we write, read by TensorFlow and safetensors, and the other way round."""

import json
import os
import pathlib
import subprocess

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np  # noqa: E402
import pytest  # noqa: E402

BUILD = pathlib.Path(os.environ["CKPTD_BUILD"])
TOOL = BUILD / "tests/interop/write-checkpoint"

tf = pytest.importorskip("tensorflow")
text_format = pytest.importorskip("google.protobuf.text_format")
safetensors = pytest.importorskip("safetensors")
from hypothesis import given, settings, strategies as st  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402
from arrays import Part, same, values  # noqa: E402
from tensorflow.python.checkpoint import checkpoint_management  # noqa: E402
from tensorflow.python.training import checkpoint_state_pb2  # noqa: E402

BFLOAT16 = tf.bfloat16.as_numpy_dtype
FLOAT8 = tf.dtypes.experimental.float8_e4m3fn.as_numpy_dtype


def run(*args, stdin=None):
    return subprocess.run([TOOL, *map(str, args)], input=stdin, capture_output=True, timeout=120)


def write(directory, name, ranks, fmt="tensorbundle", step=7):
    """ranks: a dict a rank, of name to array or Part, or a list of pairs where a name comes twice."""
    paths = []
    for i, tensors in enumerate(ranks):
        pairs = list(tensors.items()) if isinstance(tensors, dict) else tensors
        manifest, data = [], b""
        for key, value in pairs:
            array = value.array if isinstance(value, Part) else np.asarray(value)
            entry = {"name": key, "dtype": array.dtype.name, "shape": list(array.shape)}
            if isinstance(value, Part):
                entry["slice"] = value.spec
            manifest.append(entry)
            data += array.tobytes()
        path = directory / f"rank{i}"
        path.with_suffix(".json").write_text(json.dumps(manifest))
        path.with_suffix(".bin").write_bytes(data)
        paths.append(path)
    done = run("write", directory, fmt, name, step, *paths)
    assert done.returncode == 0, done.stderr.decode()
    check = run("verify", directory, name)
    assert check.returncode == 0, check.stderr.decode()
    return directory / name


def check_bundle(prefix, expected):
    reader = tf.train.load_checkpoint(str(prefix))
    shapes = reader.get_variable_to_shape_map()
    assert {k: tuple(v) for k, v in shapes.items()} == {k: v.shape for k, v in expected.items()}
    dtypes = reader.get_variable_to_dtype_map()
    for name, array in expected.items():
        assert dtypes[name].as_numpy_dtype == array.dtype.type
        same(np.asarray(reader.get_tensor(name)), array)


def test_tensorflow_reads_one_shard(tmp_path):
    dtypes = [np.float32, np.float64, np.float16, BFLOAT16, FLOAT8, np.int8, np.int16, np.int32, np.int64,
              np.uint8, np.uint16, np.uint32, np.uint64, np.bool_, np.complex64, np.complex128]
    state = {f"v/{np.dtype(d).name}": values((3, 5), d) for d in dtypes}
    state |= {"scalar": values((), np.int64), "empty": values((0, 4), np.float32),
              "naïve/λ/重み 😀": values((7,), np.float32), "a" * 3000: values((2,), np.float32),
              "w\"\\\n": values((1, 1, 1, 1, 1, 1), np.int32)}
    check_bundle(write(tmp_path, "model.ckpt-7", [state]), state)


def test_tensorflow_reads_many_tensors(tmp_path):
    """Enough for several blocks of the index."""
    state = {f"encoder/layer_{i:05}/some/quite/long/name/of/a/kernel": values((2, 3), np.float32, i)
             for i in range(9000)}
    check_bundle(write(tmp_path, "model.ckpt-7", [state]), state)


def test_tensorflow_reads_three_shards_with_slices(tmp_path):
    rows, grid = values((6, 4), np.float32), values((4, 4), BFLOAT16, 2)
    deep, shared = values((2, 300, 3), np.int64, 3), values((5,), np.float64)
    ranks = [
        {"shared": shared, "rows": Part(rows, (0, 2), None), "grid": Part(grid, (0, 2), (0, 2)), "own/0": shared},
        {"rows": Part(rows, (2, 2), None), "shared": shared, "grid": Part(grid, (0, 2), (2, 2)),
         "deep": Part(deep, None, (0, 131), None)},
        [("rows", Part(rows, (4, 2), None)), ("grid", Part(grid, (2, 2), None)),
         ("deep", Part(deep, None, (131, 169), (0, 1))), ("deep", Part(deep, None, (131, 169), (1, 2)))],
    ]
    prefix = write(tmp_path, "model.ckpt-9", ranks)
    check_bundle(prefix, {"rows": rows, "grid": grid, "deep": deep, "shared": shared, "own/0": shared})
    part = tf.raw_ops.RestoreV2(prefix=str(prefix), tensor_names=["rows"],
                                shape_and_slices=["6 4 1,4:1,2"], dtypes=[tf.float32])[0]
    same(part.numpy(), np.ascontiguousarray(rows[1:5, 1:3]))


def test_tensorflow_reads_a_rank_that_stored_nothing(tmp_path):
    w = values((4,), np.float32)
    check_bundle(write(tmp_path, "m-1", [{"w": w}, {"w": w}]), {"w": w})


def test_index_is_what_tensorflow_writes(tmp_path):
    """Of tensors that need no padding, in parts and whole, TensorFlow's own index has the same bytes."""
    w, v = values((32, 4), np.float32), values((16,), np.float32)
    (tmp_path / "tf").mkdir()
    shards = [str(tmp_path / "tf" / f"part-{i}") for i in range(2)]
    specs = ["32 4 0,16:-", "32 4 16,16:-"]
    tf.raw_ops.SaveV2(prefix=shards[0], tensor_names=["w", "v"], shape_and_slices=[specs[0], ""],
                      tensors=[w[:16], v])
    tf.raw_ops.SaveV2(prefix=shards[1], tensor_names=["w"], shape_and_slices=[specs[1]], tensors=[w[16:]])
    theirs = tmp_path / "tf" / "m-1"
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=shards, destination_prefix=str(theirs))
    ours = write(tmp_path, "m-1", [[("w", Part(w, (0, 16), None)), ("v", v)], {"w": Part(w, (16, 16), None)}])
    assert pathlib.Path(f"{ours}.index").read_bytes() == pathlib.Path(f"{theirs}.index").read_bytes()


def test_we_read_what_tensorflow_saves(tmp_path):
    """Variables, strings, and the variant of a data set's iterator."""
    numbers = iter(tf.data.Dataset.range(10).shuffle(4))
    next(numbers)
    state = tf.train.Checkpoint(step=tf.Variable(3, dtype=tf.int64), w=tf.Variable(values((9, 9), np.float32)),
                                text=tf.Variable(["", "é", "x" * 300]), iterator=numbers)
    path = pathlib.Path(state.save(str(tmp_path / "ckpt")))
    done = run("verify", tmp_path, path.name)
    assert done.returncode == 0, done.stderr.decode()
    reader = tf.train.load_checkpoint(str(path))
    assert sorted(done.stdout.decode().split()) == sorted(reader.get_variable_to_shape_map())
    assert any(d == tf.variant for d in reader.get_variable_to_dtype_map().values())
    data = path.parent / f"{path.name}.data-00000-of-00001"
    whole = data.read_bytes()
    for i in range(len(whole)):
        data.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1:])
        if i % 97 == 0:
            assert run("verify", tmp_path, path.name).returncode == 1, i


def test_safetensors_reads_one_file(tmp_path):
    state = {"b": values((5,), np.float16), "w": values((3, 4), np.float32), "s": values((), np.int64),
             "empty": values((0, 2), np.float32), "f": values((3,), np.bool_), "λ \"\\\n": values((2,), np.uint8)}
    path = write(tmp_path, "model-7", [state], "safetensors", 7)
    loaded = load_file(f"{path}.safetensors")
    assert loaded.keys() == state.keys()
    for name, array in state.items():
        same(loaded[name], array)
    with safetensors.safe_open(f"{path}.safetensors", "numpy") as f:
        assert f.metadata()["format"] == "pt" and f.metadata()["step"] == "7"


def test_safetensors_reads_shards(tmp_path):
    shared, a, b = values((6,), np.float64), values((3, 4), np.float32), values((2, 2), np.int32)
    path = write(tmp_path, "model-7", [{"shared": shared, "a": a}, {"b": b, "shared": shared}], "safetensors")
    index = json.loads(pathlib.Path(f"{path}.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == shared.nbytes + a.nbytes + b.nbytes
    for name, array in {"shared": shared, "a": a, "b": b}.items():
        same(load_file(tmp_path / index["weight_map"][name])[name], array)
    assert index["weight_map"]["shared"] == "model-7-00001-of-00002.safetensors"


def test_a_rewritten_safetensors_file_is_whole(tmp_path):
    """Another tool changes a tensor of ours and keeps the metadata: its file, not a damaged one of ours."""
    path = f"{write(tmp_path, 'model-7', [{'w': values((3,), np.float32)}], 'safetensors')}.safetensors"
    with safetensors.safe_open(path, "numpy") as f:
        metadata = f.metadata()
    save_file({"w": np.zeros(3, np.float32), "v": np.ones(2, np.float32)}, path, metadata)
    done = run("verify", tmp_path, "model-7")
    assert done.returncode == 0, done.stderr.decode()


def state_of(text):
    return text_format.Merge(text, checkpoint_state_pb2.CheckpointState())


paths = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1)
times = st.floats(allow_nan=False)


@settings(max_examples=300, deadline=None)
# A time of -0.0 is written by TensorFlow and means nothing: here it is 0.
@given(st.lists(st.tuples(paths, times), max_size=4), paths, times.map(lambda t: t + 0.0))
def test_state_files_go_both_ways(entries, newest, preserved):
    theirs = checkpoint_state_pb2.CheckpointState(
        model_checkpoint_path=newest, all_model_checkpoint_paths=[p for p, _ in entries],
        all_model_checkpoint_timestamps=[t for _, t in entries], last_preserved_timestamp=preserved)
    for as_utf8 in (False, True):
        done = run("state", stdin=text_format.MessageToString(theirs, as_utf8=as_utf8).encode())
        assert done.returncode == 0, done.stderr.decode()
        ours = done.stdout.decode("ascii")
        assert state_of(ours) == theirs
    assert ours == text_format.MessageToString(theirs, as_utf8=False)


def test_tensorflow_finds_the_latest_by_our_state_file(tmp_path):
    write(tmp_path, "model.ckpt-7", [{"w": values((2,), np.float32)}])
    done = run("state", stdin=b"model_checkpoint_path: 'model.ckpt-7' all_model_checkpoint_paths: ['model.ckpt-7']")
    (tmp_path / "checkpoint").write_bytes(done.stdout)
    assert checkpoint_management.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-7")


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet='modelchkpint_a:;,[]{}"\'\\x0127.-+e#\n ', max_size=40), st.booleans())
def test_what_we_take_tensorflow_takes(text, named):
    """Never the other way round with another meaning: what both take means the same."""
    text = 'model_checkpoint_path: "x" ' + ("all_model_checkpoint_timestamps: " if named else "") + text
    done = run("state", stdin=text.encode())
    if done.returncode == 0:
        theirs = state_of(text)
        if len(theirs.all_model_checkpoint_timestamps) != len(theirs.all_model_checkpoint_paths):
            theirs.ClearField("all_model_checkpoint_timestamps")
        assert state_of(done.stdout.decode()) == theirs
