"""What a file stores becomes weights under its own names, wherever the file holds it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.errors import LoadError
from graphprune.loading import load
from graphprune.loading.onnx import import_onnx
from graphprune.loading.onnx.stored_values import module_paths
from tests.loading.onnx.helpers import saved

pytestmark = pytest.mark.onnx


def test_names_become_paths_that_no_other_name_and_no_attribute_is_in_the_way_of() -> None:
    names = ["a.weight", "a", "forward", "/b/w:0", "a.forward.x", "in", "b.class.w"]
    paths = module_paths(names, {"forward"})
    assert paths == [
        "a.weight",
        "a_value",
        "forward_",
        "b_w_0",
        "a.forward_.x",
        "in_",
        "b.class_.w",
    ]


def two_layers(*, constants: bool, gather: bool) -> onnx.ModelProto:
    """Two products whose first channels are nearly dead; weights as initialisers or constants."""
    draw = np.random.default_rng(0)
    wide = np.r_[np.full(8, 1e-3), np.ones(8)]
    weights = {
        "first": (draw.normal(size=(6, 16)) * wide).astype(np.float32),
        "second": draw.normal(size=(16, 3)).astype(np.float32),
        "table": draw.normal(size=(9, 6)).astype(np.float32),
    }
    lookup = [helper.make_node("Gather", ["table", "x"], ["found"])] if gather else []
    stored = [
        numpy_helper.from_array(value, name)
        for name, value in weights.items()
        if gather or name != "table"
    ]
    nodes = [
        *[helper.make_node("Constant", [], [t.name], value=t) for t in stored if constants],
        *lookup,
        helper.make_node("MatMul", ["found" if gather else "x", "first"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "second"], ["y"]),
    ]
    kind = TensorProto.INT64 if gather else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "two_layers",
        [helper.make_tensor_value_info("x", kind, ["n", 5] if gather else ["n", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * (3 if gather else 2))],
        [] if constants else stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("gather", [False, True], ids=["dense", "lookup"])
def test_weights_in_constant_nodes_are_weights(gather: bool, tmp_path: Path) -> None:
    plans = []
    for constants in (False, True):
        file = saved(two_layers(constants=constants, gather=gather), tmp_path)
        result = gp.compress(import_onnx(file).program, params=0.7)
        assert result.report.before.params == sum(
            value.numel() for value in import_onnx(file).program.state_dict.values()
        )
        assert not [note for note in result.report.notes if "alike" in note]
        plans.append({group.id: group.keep for group in result.plan.groups})
    assert list(plans[0].values()) == list(plans[1].values())
    (hidden,) = (group for group in result.plan.groups if group.width == 16)
    assert set(range(8, 16)) <= set(hidden.keep)


def attention_by_distance(table: np.ndarray, weight: np.ndarray) -> onnx.ModelProto:
    """Attention whose logits get a bias for each distance, out of a table ``[distances, heads]``."""
    node, heads = helper.make_node, table.shape[1]
    generator = np.random.default_rng(0)
    stored = {"table": table, "q": weight} | {
        k: generator.normal(size=(32, 32)).astype(np.float32) / 6 for k in ("k", "v", "o")
    }
    stored |= {"split": np.array([0, 0, heads, -1]), "join": np.array([0, 0, -1])}
    nodes = [
        each
        for name in "qkv"
        for each in (
            node("MatMul", ["x", name], [f"{name}0"]),
            node("Reshape", [f"{name}0", "split"], [f"{name}1"]),
        )
    ]
    nodes += [
        node("Transpose", ["q1"], ["q2"], perm=[0, 2, 1, 3]),
        node("Transpose", ["k1"], ["k2"], perm=[0, 2, 3, 1]),
        node("Transpose", ["v1"], ["v2"], perm=[0, 2, 1, 3]),
        node("MatMul", ["q2", "k2"], ["logits"]),
        node("Gather", ["table", "distances"], ["biases"]),
        node("Transpose", ["biases"], ["b"], perm=[0, 3, 1, 2]),
        node("Add", ["logits", "b"], ["shifted"]),
        node("Softmax", ["shifted"], ["p"], axis=-1),
        node("MatMul", ["p", "v2"], ["mixed"]),
        node("Transpose", ["mixed"], ["m1"], perm=[0, 2, 1, 3]),
        node("Reshape", ["m1", "join"], ["m2"]),
        node("MatMul", ["m2", "o"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "distances",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 6, 32]),
            helper.make_tensor_value_info("distances", TensorProto.INT64, [1, 6, 6]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_table_may_shut_places_out_by_minus_infinity(tmp_path: Path) -> None:
    generator = np.random.default_rng(1)
    table = generator.normal(size=(5, 4)).astype(np.float32)
    table[0] = -np.inf
    weight = generator.normal(size=(32, 32)).astype(np.float32) / 6
    loaded = load(saved(attention_by_distance(table, weight), tmp_path))
    assert loaded.program is not None
    result = gp.compress(loaded.program, flops=0.5)
    assert result.report.after.macs <= 0.5 * result.report.before.macs
    for wrong in (np.inf, np.nan):
        table[1, 0] = wrong
        with pytest.raises(LoadError, match="NaN or Inf in 'table'"):
            load(saved(attention_by_distance(table, weight), tmp_path))
    table[1, 0], weight[3, 4] = 0, -np.inf
    with pytest.raises(LoadError, match="NaN or Inf in 'q'"):
        load(saved(attention_by_distance(table, weight), tmp_path))
