"""Sizes that ONNX graphs compute, among them those that are counted in floats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from graphprune.errors import LoadError
from graphprune.ir.program import dynamic_dims
from graphprune.loading.onnx import import_onnx
from tests.loading.onnx.helpers import chain, saved

pytestmark = pytest.mark.onnx


def counted(**weights: Any) -> Any:
    """``x`` plus a range from ``start`` to the size of its last axis as a float, in steps of ``delta``."""
    return chain(
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "last"], ["n"]),
        helper.make_node("Cast", ["n"], ["limit"], to=TensorProto.FLOAT),
        helper.make_node("Range", ["start", "limit", "delta"], ["r"]),
        helper.make_node("ReduceSum", ["r"], ["total"], keepdims=0),
        helper.make_node("Add", ["x", "total"], ["y"]),
        weights={"last": np.array(1)} | {k: np.float32(v) for k, v in weights.items()},
        dims=("n", 6),
    )


@pytest.mark.parametrize(
    ("start", "delta"), [(0, 1), (0.5, 1), (1, 0.25), (9, -1.5), (0, 2.5), (-3, 1)]
)
def test_a_range_over_floats(start: float, delta: float, tmp_path: Path) -> None:
    program = import_onnx(saved(counted(start=start, delta=delta), tmp_path)).program
    assert dynamic_dims(program)["x"].keys() == {0}


def test_a_range_over_an_open_size_that_was_cast(tmp_path: Path) -> None:
    model = counted(start=0, delta=1)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "width"
    program = import_onnx(saved(model, tmp_path), [torch.randn(2, 6)]).program
    assert program.module()(torch.zeros(2, 9))[0, 0] == sum(range(9))


def test_a_range_without_a_step_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="Range node 'r': a step of 0"):
        import_onnx(saved(counted(start=0, delta=0), tmp_path))
