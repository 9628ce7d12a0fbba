"""Recurrent layers of ONNX files: the batch first, and hidden units that are cut."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import graphprune as gp
from graphprune.errors import LoadError
from graphprune.loading.onnx import import_onnx
from graphprune.loading.onnx.network import Network
from graphprune.loading.onnx.read_graph import read_graph
from tests.loading.onnx.helpers import saved
from tests.onnx_masks import cut_and_edited

pytestmark = pytest.mark.onnx

STEPS, INPUTS, HIDDEN = 6, 4, 8
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def layer(
    operator: str, *, batch: Any = "n", head: bool = True, outputs: int = 1, **attributes: Any
) -> onnx.ModelProto:
    """A recurrent layer, and a linear layer on the hidden units of all its directions."""
    draw, gates = np.random.default_rng(0), GATES[operator]
    d = 1 + (attributes.get("direction") == "bidirectional")
    first = attributes.get("layout", 0)
    sizes = {
        "w": (d, gates * HIDDEN, INPUTS),
        "r": (d, gates * HIDDEN, HIDDEN),
        "b": (d, 2 * gates * HIDDEN),
        "head": (d * HIDDEN, 3),
    }
    weights = {k: draw.normal(size=size).astype(np.float32) / 2 for k, size in sizes.items()}
    results = ["states", "last", "cells"][:outputs]
    nodes = [
        helper.make_node(
            operator, ["x", "w", "r", "b"], results, name="layer", hidden_size=HIDDEN, **attributes
        )
    ]
    if head:
        nodes += [
            helper.make_node("Transpose", ["states"], ["turned"], perm=[2, 0, 1, 3]),
            helper.make_node("Reshape", ["turned", "flat"], ["wide"]),
            helper.make_node("MatMul", ["wide", "head"], ["y"]),
        ]
    stored = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    stored.append(numpy_helper.from_array(np.array([-1, STEPS, d * HIDDEN]), "flat"))
    shape = [batch, STEPS, INPUTS] if first else [STEPS, batch, INPUTS]
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank)
            for name, rank in (
                {"y": 3} if head else dict(zip(results, (4, 3, 3), strict=False))
            ).items()
        ],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("operator", "more"),
    [("LSTM", {}), ("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("RNN", {})],
)
def test_hidden_units_are_cut(
    operator: str, more: dict[str, Any], direction: str, tmp_path: Path
) -> None:
    file = saved(layer(operator, batch=3, direction=direction, **more), tmp_path)
    result = gp.compress(import_onnx(file).program, flops=0.6)
    widths = {group.width: len(group.keep) for group in result.plan.groups}
    assert set(widths) == {HIDDEN}
    assert max(widths.values()) < HIDDEN
    assert result.report.oracle["max_error"] < 1e-9


@pytest.mark.parametrize("operator", GATES)
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_the_batch_may_come_first(operator: str, direction: str, tmp_path: Path) -> None:
    """onnxruntime refuses ``layout=1``, so ONNX's own reference is asked."""
    outputs = 3 if operator == "LSTM" else 2
    more = {"linear_before_reset": 1} if operator == "GRU" else {}
    # The reference runs one direction only.
    ahead = layer(operator, batch=3, head=False, outputs=outputs, layout=1, **more)
    x = np.random.default_rng(1).normal(size=(3, STEPS, INPUTS)).astype(np.float32)
    expected = ReferenceEvaluator(ahead).run(None, {"x": x})
    got = Network(read_graph(saved(ahead, tmp_path)), "file")(torch.from_numpy(x))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, torch.from_numpy(b), rtol=1e-5, atol=1e-6)
    # Both layouts hold the same numbers.
    shapes = {"batch": 3, "head": False, "outputs": outputs, "direction": direction} | more
    one, other = (
        Network(read_graph(saved(layer(operator, layout=layout, **shapes), tmp_path)), "file")
        for layout in (1, 0)
    )
    by_batch, by_step = one(torch.from_numpy(x)), other(torch.from_numpy(x).transpose(0, 1))
    torch.testing.assert_close(by_batch[0], by_step[0].permute(2, 0, 1, 3))
    for a, b in zip(by_batch[1:], by_step[1:], strict=True):
        torch.testing.assert_close(a, b.transpose(0, 1))


@pytest.mark.parametrize("operator", GATES)
def test_an_open_batch_stays_open(operator: str, tmp_path: Path) -> None:
    program = import_onnx(saved(layer(operator), tmp_path), [torch.randn(STEPS, 1, INPUTS)]).program
    assert program.module()(torch.randn(STEPS, 5, INPUTS)).shape == (5, STEPS, 3)


@pytest.mark.parametrize(
    ("operator", "more", "what"),
    [
        ("LSTM", {"activations": ["Sigmoid", "Relu", "Tanh"]}, "activations sigmoid, relu, tanh"),
        ("RNN", {"activations": ["Softsign"]}, "activations softsign"),
        ("GRU", {"clip": 3.0}, "clip"),
        ("LSTM", {"input_forget": 1}, "input_forget"),
    ],
)
def test_what_no_call_computes_stays_whole(
    operator: str, more: dict[str, Any], what: str, tmp_path: Path
) -> None:
    reasons = import_onnx(saved(layer(operator, batch=2, **more), tmp_path)).file.whole
    assert f"{what} is not supported" in reasons[f"{operator} node 'layer'"]


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_units_with_peepholes_are_cut(direction: str, tmp_path: Path) -> None:
    before, d = layer("LSTM", batch=2, direction=direction), 1 + (direction == "bidirectional")
    before.graph.node[0].input.extend(["", "", "", "p"])
    peepholes = np.random.default_rng(5).normal(size=(d, 3 * HIDDEN)).astype(np.float32)
    before.graph.initializer.append(numpy_helper.from_array(peepholes, "p"))
    cut_and_edited(before, tmp_path, flops=0.6)


@pytest.mark.parametrize("shape", [(1, 1, HIDDEN), (1, 2, HIDDEN - 1), (2, 2, HIDDEN)])
def test_initial_states_of_another_size_are_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    model = layer("LSTM", batch=2)
    model.graph.node[0].input.extend(["", "h"])
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(shape, np.float32), "h"))
    with pytest.raises(LoadError, match="LSTM node 'layer': the initial states have another batch"):
        import_onnx(saved(model, tmp_path))


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_units_of_an_lstm_with_weights_of_8_bits_are_cut(direction: str, tmp_path: Path) -> None:
    """Ranges that hidden states are rounded by take no part of those that go."""
    draw, d = np.random.default_rng(0), 1 + (direction == "bidirectional")
    scale, zero = np.full(d, 0.004, np.float32), np.zeros(d, np.int8)
    sizes = {"w": (d, INPUTS, 4 * HIDDEN), "r": (d, HIDDEN, 4 * HIDDEN)}
    stored: dict[str, Any] = {
        k: draw.integers(-60, 60, s).astype(np.int8) for k, s in sizes.items()
    }
    stored |= {k: draw.normal(size=s).astype(np.float32) / 2 for k, s in {
        "first": (4, INPUTS), "b": (d, 8 * HIDDEN), "head": (d * HIDDEN, 3)}.items()}  # fmt: skip
    stored |= {"ws": scale, "wz": zero, "rs": scale, "rz": zero, "flat": np.array([0, 0, -1])}
    names = ["t", "w", "r", "b", "", "", "", "", "ws", "wz", "rs", "rz"]
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["t"]),
        helper.make_node("DynamicQuantizeLSTM", names, ["states"], domain="com.microsoft",
                         hidden_size=HIDDEN, direction=direction),
        helper.make_node("Transpose", ["states"], ["turned"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["turned", "flat"], ["wide"]),
        helper.make_node("MatMul", ["wide", "head"], ["y"]),
    ]  # fmt: skip
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "rounded",
        [value("x", TensorProto.FLOAT, [STEPS, "n", 4])],
        [value("y", TensorProto.FLOAT, [None] * 3)],
        [numpy_helper.from_array(v, k) for k, v in stored.items()],
    )
    opsets = [helper.make_opsetid("", 14), helper.make_opsetid("com.microsoft", 1)]
    before = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    after = cut_and_edited(before, tmp_path, flops=0.6)
    (layer,) = (n for n in after.graph.node if n.op_type == "DynamicQuantizeLSTM")
    found = {a.name: helper.get_attribute_value(a) for a in layer.attribute}
    left = {t.name: list(t.dims) for t in after.graph.initializer}
    assert found["hidden_size"] == left["r"][1] == left["r"][2] // 4 < HIDDEN
