"""A choice between two results: what it gives, which sizes it has, and its gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.ir.either import EITHER, other_choices, swaps
from graphprune.ir.program import unlift
from graphprune.ir.sizes import is_data_dependent
from graphprune.ir.trace import silence_torch


class Choice(nn.Module):
    def __init__(self, extra: int = 0) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3 + extra)

    def forward(self, x: Tensor, flag: Tensor) -> Tensor:
        result: Tensor = EITHER(flag, self.left(x), self.right(x), "y")
        return result


@pytest.mark.parametrize("flag", [torch.tensor(True), torch.tensor([False])])
def test_the_condition_chooses_unless_the_other_is_asked_for(flag: Tensor) -> None:
    net, x = Choice(), torch.randn(2, 4)
    chosen, other = (net.left, net.right) if flag else (net.right, net.left)
    assert torch.equal(net(x, flag), chosen(x))
    with other_choices({"y"}):
        assert torch.equal(net(x, flag), other(x))
    net(x, flag).sum().backward()
    assert bool(chosen.weight.grad.any())
    assert not other.weight.grad.any()


@pytest.mark.parametrize("extra", [0, 2])
def test_sizes_that_differ_depend_on_values(extra: int) -> None:
    net, inputs = Choice(extra).eval(), (torch.randn(2, 4), torch.tensor(True))
    with silence_torch():
        program = torch.export.export(net, inputs)
        node = next(n for n in program.graph.nodes if n.target is EITHER)
        assert is_data_dependent(node.meta["val"]) == bool(extra)
    assert swaps(unlift(program).graph) == [{"y"}]
    assert program.module()(inputs[0], torch.tensor(False)).shape == (2, 3 + extra)


class Nested(nn.Module):
    """A choice within the branch of another, and one beside it; each adds a power of ten."""

    def forward(self, x: Tensor, outer: Tensor, inner: Tensor, beside: Tensor) -> Tensor:
        deep = EITHER(inner, x + 1, x + 2, "inner", 1)
        first = EITHER(outer, deep, x + 10, "outer")
        result: Tensor = first + EITHER(beside, x + 100, x + 200, "beside")
        return result


def test_a_choice_within_another_is_swapped_with_it_and_without() -> None:
    net, x = Nested(), torch.zeros(1)
    flags = [torch.tensor(True)] * 3
    with silence_torch():
        graph = unlift(torch.export.export(net, (x, *flags))).graph
    found = swaps(graph)
    assert found == [{"outer", "beside"}, {"inner"}, {"outer", "beside", "inner"}]
    seen = {float(net(x, *flags))}
    for names in found:
        with other_choices(names):
            seen.add(float(net(x, *flags)))
    # The inner choice shows where the outer one takes its branch only.
    assert seen == {101, 210, 102}


def test_a_graph_without_choices_has_no_swaps() -> None:
    with silence_torch():
        program = torch.export.export(nn.Linear(2, 2), (torch.randn(1, 2),))
    assert swaps(unlift(program).graph) == []
