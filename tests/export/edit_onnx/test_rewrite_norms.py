"""Normalisations over fewer rows: their epsilon and their weight make up for what went."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.loading import load
from tests.export.edit_onnx.helpers import was_edited
from tests.onnx_masks import cut_and_edited

pytestmark = pytest.mark.onnx

MS = "com.microsoft"
WIDTH = 24


def residual(kind: str, *, shared: bool = False) -> onnx.ModelProto:
    """``x [n, 5, 6]`` into a stream of 24 channels, two normalised branches that add to it, and ``y [n, 5, 4]``."""
    rng = np.random.default_rng(0)
    stored: dict[str, Any] = {}

    def weight(name: str, *shape: int) -> str:
        array = rng.normal(size=shape) / (np.sqrt(shape[0]) if len(shape) > 1 else 3)
        array = array if len(shape) > 1 else 1 + array
        return (stored.setdefault(name, array.astype(np.float32)) is not None and name) or ""

    def norm(number: int, x: str, added: str) -> tuple[list[onnx.NodeProto], str]:
        """The nodes, and the name of the sum."""
        gain = weight("g" if shared else f"g{number}", WIDTH)
        shift = [weight(f"s{number}", WIDTH)] if kind.endswith("LayerNormalization") else []
        shift = [] if "Simplified" in kind else shift
        own: dict[str, Any] = {"epsilon": 1e-2, "name": f"norm{number}"}
        if kind.startswith("Skip"):
            outs = [f"n{number}", "", "", f"r{number}"]
            return [
                helper.make_node(kind, [x, added, gain, *shift], outs, domain=MS, **own)
            ], f"r{number}"
        add = helper.make_node("Add", [x, added], [f"r{number}"])
        return [
            add,
            helper.make_node(kind, [f"r{number}", gain, *shift], [f"n{number}"], **own),
        ], f"r{number}"

    nodes = [helper.make_node("MatMul", ["x", weight("in", 6, WIDTH)], ["h"])]
    stream, added = "h", "h"
    for number in range(2):
        made, stream = norm(number, stream, added)
        nodes += [
            *made,
            helper.make_node("MatMul", [f"n{number}", weight(f"u{number}", WIDTH, 16)], [f"u{number}x"]),
            helper.make_node("Relu", [f"u{number}x"], [f"a{number}"]),
            helper.make_node("MatMul", [f"a{number}", weight(f"d{number}", 16, WIDTH)], [f"d{number}x"]),
        ]  # fmt: skip
        added = f"d{number}x"
    nodes += [
        helper.make_node("Add", [stream, added], ["last"]),
        helper.make_node("MatMul", ["last", weight("out", WIDTH, 4)], ["y"]),
    ]
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 5, size])
        for name, size in (("x", 6), ("y", 4))
    )
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "residual", [x], [y], tensors)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def tensors_of(model: onnx.ModelProto) -> dict[str, Any]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize(
    "kind",
    ["RMSNormalization", "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization"],
)
def test_a_mean_of_squares_over_fewer_channels(kind: str, shared: bool, tmp_path: Path) -> None:
    before = residual(kind, shared=shared)
    after = cut_and_edited(before, tmp_path, flops=0.5)
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    left = tensors_of(after)["in"].shape[1]
    assert left < WIDTH
    for node in after.graph.node:
        for attribute in node.attribute:
            assert attribute.name != "epsilon" or attribute.f == pytest.approx(1e-2 * WIDTH / left)


@pytest.mark.parametrize("kind", ["LayerNormalization", "SkipLayerNormalization"])
def test_a_mean_that_is_cut_inexactly(kind: str, tmp_path: Path) -> None:
    """The edited file is compared with the cut program before it is written."""
    before = residual(kind)
    onnx.save(before, tmp_path / "net.onnx")
    found = load(tmp_path / "net.onnx")
    result = gp.compress(found.dense, flops=0.5, score="random", allow_inexact=True)
    assert found.onnx_file
    result = result.from_file(found.onnx_file).export_onnx(tmp_path / "small.onnx")
    assert was_edited(result), result.report.notes
    after = onnx.load(tmp_path / "small.onnx")
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    assert tensors_of(after)["in"].shape[1] < WIDTH


def test_a_weight_that_is_computed_can_not_be_scaled_in_the_file(tmp_path: Path) -> None:
    before = residual("RMSNormalization")
    nodes = list(before.graph.node)
    place = next(i for i, node in enumerate(nodes) if node.name == "norm0")
    nodes[place].input[1] = "gain"
    nodes.insert(place, helper.make_node("Exp", ["g0"], ["gain"]))
    del before.graph.node[:]
    before.graph.node.extend(nodes)
    onnx.save(before, tmp_path / "net.onnx")
    found = load(tmp_path / "net.onnx")
    assert found.onnx_file
    result = gp.compress(found.dense, flops=0.5, score="random").from_file(found.onnx_file)
    result = result.export_onnx(tmp_path / "small.onnx")
    assert any("would need a factor inside" in note for note in result.report.notes)


def test_a_norm_in_the_body_of_a_loop_is_scaled_once(tmp_path: Path) -> None:
    """All steps of a loop are one node."""
    rng = np.random.default_rng(0)
    sizes = {"in": (6, WIDTH), "u": (WIDTH, WIDTH), "out": (WIDTH, 4)}
    stored = {k: (rng.normal(size=s) / 3).astype(np.float32) for k, s in sizes.items()}
    stored |= {"g": 1 + rng.random(WIDTH).astype(np.float32), "times": np.array(3)}
    stored |= {"go": np.array(True)}
    value, node = helper.make_tensor_value_info, helper.make_node
    body = helper.make_graph(
        [
            node("Identity", ["on"], ["again"]),
            node("RMSNormalization", ["s", "g"], ["n"], epsilon=1e-2),
            node("MatMul", ["n", "u"], ["m"]),
            node("Add", ["s", "m"], ["next"]),
        ],
        "body",
        [
            value("i", TensorProto.INT64, []), value("on", TensorProto.BOOL, []),
            value("s", TensorProto.FLOAT, None),
        ],
        [value("again", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, None)],
    )  # fmt: skip
    nodes = [
        node("MatMul", ["x", "in"], ["h"]),
        node("Loop", ["times", "go", "h"], ["last"], body=body),
        node("MatMul", ["last", "out"], ["y"]),
    ]
    x, y = (value(n, TensorProto.FLOAT, ["n", size]) for n, size in (("x", 6), ("y", 4)))
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "loop", [x], [y], tensors)
    opsets = [helper.make_opsetid("", 23)]
    before = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    after = cut_and_edited(before, tmp_path, flops=0.5)
    assert len(tensors_of(after)["g"]) < WIDTH
