"""Variables in parts: what several ranks save is one variable to TensorFlow, and parts are restored as others were
saved."""

import pathlib
import shutil

import numpy as np
import pytest
import tensorflow as tf

import arrays
from arrays import Part, same, values

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "data/golden/tensorflow/saver"


@pytest.fixture
def daemon(ckptd):
    d = ckptd(start=False)
    d.write_settings(arrays.settings(d.models))
    return d.start()


def rows(full, *lengths):
    """A part for each length, one below the other."""
    starts = np.cumsum([0, *lengths])
    return [Part(full, (int(s), n), *[None] * (full.ndim - 1)) for s, n in zip(starts, lengths)]


def state_of(tensors):
    whole = {}
    for rank in tensors:
        for name, value in rank.items():
            whole[name] = value.full if isinstance(value, Part) else value
    return whole


def check(prefix, state):
    reader = tf.train.load_checkpoint(str(prefix))
    assert {k: tuple(v) for k, v in reader.get_variable_to_shape_map().items()} == {
        k: v.shape for k, v in state.items()}
    for name, array in state.items():
        same(np.asarray(reader.get_tensor(name)), array)


def grid():
    """Three ranks: one variable by rows, one by columns and rows, one whole in every rank, one of a single rank."""
    table, cells = values((12, 5), np.float32), values((6, 8), np.int64, 2)
    step, own = np.asarray(40, np.int64), values((3,), np.float64, 3)
    a, b, c = rows(table, 5, 1, 6)
    return [
        {"table": a, "cells": Part(cells, None, (0, 3)), "step": step, "own": own},
        {"step": step, "table": b, "cells": Part(cells, (0, 2), (3, 5))},
        {"cells": Part(cells, (2, 4), (3, 5)), "table": c, "step": step},
    ]


def test_tensorflow_reads_parts_as_one_variable(daemon):
    ranks, directory = grid(), daemon.models / "m"
    arrays.save(daemon, directory, ranks, 40)
    newest = tf.train.latest_checkpoint(str(directory))
    assert newest == str(directory / "model.ckpt-40")
    check(newest, state_of(ranks))
    assert len(list(directory.glob("model.ckpt-40.data-0000?-of-00003"))) == 3
    # Saver, too, as one variable and as other parts.
    table = state_of(ranks)["table"]
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        whole = tf.compat.v1.get_variable("table", (12, 5), tf.float32)
        tf.compat.v1.train.Saver([whole]).restore(session, newest)
        same(session.run(whole), table)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        parts = tf.compat.v1.get_variable("table", (12, 5), tf.float32,
                                          partitioner=tf.compat.v1.fixed_size_partitioner(4))
        tf.compat.v1.train.Saver({"table": parts}).restore(session, newest)
        same(np.concatenate(session.run(list(parts))), table)


@pytest.mark.parametrize("from_memory", [True, False])
def test_restored_in_other_parts(daemon, from_memory):
    """Two ranks, then one, take what three saved, from memory or from the files."""
    ranks, directory = grid(), daemon.models / "m"
    state = state_of(ranks)
    arrays.save(daemon, directory, ranks, 40)
    if not from_memory:
        daemon.restart()
    upper, lower = rows(state["table"], 3, 9)
    others = [
        {"table": upper, "step": state["step"], "cells": Part(state["cells"], (0, 5), None)},
        {"table": lower, "step": state["step"], "cells": Part(state["cells"], (5, 1), None), "own": state["own"]},
    ]
    for wanted in (others, [state]):
        step, found = arrays.restore(daemon, directory, wanted)
        assert step == 40
        for rank, got in zip(wanted, found):
            for name, array, _ in arrays.pairs(rank):
                same(got[name], array)


def test_golden_parts_are_restored_in_others(daemon):
    """TensorFlow's partitioned variable, which its Saver wrote in parts of its own."""
    directory = daemon.models / "golden"
    shutil.copytree(GOLDEN, directory)
    reader = tf.train.load_checkpoint(str(GOLDEN / "model.ckpt-20"))
    part = reader.get_tensor("scope/part")
    step = np.asarray(reader.get_tensor("global_step"))
    bias = reader.get_tensor("dnn/hiddenlayer_1/bias")
    wanted = [
        {"scope/part": Part(part, (0, 13), None), "global_step": step, "dnn/hiddenlayer_1/bias": bias},
        {"scope/part": Part(part, (13, 7), (0, 1)), "global_step": step},
        {"scope/part": Part(part, (13, 7), (1, 3)), "global_step": step},
    ]
    at, found = arrays.restore(daemon, directory, wanted)
    assert at == 20
    for rank, got in zip(wanted, found):
        for name, array, _ in arrays.pairs(rank):
            same(got[name], array)
