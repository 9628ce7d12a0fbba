"""ONNX files as programs: sizes, names, dynamic dimensions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from graphprune.errors import LoadError
from graphprune.ir.program import dynamic_dims
from graphprune.loading.onnx import import_onnx
from tests.loading.onnx.helpers import chain, saved

pytestmark = pytest.mark.onnx


def test_sizes_that_are_open_must_be_stated(tmp_path: Path) -> None:
    file = saved(chain(helper.make_node("Relu", ["x"], ["y"]), dims=("n", "width")), tmp_path)
    with pytest.raises(LoadError, match="leaves sizes open: width"):
        import_onnx(file)
    imported = import_onnx(file, [torch.randn(1, 7)])
    assert imported.io_names.dims == {(0, 0): "n", (0, 1): "width"}
    with pytest.raises(LoadError, match="takes 1 inputs, not 2"):
        import_onnx(file, [torch.randn(1, 7)] * 2)
    with pytest.raises(LoadError, match="has the shape nxwidth"):
        import_onnx(file, [torch.randn(1, 7, 2)])


def test_a_batch_without_a_name_is_dynamic_all_the_same(tmp_path: Path) -> None:
    imported = import_onnx(
        saved(chain(helper.make_node("Relu", ["x"], ["y"]), dims=(None, 3)), tmp_path)
    )
    assert imported.program.module()(torch.ones(5, 3)).shape == (5, 3)
    assert imported.io_names.dims == {}
    assert (imported.io_names.inputs, imported.io_names.outputs) == (("x",), ("y",))
    assert imported.io_names.opset == 18


def test_a_batch_that_the_graph_bakes_in_is_left_so(tmp_path: Path) -> None:
    model = chain(
        helper.make_node("Reshape", ["x", "to"], ["y"]),
        weights={"to": np.array([3, 2])},
        dims=("n", 3),
    )
    program = import_onnx(saved(model, tmp_path)).program
    assert dynamic_dims(program) == {}


def test_an_output_that_hangs_on_no_input_is_refused(tmp_path: Path) -> None:
    model = chain(
        helper.make_node("Relu", ["x"], ["unread"]),
        helper.make_node("Identity", ["w"], ["y"]),
        weights={"w": np.array([1, 2])},
    )
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    with pytest.raises(LoadError, match="doesn't depend on its inputs"):
        import_onnx(saved(model, tmp_path))
