"""Inputs to compare programs on: other values, other sizes, within what a program takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from graphprune.ir.trace import trace
from graphprune.verify.inputs import (
    drawn_like,
    native_inputs,
    random_inputs,
    size_growths,
    tiled,
)
from tests import nets


def test_they_are_drawn_anew_and_are_the_same_for_one_seed() -> None:
    net = nets.GroupedConv()
    program = trace(net, net.inputs())
    (first,), (again,), (other,) = (random_inputs(program, 0, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.float64
    (larger,) = random_inputs(program, 3, 0)
    assert larger.shape == (5, 3, 8, 8)
    (native,) = native_inputs(program, 0, 0)
    assert torch.equal(native, first.float())


class Lookup(nn.Module):
    """Indices and floats: ``ids [B, T]``, ``x [B, 4]``."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(self, ids: Tensor, x: Tensor) -> Tensor:
        return self.head(self.words(ids).mean(1) + x)


def test_indices_stay_those_of_the_example_or_are_shuffled() -> None:
    program = trace(Lookup(), (torch.tensor([[3, 5, 8], [8, 3, 3]]), torch.randn(2, 4)))
    found, _ = random_inputs(program, 1, 0)
    assert found.tolist() == [[3, 5, 8], [8, 3, 3], [3, 5, 8]]
    shuffled, _ = random_inputs(program, 1, 0, shuffled=True)
    assert shuffled.shape == (3, 3)
    assert set(shuffled.flatten().tolist()) <= {3, 5, 8}


@pytest.mark.parametrize(
    ("example", "mean", "spread"),
    [
        (torch.full((64, 4), 7.0), 7, 1),
        (torch.rand(64, 4) * 255, 127, 74),
        (torch.zeros(64, 4), 0, 1),
    ],
    ids=["constant", "pixels", "zeros"],
)
def test_floats_have_the_mean_and_the_spread_of_the_example(
    example: Tensor, mean: float, spread: float
) -> None:
    program = trace(Lookup(), (torch.zeros(64, 3, dtype=torch.int64), example))
    _, x = random_inputs(program, 0, 0)
    assert float(x.mean()) == pytest.approx(mean, abs=0.3 * spread)
    assert float(x.std()) == pytest.approx(spread, rel=0.3)


class Pyramid(nn.Module):
    """Three halvings and back, joined at each step: heights are multiples of 8."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.ModuleList(nn.Conv2d(3, 3, 3, 2, 1) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        levels = [x]
        for conv in self.down:
            levels.append(conv(levels[-1]))
        y = levels.pop()
        while levels:
            y = nn.functional.interpolate(y, scale_factor=2.0) + levels.pop()
        return y


def test_sizes_grow_to_some_that_the_program_takes() -> None:
    x = torch.randn(2, 3, 16, 32)
    shapes = ({0: Dim("batch"), 2: Dim.AUTO, 3: Dim.AUTO},)
    program = torch.export.export(Pyramid(), (x,), dynamic_shapes=shapes)
    (larger,) = native_inputs(program, 1, 0)
    assert larger.shape == (3, 3, 24, 40)
    program.module()(larger)


def test_a_fixed_batch_is_compared_once() -> None:
    net = nn.Linear(3, 2)
    assert size_growths(trace(net, (torch.randn(2, 3),))) == (0, 1)
    assert size_growths(torch.export.export(net, (torch.randn(2, 3),))) == (0,)


def test_what_has_no_elements_becomes_zeros() -> None:
    """As a cache that is empty at first."""
    empty, generator = torch.empty((1, 0), dtype=torch.int64), np.random.default_rng(0)
    for found in (tiled(empty, [2, 3]), drawn_like(empty, [2, 3], generator)):
        assert torch.equal(found, torch.zeros((2, 3), dtype=torch.int64))
    assert tiled(torch.tensor([[1, 2]]), [2, 3]).tolist() == [[1, 2, 1]] * 2
    assert tiled(torch.tensor(7), []).item() == 7


def test_a_single_whole_number_is_drawn_too() -> None:
    """Where it couldn't be, a program was compared with its module on the examples alone."""
    drawn = drawn_like(torch.tensor(7), [], np.random.default_rng(0))
    assert drawn.shape == ()
    assert drawn.item() == 7
