"""Vectors that a file stores once for several layers don't couple these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from graphprune.loading.onnx.read_graph import read_graph
from graphprune.loading.onnx.separate_shared import separate_shared
from tests.export.edit_onnx.helpers import compressed, model, was_edited
from tests.loading.onnx.helpers import saved

pytestmark = pytest.mark.onnx

DRAW = np.random.default_rng(0)


def drawn(*size: int) -> np.ndarray:
    return DRAW.normal(size=size).astype(np.float32)


def layers(bias: np.ndarray, *operators: str) -> onnx.ModelProto:
    """Three layers of which two share a bias, with some operators in between."""
    names = ["x", *(f"h{i}" for i in range(3))]
    nodes = []
    for i in range(2):
        nodes += [
            helper.make_node("MatMul", [names[i], f"w{i}"], [f"m{i}"]),
            helper.make_node("Add", [f"m{i}", "bias"], [f"a{i}"]),
            helper.make_node("Relu", [f"a{i}"], [names[i + 1]]),
        ]
    nodes += [helper.make_node("MatMul", ["h1", "w2"], ["y"])]
    return model(*nodes, w0=drawn(6, 16), w1=drawn(16, 16), w2=drawn(16, 4), bias=bias)


def recurrent(state: np.ndarray) -> onnx.ModelProto:
    """Two recurrent layers that begin with the same state."""
    nodes: list[onnx.NodeProto] = []
    stored: dict[str, Any] = {
        "state": state,
        "first": np.array([1], np.int64),
        "last": drawn(16, 3),
    }
    before = "x"
    for i, inner in enumerate((6, 16)):
        stored |= {f"w{i}": drawn(1, 48, inner), f"r{i}": drawn(1, 48, 16), f"b{i}": drawn(1, 96)}
        read = [before, f"w{i}", f"r{i}", f"b{i}", "", "state"]
        nodes.append(helper.make_node("GRU", read, [f"o{i}"], hidden_size=16))
        nodes.append(helper.make_node("Squeeze", [f"o{i}", "first"], [f"s{i}"]))
        before = f"s{i}"
    nodes.append(helper.make_node("MatMul", [before, "last"], ["y"]))
    made = model(*nodes, **stored)
    del made.graph.input[0].type.tensor_type.shape.dim[:]
    for size in (5, 2, 6):
        made.graph.input[0].type.tensor_type.shape.dim.add(dim_value=size)
    return made


SHARED = {
    "a bias of zeros": lambda: layers(np.zeros(16, np.float32)),
    "a bias": lambda: layers(drawn(16)),
    "an initial state": lambda: recurrent(np.zeros((1, 2, 16), np.float32)),
}


@pytest.mark.parametrize("kind", SHARED)
def test_layers_lose_channels_of_their_own(kind: str, tmp_path: Path) -> None:
    made = SHARED[kind]()
    result, after = compressed(saved(made, tmp_path), flops=0.5)
    assert was_edited(result), result.report.notes
    assert [group.width for group in result.cut.analysis.groups] == [16, 16]
    first, second = (set(group.keep) for group in result.plan.groups)
    assert first != second
    before = [node.op_type for node in made.graph.node]
    assert [node.op_type for node in after.graph.node] == before


def test_what_comes_to_the_same_is_stored_once(tmp_path: Path) -> None:
    made = layers(np.zeros(16, np.float32))
    result, after = compressed(saved(made, tmp_path), flops=1.0)
    assert was_edited(result), result.report.notes
    assert [t.name for t in after.graph.initializer] == [t.name for t in made.graph.initializer]


def test_each_reader_has_a_copy_and_names_stay_apart() -> None:
    graph = model(
        helper.make_node("Add", ["x", "v"], ["v/0"]),
        helper.make_node("Mul", ["v/0", "v"], ["b"]),
        helper.make_node("Clip", ["b", "v", "v"], ["y"]),
        v=drawn(6),
    ).graph
    assert separate_shared(graph) == {"v/1": "v", "v/2": "v"}
    assert [list(node.input) for node in graph.node] == [
        ["x", "v"],
        ["v/0", "v/1"],
        ["b", "v/2", "v/2"],
    ]
    assert [t.name for t in graph.initializer] == ["v", "v/1", "v/2"]


def test_a_copy_has_no_name_of_an_input() -> None:
    nodes = [helper.make_node("Add", ["x", "v"], ["a"]), helper.make_node("Add", ["a", "v"], ["y"])]
    graph = model(*nodes, v=drawn(6)).graph
    graph.input.append(helper.make_tensor_value_info("v/0", onnx.TensorProto.FLOAT, [6]))
    assert separate_shared(graph) == {"v/1": "v"}


@pytest.mark.parametrize(
    "value",
    [
        drawn(6, 6),
        np.arange(6),
        np.float32(3),
        np.ones(6, bool),
    ],
    ids=["weights", "sizes", "a number", "truth values"],
)
def test_other_tensors_stay_shared(value: np.ndarray) -> None:
    nodes = [helper.make_node("F", ["x", "v"], ["a"]), helper.make_node("F", ["a", "v"], ["y"])]
    graph = model(*nodes, v=value).graph
    assert separate_shared(graph) == {}
    assert len(graph.initializer) == 1


def test_what_bodies_read_or_callers_may_change_stays_shared() -> None:
    nodes = [helper.make_node("Add", ["x", "v"], ["a"]), helper.make_node("Add", ["a", "v"], ["y"])]
    as_input = model(*nodes, v=drawn(6)).graph
    as_input.input.append(helper.make_tensor_value_info("v", onnx.TensorProto.FLOAT, [6]))
    body = helper.make_graph([helper.make_node("Neg", ["v"], ["n"])], "body", [], [])
    branch = helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body)
    within = model(*nodes, branch, v=drawn(6)).graph
    assert separate_shared(as_input) == separate_shared(within) == {}


def test_copies_take_no_more_room_than_the_file_did() -> None:
    readers = [helper.make_node("Add", ["x", "v"], [f"a{i}"]) for i in range(100)]
    graph = model(*readers, v=np.zeros(10_000, np.float32)).graph
    assert separate_shared(graph) == {}


def test_functions_keep_what_they_share(tmp_path: Path) -> None:
    """Their bodies have to be put back as they were."""
    made = layers(drawn(16))
    inner = helper.make_node("Relu", ["a"], ["b"])
    opsets = [helper.make_opsetid("", 17)]
    made.functions.append(helper.make_function("own", "R", ["a"], ["b"], [inner], opsets))
    made.opset_import.append(helper.make_opsetid("own", 1))
    made.graph.node[2].op_type, made.graph.node[2].domain = "R", "own"
    assert read_graph(saved(made, tmp_path)).copies == {}
