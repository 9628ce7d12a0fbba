"""Older operator sets: the same result in another form, or a refusal that names the operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphprune.errors import ExportError
from graphprune.export.check import check_onnx
from graphprune.export.onnx_error import ONNX_TOLERANCE
from graphprune.export.opset import lowered
from tests.export.helpers import converted, program_of

pytestmark = pytest.mark.onnx


def test_an_opset_that_cannot_be_met() -> None:
    program = program_of(nn.LayerNorm(4), torch.randn(2, 4))
    with pytest.raises(ExportError, match="opset 13: LayerNormalization is newer"):
        converted(program, opset=13)


class Old(nn.Module):
    """What was an attribute once: bounds, pads, axes, ranges."""

    def forward(self, x: Tensor) -> Tensor:
        y = F.pad(x.clamp(-0.5, 0.5), (1, 1, 0, 0))
        left, right = y[:, 1:].split(2, 1)
        return (left * right).mean((2, 3), keepdim=True).squeeze(3).unsqueeze(0)


@pytest.mark.parametrize("opset", [17, 13, 12, 11, 10])
def test_the_older_form_computes_the_same(opset: int) -> None:
    program = program_of(Old(), torch.randn(2, 5, 4, 4))
    model = converted(program, opset=opset)
    assert [o.version for o in model.opset_import if not o.domain] == [opset]
    assert check_onnx(model.SerializeToString(), program).max_error <= ONNX_TOLERANCE
    kinds = {node.op_type: node for node in model.graph.node}
    assert (len(kinds["Unsqueeze"].input) == 1) == (opset < 13)
    assert (len(kinds["Clip"].input) == 1) == (opset < 11)


def model_of(*nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    names = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, None) for n in "xy"]
    stored = [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in constants.items()]
    graph = onnx.helper.make_graph(list(nodes), "g", names[:1], names[1:], stored)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])


@pytest.mark.parametrize(
    ("node", "says"),
    [
        (("ReduceSum", ["x", "n"], {}), "ReduceSum has to know its axes there"),
        (("Gelu", ["x"], {}), "Gelu is newer"),
        (("Mine", ["x"], {"domain": "com.example"}), "Mine is not plain ONNX"),
        (
            ("ReduceMax", ["x"], {"noop_with_empty_axes": 1}),
            "ReduceMax has no noop_with_empty_axes there",
        ),
        (("Pad", ["x", "p", "", "n"], {}), "Pad takes fewer inputs there"),
    ],
)
def test_what_has_no_older_form_is_named(node: tuple[Any, ...], says: str) -> None:
    kind, inputs, more = node
    model = model_of(onnx.helper.make_node(kind, inputs, ["y"], **more), p=np.array([0, 1]))
    with pytest.raises(ExportError, match=f"in opset 10: {says}") as failure:
        lowered(model, 10)
    assert "another opset" in failure.value.hint


def test_the_given_model_stays_and_constants_that_nobody_reads_go() -> None:
    model = model_of(onnx.helper.make_node("ReduceMean", ["x", "axes"], ["y"]), axes=[1])
    before = model.SerializeToString()
    found = lowered(model, 13)
    assert model.SerializeToString() == before
    assert not found.graph.initializer
    assert list(found.graph.node[0].attribute[0].ints) == [1]


@pytest.mark.parametrize("opset", [2, 3, 4])
def test_a_set_that_no_file_format_holds_is_refused(opset: int) -> None:
    with pytest.raises(ExportError, match=f"opset {opset}"):
        lowered(model_of(onnx.helper.make_node("Sigmoid", ["x"], ["y"])), opset)
