"""ONNX files as programs: sizes, names, dynamic dimensions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from onnx import helper

from graphprune.errors import LoadError
from graphprune.loading.onnx import import_onnx
from tests.loading.onnx.helpers import chain, saved

pytestmark = pytest.mark.onnx


def test_sizes_that_are_open_must_be_stated(tmp_path: Path) -> None:
    file = saved(chain(helper.make_node("Relu", ["x"], ["y"]), dims=("n", "width")), tmp_path)
    with pytest.raises(LoadError, match="leaves sizes open: width"):
        import_onnx(file)
    imported = import_onnx(file, [torch.randn(1, 7)])
    assert imported.interface.dims == {(0, 0): "n", (0, 1): "width"}
    with pytest.raises(LoadError, match="takes 1 inputs, not 2"):
        import_onnx(file, [torch.randn(1, 7)] * 2)
    with pytest.raises(LoadError, match="has the shape nxwidth"):
        import_onnx(file, [torch.randn(1, 7, 2)])
