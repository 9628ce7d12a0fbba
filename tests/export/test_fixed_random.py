"""Stand-ins for the random operators of ONNX: the same numbers at every run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from graphprune.export.fixed_random import with_fixed_random
from graphprune.export.run_onnx import run_onnx
from graphprune.ops.fixed_random import MIDDLE, NORMAL

pytestmark = pytest.mark.onnx

X = torch.tensor([[0.1, 0.9, 0.4], [0.6, 0.2, 0.8]])


def model_of(kind: str, inputs: list[str], stored: dict[str, Any], **given: Any) -> bytes:
    """``y = kind(inputs)``, and ``x`` handed through."""
    node = helper.make_node(kind, inputs, ["y"], **given)
    copied = helper.make_node("Identity", ["x"], ["z"])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])
    out = [helper.make_empty_tensor_value_info(name) for name in "yz"]
    weights = [numpy_helper.from_array(np.array(v), k) for k, v in stored.items()]
    graph = helper.make_graph([node, copied], "g", [x], out, weights)
    opset = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


DROPOUT: dict[str, Any] = {"r": np.float32(0.25), "on": True}

CASES = {
    "normal-like": (("RandomNormalLike", ["x"], {}), {"scale": 2.0}, X * 0 + 2 * NORMAL),
    "uniform-like": (
        ("RandomUniformLike", ["x"], {}), {"low": 1.0, "high": 3.0}, X * 0 + 1 + 2 * MIDDLE
    ),
    "normal": (
        ("RandomNormal", [], {}), {"shape": [2], "mean": 1.0}, torch.full((2,), 1 + NORMAL)
    ),
    "uniform": (("RandomUniform", [], {}), {"shape": [2, 1]}, torch.full((2, 1), MIDDLE)),
    "chance": (("Bernoulli", ["x"], {}), {}, (X > MIDDLE).float()),
    "dropout": (("Dropout", ["x", "r", "on"], DROPOUT), {}, X / 0.75),
    "dropout-most": (
        ("Dropout", ["x", "r", "on"], DROPOUT | {"r": np.float32(0.75)}), {}, X * 0
    ),
    "dropout-off": (("Dropout", ["x", "r", "on"], DROPOUT | {"on": False}), {}, X),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_drawn_becomes_a_known_number(name: str) -> None:
    (kind, inputs, stored), given, expected = CASES[name]
    fixed = with_fixed_random(model_of(kind, inputs, stored, **given))
    first, copied = run_onnx(fixed, [X])
    torch.testing.assert_close(first, expected)
    assert torch.equal(copied, X)
    assert torch.equal(first, run_onnx(fixed, [X])[0])


def test_the_share_that_is_dropped_may_be_a_constant_node() -> None:
    model = onnx.load_from_string(model_of("Dropout", ["x", "r", "on"], DROPOUT))
    for tensor in model.graph.initializer:
        made = helper.make_node("Constant", [], [tensor.name], value=tensor)
        model.graph.node.insert(0, made)
    del model.graph.initializer[:]
    fixed = with_fixed_random(model.SerializeToString())
    torch.testing.assert_close(run_onnx(fixed, [X])[0], X / 0.75)


def test_a_body_draws_nothing_either() -> None:
    result = helper.make_empty_tensor_value_info("drawn")
    drawn = helper.make_node("RandomNormalLike", ["x"], ["drawn"])
    body = helper.make_graph([drawn], "body", [], [result])
    model = onnx.load_from_string(model_of("Identity", ["x"], {"on": True}))
    model.graph.node[0].CopyFrom(
        helper.make_node("If", ["on"], ["y"], then_branch=body, else_branch=body)
    )
    fixed = with_fixed_random(model.SerializeToString())
    torch.testing.assert_close(run_onnx(fixed, [X])[0], X * 0 + NORMAL)


def test_the_type_is_the_one_that_is_stated() -> None:
    fixed = with_fixed_random(model_of("RandomUniformLike", ["x"], {}, dtype=TensorProto.DOUBLE))
    assert run_onnx(fixed, [X])[0].dtype == torch.float64


def test_a_file_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    data = model_of("RandomNormalLike", ["x"], {})
    (tmp_path / "a.onnx").write_bytes(data)
    fixed = onnx.load_from_string(with_fixed_random(tmp_path / "a.onnx"))
    assert (tmp_path / "a.onnx").read_bytes() == data
    assert not any(node.op_type.startswith("Random") for node in fixed.graph.node)
