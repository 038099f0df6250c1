"""The Iris job in C and TensorFlow's own DNNClassifier: one model directory, one training."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import arrays  # noqa: E402
import tensorflow as tf  # noqa: E402

tf.get_logger().setLevel("ERROR")

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests/data/golden/tensorflow/estimator"
FLOWERS = np.loadtxt(ROOT / "lib/client/examples/iris.csv", delimiter=",", skiprows=1)
# The columns of the file, by the tutorial's names.
FEATURES = ["SepalLength", "SepalWidth", "PetalLength", "PetalWidth"]
ROWS, BATCH = 150, 100
SETTINGS = """
policies:
  tutorial: {save_checkpoints_steps: 500, save_checkpoints_secs: null}
model_dirs:
  - {path: %s/*, policy: tutorial}
"""


@pytest.fixture
def daemon(ckptd):
    d = ckptd(start=False)
    d.write_settings(SETTINGS % d.models)
    return d.start()


# ---- the two sides ----


def iris(daemon, directory, *args):
    """Runs the C job to its end: what it printed last, as numbers."""
    job = daemon.iris("--model-dir", directory, *args)
    try:
        out, err = job.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        job.kill()
        raise AssertionError(f"iris hangs: {job.communicate()}\n{daemon.log()}") from None
    assert job.returncode == 0, f"{out}{err}\n{daemon.log()}"
    end = re.search(r"finished at step (\d+)\naccuracy ([\d.]+) loss ([\d.]+)\n$", out)
    assert end, out
    return {"step": int(end[1]), "accuracy": end[2], "loss": float(end[3]), "said": out.splitlines()}


def classifier(directory, hidden_units=(10, 10)):
    """As the tutorial has it; Estimator's class says "Adagrad" too, but with another rate."""
    return tf.estimator.DNNClassifier(
        feature_columns=[tf.feature_column.numeric_column(f) for f in FEATURES],
        hidden_units=list(hidden_units), n_classes=3, model_dir=str(directory),
        optimizer=tf.keras.optimizers.legacy.Adagrad(0.05))


def batches(indices):
    """Some rows a batch, in this order."""
    picked = FLOWERS[indices].astype(np.float32)
    labels = FLOWERS[indices][..., 4].astype(np.int64)
    return tf.data.Dataset.from_tensor_slices(
        ({f: picked[..., i] for i, f in enumerate(FEATURES)}, labels))


def evaluate(directory):
    return classifier(directory).evaluate(lambda: batches(np.arange(ROWS)[None]))


def train(directory, steps):
    order = np.random.default_rng(5)
    picked = np.stack([order.permutation(ROWS)[:BATCH] for _ in range(steps)])
    classifier(directory).train(lambda: batches(picked), steps=steps)


def values_of(prefix):
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: np.asarray(reader.get_tensor(name)) for name in reader.get_variable_to_shape_map()}


def inspected(daemon, path):
    """name → dtype, shape, sha256, as a golden file has them"""
    told = json.loads(daemon.ctl("inspect", "--sha256", "--json", path, check=True).stdout)
    return {t["name"]: {k: t[k] for k in ("dtype", "shape", "sha256")} for t in told["tensors"]}


def facts_of(values):
    return {name: {"dtype": a.dtype.name, "shape": list(a.shape), "sha256": hashlib.sha256(a.tobytes()).hexdigest()}
            for name, a in values.items()}


def check_evaluation(theirs, ours):
    assert theirs["global_step"] == ours["step"]
    assert f"{theirs['accuracy']:.4f}" == ours["accuracy"]
    assert abs(theirs["average_loss"] - ours["loss"]) < 1e-5


def states(daemon, directory):
    rows = json.loads(daemon.ctl("list", "--json", directory, check=True).stdout)
    return [(row["step"], row["state"]) for row in rows]


def events(daemon, directory):
    rows = json.loads(daemon.ctl("history", "--json", directory, check=True).stdout)
    return [(row["event"], row.get("step")) for row in rows]


# ---- TensorFlow reads what the C job wrote ----


def test_estimator_evaluates_our_directory(daemon):
    directory = daemon.models / "m"
    ours = iris(daemon, directory, "--steps", 2000)
    assert float(ours["accuracy"]) > 0.9
    check_evaluation(evaluate(directory), ours)


def test_variables_are_the_estimators_own(daemon):
    """Names, dtypes and shapes; the golden network has two features."""
    directory = daemon.models / "m"
    iris(daemon, directory, "--steps", 10)
    golden = json.loads((GOLDEN / "model.ckpt-100.expect.json").read_text())
    found = inspected(daemon, directory / "model.ckpt-10")
    assert found.keys() == golden.keys()
    for name, theirs in golden.items():
        shape = [4, 10] if theirs["shape"] == [2, 10] else theirs["shape"]
        assert (found[name]["dtype"], found[name]["shape"]) == (theirs["dtype"], shape), name


def test_every_value_is_read_bit_for_bit(daemon):
    directory = daemon.models / "m"
    iris(daemon, directory, "--steps", 700)
    newest = tf.train.latest_checkpoint(str(directory))
    assert newest == daemon.ctl("latest", directory, check=True).stdout.strip() == str(directory / "model.ckpt-700")
    values = values_of(newest)
    assert facts_of(values) == inspected(daemon, newest)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        variables = {name: tf.compat.v1.get_variable(name, a.shape, a.dtype) for name, a in values.items()}
        tf.compat.v1.train.Saver(variables).restore(session, newest)
        restored = session.run(variables)
    assert facts_of({name: np.asarray(a) for name, a in restored.items()}) == inspected(daemon, newest)


def test_state_file_is_parsed(daemon):
    directory = daemon.models / "m"
    iris(daemon, directory, "--steps", 1200)
    state = tf.train.get_checkpoint_state(str(directory))
    steps = sorted(step for step, _ in states(daemon, directory))
    assert len(steps) > 2
    assert list(state.all_model_checkpoint_paths) == [str(directory / f"model.ckpt-{s}") for s in steps]
    assert state.model_checkpoint_path == str(directory / "model.ckpt-1200")
    times = list(state.all_model_checkpoint_timestamps)
    assert len(times) == len(steps) and times == sorted(times)
    for path in state.all_model_checkpoint_paths:
        assert values_of(path)["global_step"] == int(path.rsplit("-", 1)[1])


# ---- the same training ----


def split_mix(state):
    mask = (1 << 64) - 1
    while True:
        state = (state + 0x9E3779B97F4A7C15) & mask
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        yield z ^ (z >> 31)


def batch_of(step):
    """The rows that the C job takes at this step."""
    random, rows = split_mix((step * 2654435761 + 1) & ((1 << 64) - 1)), list(range(ROWS))
    for i in range(BATCH):
        j = i + next(random) % (ROWS - i)
        rows[i], rows[j] = rows[j], rows[i]
    return rows[:BATCH]


def test_same_steps_from_the_same_start(daemon):
    """Estimator, from the C job's step 0 and with its batches, comes to where the C job came."""
    ours, theirs = daemon.models / "ours", daemon.folder / "theirs"
    iris(daemon, ours, "--steps", 0)
    shutil.copytree(ours, theirs)
    iris(daemon, ours, "--steps", 200)
    picked = np.stack([batch_of(step) for step in range(200)])
    classifier(theirs).train(lambda: batches(picked), steps=200)
    a, b = values_of(ours / "model.ckpt-200"), values_of(theirs / "model.ckpt-200")
    start = values_of(theirs / "model.ckpt-0")
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_allclose(a[name], b[name], rtol=2e-3, atol=2e-4, err_msg=name)
    moved = max(np.abs(a[n] - start[n]).max() for n in a if n.startswith("dnn/"))
    assert moved > 0.1


# ---- each goes on where the other stopped ----


def test_estimator_goes_on_from_our_directory(daemon):
    directory = daemon.models / "m"
    iris(daemon, directory, "--steps", 600)
    train(directory, 100)
    assert tf.train.latest_checkpoint(str(directory)) == str(directory / "model.ckpt-700")
    theirs = evaluate(directory)
    # TensorFlow wrote step 600 once more, under the same name: whole, and not ours any more.
    ours = iris(daemon, directory, "--steps", 700)
    assert "restored step 700" in ours["said"]
    check_evaluation(theirs, ours)
    assert {state for _, state in states(daemon, directory)} == {"whole"}
    assert ("adopted", 700) in events(daemon, directory)
    daemon.ctl("verify", directory, check=True)


def test_our_job_resumes_from_the_estimators_directory(daemon):
    directory = daemon.models / "m"
    train(directory, 300)
    theirs = evaluate(directory)
    values = values_of(directory / "model.ckpt-300")
    files = {p: p.read_bytes() for p in directory.glob("model.ckpt-*")}
    ours = iris(daemon, directory, "--steps", 300)
    assert "restored step 300" in ours["said"]
    check_evaluation(theirs, ours)
    assert {("adopted", 300), ("restored", 300)} <= set(events(daemon, directory))
    # What a job gets is what TensorFlow wrote, bit for bit, and that is still there.
    step, (restored,) = arrays.restore(daemon, directory, [values])
    assert step == 300
    assert facts_of(restored) == facts_of(values) == inspected(daemon, directory / "model.ckpt-300")
    assert {p: p.read_bytes() for p in files} == files
    # And on.
    ours = iris(daemon, directory, "--steps", 900)
    check_evaluation(evaluate(directory), ours)


# ---- a network of another shape ----


def test_another_network_is_refused_in_tensorflows_words(daemon):
    directory = daemon.models / "m"
    iris(daemon, directory, "--steps", 100)
    before = states(daemon, directory), tf.train.latest_checkpoint(str(directory))
    job = daemon.iris("--model-dir", directory, "--steps", 200, "--hidden-units", "20,20")
    out, err = job.communicate(timeout=120)
    assert job.returncode == 1 and "handed over" not in out
    lines = err.splitlines()
    misfits = [line for line in lines if line.startswith("tensor_name = ")]
    assert ("tensor_name = dnn/hiddenlayer_0/bias; shape in shape_and_slice spec [20] does not match the shape "
            "stored in checkpoint: [10]") in misfits
    # All but what has its shape from the classes alone, and the three scalars.
    stored = values_of(before[1])
    fits = {n for n, a in stored.items() if a.ndim == 0 or "logits/bias" in n}
    assert {line.split()[2].rstrip(";") for line in misfits} == stored.keys() - fits
    assert len(misfits) == len(stored) - len(fits)
    for line in misfits:
        name, wanted = re.match(r"tensor_name = (\S+); shape in shape_and_slice spec \[([\d,]+)\]", line).groups()
        sizes = wanted.split(",")
        spec = " ".join(sizes) + " " + ":".join(f"0,{n}" for n in sizes)
        with pytest.raises(tf.errors.InvalidArgumentError) as theirs:
            tf.raw_ops.RestoreV2(prefix=before[1], tensor_names=[name], shape_and_slices=[spec], dtypes=[tf.float32])
        assert line in str(theirs.value)
    assert "checkpoint model.ckpt-100: " in lines[-3] and "do not fit" in lines[-3]
    assert "model.ckpt-100 was written by pid:" in lines[-2] and "--steps 100" in lines[-2]
    assert "Use another model_dir" in lines[-1]
    assert (states(daemon, directory), tf.train.latest_checkpoint(str(directory))) == before
