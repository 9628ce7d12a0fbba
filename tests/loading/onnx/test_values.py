"""Numbers that are known while a graph is read, and tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from graphprune.errors import LoadError
from graphprune.loading.onnx.operators import Node
from graphprune.loading.onnx.values import Known, axes_of, floats, integers, known, operand, tensor


def node(**attributes: Any) -> Node:
    return Node("Reshape", "call", ("x",), ("y",), attributes, 18)


@pytest.mark.parametrize("values", [3, [], [1, 2], [[1, 2, 3], [4, 5, 6]]])
def test_numbers_become_the_tensor_of_their_shape(values: Any) -> None:
    found = known(values)
    assert found.items.shape == np.shape(values)
    assert not found.symbolic
    assert torch.equal(tensor(found), torch.tensor(values, dtype=torch.int64))
    assert tensor(known([0.5], torch.float16)).dtype == torch.float16


def test_no_numbers_in_many_rows_take_no_memory() -> None:
    nothing = np.zeros((2**33, 1, 0), object)
    assert tensor(Known(nothing, torch.int64)).shape == nothing.shape


def test_a_stored_tensor_is_the_networks_own() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    assert tensor(Known(np.array([1.0, 1.0], object), torch.float32, weight)) is weight
    assert tensor(weight) is weight


def test_a_symbolic_size_stays_symbolic() -> None:
    class Size(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes = known([x.shape[0], 4])
            assert sizes.symbolic
            with pytest.raises(LoadError, match="the scales must be known"):
                floats(node(), sizes, "the scales")
            return x.reshape(integers(node(), sizes, "the shape")) + tensor(sizes).sum()

    shapes = ({0: torch.export.Dim("n")},)
    program = torch.export.export(Size(), (torch.ones(2, 2, 2),), dynamic_shapes=shapes)
    assert torch.equal(program.module()(torch.ones(5, 2, 2)), torch.full((5, 4), 10.0))


def test_what_depends_on_an_input_is_no_size() -> None:
    for value in (torch.ones(2), None, known([0.5], torch.float32)):
        with pytest.raises(LoadError, match="Reshape node 'call': the shape must be known"):
            integers(node(), value, "the shape")
    assert integers(node(), known([[1, 2], [3, 4]]), "the shape") == [1, 2, 3, 4]
    assert floats(node(), known([1, 2]), "the scales") == [1.0, 2.0]


def test_axes_are_an_input_or_an_attribute() -> None:
    assert axes_of(node(axes=[1]), known([2, 3])) == [2, 3]
    assert axes_of(node(axes=(1,)), None) == [1]
    assert axes_of(node(), None) is None


def test_a_number_is_an_operand_only_where_it_adds_no_axis() -> None:
    x, number, row = torch.ones(3), known(2), known([[2]])
    assert operand(x, [number]) is x
    assert operand(number, [x]) == 2
    assert operand(row, [x]).shape == (1, 1)
    assert operand(number, [known(3)]).shape == ()
    assert operand(known([1, 2, 3]), [x]).tolist() == [1, 2, 3]
