"""The branches of some choices are swapped in a copy of an ONNX model."""

from __future__ import annotations

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from graphprune.export.other_branches import with_other_branches
from graphprune.export.run_onnx import run_onnx

pytestmark = pytest.mark.onnx


def model() -> onnx.ModelProto:
    """``y`` is the absolute value of ``x`` or its opposite, ``z`` its exponential or its square root."""
    kinds = {"y": ("Abs", "Neg"), "z": ("Exp", "Sqrt")}
    nodes = []
    for name, operators in kinds.items():
        bodies = [
            helper.make_graph(
                [helper.make_node(operator, ["x"], [f"{name}{i}"])],
                f"{name}{i}",
                [],
                [helper.make_tensor_value_info(f"{name}{i}", TensorProto.FLOAT, None)],
            )
            for i, operator in enumerate(operators)
        ]
        branches = dict(zip(("then_branch", "else_branch"), bodies, strict=True))
        nodes.append(helper.make_node("If", ["flag"], [name], **branches))
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    flag = helper.make_tensor_value_info("flag", TensorProto.BOOL, [])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "yz"]
    graph = helper.make_graph(nodes, "choices", [x, flag], outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_named_choices_take_the_other_branch() -> None:
    inputs = [torch.tensor([4.0]), torch.tensor(True)]
    swapped = with_other_branches(model().SerializeToString(), {"y"})
    assert swapped is not None
    y, z = run_onnx(swapped, inputs)
    assert float(y) == -4
    assert float(z) == pytest.approx(torch.tensor(4.0).exp().item())


def test_a_model_without_such_a_node_has_no_other_branches() -> None:
    assert with_other_branches(model().SerializeToString(), {"y", "other"}) is None
