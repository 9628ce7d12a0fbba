"""What a user gives, as the flat inputs of a program."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from graphprune.data.calibration import gather
from graphprune.data.checked_inputs import checked_inputs
from graphprune.errors import LoadError
from graphprune.ir.trace import trace
from tests.nets import NETS


@pytest.mark.parametrize("name", ["Keyword", "Mapped"])
def test_inputs_of_a_mapping_are_told_apart_by_name(name: str) -> None:
    net = NETS[name]().eval()
    program = trace(net, net.inputs(), net.keywords())
    args, kwargs = net.inputs(), net.keywords()
    given = {"x": args[0], **kwargs} if kwargs else args[0]
    wanted = pytree.tree_leaves((args, kwargs))
    for order in (list(given), list(given)[::-1]):
        (batch,) = gather([{key: given[key] for key in order}], program, samples=1).batches
        for got, value in zip(batch, wanted, strict=True):
            assert torch.equal(got, value[:1]) if isinstance(value, Tensor) else got == value
    with pytest.raises(LoadError, match="the data has x, y"):
        gather([{"x": torch.zeros(2), "y": torch.zeros(2)}], program)


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ((torch.zeros(5, 4), torch.zeros(5)), "takes 1 inputs"),
        (torch.zeros(5, 4, dtype=torch.float64), "torch.float32 is expected"),
        (7, "the data has int"),
        (torch.zeros(5, 3), "data has"),
        (torch.full((5, 4), math.inf), "aren't finite"),
    ],
)
def test_what_a_program_does_not_take_is_refused(item: object, message: str) -> None:
    program = trace(torch.nn.Linear(4, 2), (torch.zeros(2, 4),))
    (found,) = checked_inputs([torch.zeros(5, 4)], program)
    assert found.shape == (5, 4)
    with pytest.raises(LoadError, match=message):
        checked_inputs(item, program)
