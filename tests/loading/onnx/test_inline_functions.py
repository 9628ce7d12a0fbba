"""Functions of a model are written out, unless they call themselves or are far too many calls."""

from __future__ import annotations

import onnx
import pytest

from graphprune.errors import LoadError
from graphprune.loading.onnx.inline_functions import inline_functions
from tests.loading.onnx.helpers import doubling, recursive, relu

pytestmark = pytest.mark.onnx


def test_calls_are_written_out() -> None:
    model = inline_functions(doubling(levels=3))
    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Relu"] * 8
    assert not model.functions


def test_a_model_without_functions_stays_as_it_is() -> None:
    model = relu()
    assert inline_functions(model) is model


def test_a_function_that_calls_itself_is_refused() -> None:
    with pytest.raises(LoadError, match="the local function 'F' calls itself"):
        inline_functions(recursive())


def test_functions_that_grow_without_bound_are_refused() -> None:
    with pytest.raises(LoadError, match="written out, the local functions are more than"):
        inline_functions(doubling())


def test_two_functions_of_one_name_are_refused() -> None:
    model = doubling(levels=1)
    model.functions.append(model.functions[0])
    with pytest.raises(LoadError, match="a local function is defined twice"):
        inline_functions(model)
