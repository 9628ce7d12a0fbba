"""One node after another: results that are read or not, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from graphprune.errors import LoadError
from graphprune.loading.onnx import import_onnx
from tests.loading.onnx.helpers import chain, saved

pytestmark = pytest.mark.onnx


SECOND = {
    "Dropout": ({}, ["x"], TensorProto.BOOL),
    "LayerNormalization": ({"axis": -1}, ["x", "scale"], TensorProto.FLOAT),
}


def with_second_result(operator: str, *, read: bool) -> onnx.ModelProto:
    """A model of a node with a second result, and a sum that may read it."""
    attributes, inputs, _ = SECOND[operator]
    nodes = [helper.make_node(operator, inputs, ["a", "second"], **attributes)]
    other = "a"
    if read:
        nodes.append(helper.make_node("Cast", ["second"], ["second_float"], to=TensorProto.FLOAT))
        other = "second_float"
    nodes.append(helper.make_node("Add", ["a", other], ["y"]))
    return chain(*nodes, weights={"scale": np.ones(4, np.float32)}, dims=(2, 3, 4))


@pytest.mark.parametrize("operator", SECOND)
def test_a_second_result_matters_only_where_it_is_read(operator: str, tmp_path: Path) -> None:
    unread = import_onnx(saved(with_second_result(operator, read=False), tmp_path))
    assert not unread.file.whole
    read = import_onnx(saved(with_second_result(operator, read=True), tmp_path))
    (reason,) = read.file.whole.values()
    assert "a result beside the first 1 is not supported" in reason


def test_a_split_that_makes_too_few_parts_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Split", ["x", "sizes"], ["a", "b", "c"], axis=1),
        helper.make_node("Concat", ["a", "c"], ["y"], axis=1),
    ]
    model = chain(*nodes, weights={"sizes": np.array([1, 2])})
    with pytest.raises(LoadError, match="a result beside the first 2"):
        import_onnx(saved(model, tmp_path))


def test_known_numbers_that_no_tensor_holds_are_no_output(tmp_path: Path) -> None:
    root = helper.make_node("Sqrt", ["w"], ["y"])
    with pytest.raises(LoadError, match="fails"):
        import_onnx(saved(chain(root, weights={"w": np.float32(-1.25)}), tmp_path))
