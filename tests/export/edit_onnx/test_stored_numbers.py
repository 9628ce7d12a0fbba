"""Stored numbers, wherever a file keeps them, are read, and replaced for one reader or for all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper

from graphprune.export.edit_onnx.stored_numbers import EditError, StoredNumbers

from .helpers import model, reshapes

pytestmark = pytest.mark.onnx


@pytest.mark.parametrize("kind", ["value_float", "value_floats", "value_int", "value_ints"])
def test_numbers_that_an_attribute_holds(kind: str) -> None:
    value = [2, 3] if kind.endswith("s") else 2
    holder = helper.make_node("Constant", [], ["c"], **{kind: value})
    found = StoredNumbers(model(holder, helper.make_node("Mul", ["x", "c"], ["y"])), {})
    numbers = found.numbers("c")
    assert numbers is not None
    assert numbers.tolist() == value
    assert numbers.dtype == (np.float32 if "float" in kind else np.int64)


def test_computed_numbers_are_counted_where_that_is_known() -> None:
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Reshape", ["x", "s"], ["y"]),
    ]
    stored = StoredNumbers(model(*nodes, c=np.arange(3)), {"s": 2})
    assert stored.numbers("s") is None
    assert [stored.count(name) for name in ("s", "c", "y")] == [2, 3, None]
    assert [stored.computes(*of) for of in (("s", 2), ("s", 3), ("c", 3))] == [True, False, False]


def test_a_list_is_read_where_it_is_handed_on() -> None:
    nodes = [
        helper.make_node("Unsqueeze", ["three", "zero"], ["c"]),
        helper.make_node("Cast", ["c"], ["d"], to=7),
        helper.make_node("Reshape", ["x", "d"], ["y"]),
    ]
    stored = StoredNumbers(model(*nodes, three=np.array(3), zero=np.array([0])), {})
    found = stored.listed("d")
    assert found is not None
    assert found.tolist() == [3]
    assert stored.listed("y") is None


def test_a_new_tensor_gets_a_free_name() -> None:
    stored = StoredNumbers(model(*reshapes(), a_1=np.ones(1)), {})
    assert [stored.add(name, np.ones(2)) for name in ("a", "b", "b")] == ["a_2", "b", "b_1"]


def test_another_reader_goes_on_reading_what_it_read() -> None:
    stored = StoredNumbers(model(*reshapes(), shape=np.array([-1, 3, 2])), {})
    first, second = stored.graph.node
    stored.put(first, 1, np.array([-1, 2, 2]))
    assert stored.numbers(second.input[1]).tolist() == [-1, 3, 2]  # type: ignore[union-attr]
    assert stored.numbers(first.input[1]).tolist() == [-1, 2, 2]  # type: ignore[union-attr]


def test_old_files_that_list_weights_as_inputs_get_their_new_sizes() -> None:
    made = model(helper.make_node("MatMul", ["x", "w"], ["y"]), w=np.ones((6, 4), np.float32))
    made.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [6, 4]))
    stored = StoredNumbers(made, {})
    stored.store("w", torch.ones(6, 3))
    assert list(stored.graph.initializer[0].dims) == [6, 3]
    assert [d.dim_value for d in stored.graph.input[1].type.tensor_type.shape.dim] == [6, 3]


def test_a_tensor_keeps_its_type() -> None:
    stored = StoredNumbers(model(*reshapes(), w=np.ones(3, np.float32)), {})
    with pytest.raises(EditError, match="would change its type"):
        stored.store("w", torch.ones(3, dtype=torch.float64))


def test_a_single_number_stays_without_axes() -> None:
    gather = helper.make_node("Gather", ["x", "last"], ["y"], axis=1)
    stored = StoredNumbers(model(gather, last=np.array(5)), {})
    stored.put(stored.graph.node[0], 1, np.array(2))
    found = stored.numbers("last")
    assert found is not None
    assert (found.shape, int(found)) == ((), 2)
