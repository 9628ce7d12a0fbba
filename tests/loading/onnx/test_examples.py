"""Example inputs of ONNX files: those whose sizes are stated are made, the others have to be given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from onnx import TensorProto, helper

from graphprune.errors import LoadError
from graphprune.loading.onnx import import_onnx
from tests.loading.onnx.helpers import saved

pytestmark = pytest.mark.onnx


def summed(*inputs: Sequence[int | str]) -> onnx.ModelProto:
    """A model that adds up its inputs ``x0``, ``x1``, ..."""
    names = [f"x{i}" for i in range(len(inputs))]
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
        for name, dims in zip(names, inputs, strict=True)
    ]
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([helper.make_node("Sum", names, ["y"])], "sum", values, [result])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize(
    ("dims", "given", "shapes"),
    [
        ([["n", "w"], [], [3]], [torch.ones(2, 3)], [(2, 3), (), (3,)]),
        ([[], ["n", "w"], [3]], [{"x1": torch.ones(2, 3)}], [(), (2, 3), (3,)]),
        ([[3], [], ["n", "w"]], [{"x2": torch.ones(2, 3), "x0": torch.ones(3)}], None),
    ],
    ids=["in order", "by name", "two by name"],
)
def test_inputs_whose_sizes_are_stated_need_not_be_given(
    dims: list[Any], given: list[Any], shapes: list[tuple[int, ...]] | None, tmp_path: Path
) -> None:
    imported = import_onnx(saved(summed(*dims), tmp_path), given)
    args, _ = imported.program.example_inputs
    assert [tuple(x.shape) for x in args] == (shapes or [(3,), (), (2, 3)])


def test_inputs_whose_sizes_are_open_are_named_when_they_are_missing(tmp_path: Path) -> None:
    file = saved(summed(["n", "w"], [3], ["n", "w"]), tmp_path)
    with pytest.raises(LoadError, match="takes 3 inputs, not 1; none is given for 'x2'"):
        import_onnx(file, [torch.ones(2, 3)])
    with pytest.raises(LoadError, match="the inputs given are 'x2'; the model takes 'x0', 'x1'"):
        import_onnx(file, [{"x2": torch.ones(2, 3)}])
