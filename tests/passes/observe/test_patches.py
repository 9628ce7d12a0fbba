"""Rows of a layer, whatever kind of layer it is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.passes.observe import (
    from_matrix,
    input_rows,
    output_rows,
)
from graphprune.passes.observe.find_layers import find_layers
from graphprune.passes.observe.patches import grouped_rows, sample_rows
from tests.passes.observe.helpers import Wrapped


class Product(nn.Module):
    """A matrix product that isn't written as a linear layer."""

    def __init__(self, how: str, bias: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.how, self.weight = how, nn.Parameter(torch.randn(6, 8))
        self.bias = nn.Parameter(torch.randn(bias)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "addmm":
            assert self.bias is not None
            return torch.addmm(self.bias, x, self.weight)
        y = getattr(torch, self.how)(x, self.weight)
        return y if self.bias is None else self.bias + y


class Summed(nn.Module):
    """A convolution whose bias is added behind it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.randn(8, 6, 3, 3)),
            nn.Parameter(torch.randn(8, 1, 1)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight) + self.bias


LAYERS = [
    (nn.Conv2d(6, 8, 3, padding=1), (2, 6, 5, 7)),
    (nn.Conv2d(6, 8, 3, stride=2, dilation=2, bias=False), (2, 6, 9, 11)),
    (nn.Conv2d(6, 8, (1, 3), padding=(0, 1), stride=(2, 1)), (2, 6, 5, 7)),
    (nn.Conv2d(6, 8, (3, 5), padding="same"), (2, 6, 5, 7)),
    (nn.Conv2d(6, 8, 3, padding="valid"), (2, 6, 5, 7)),
    (nn.Conv2d(6, 9, 3, groups=3), (2, 6, 5, 7)),
    (nn.Conv2d(6, 12, 3, groups=6, padding=2), (2, 6, 5, 7)),
    (nn.Conv1d(6, 8, 3, padding=1, stride=2), (2, 6, 9)),
    (nn.Conv3d(4, 6, 3, padding=1), (2, 4, 3, 4, 5)),
    (nn.Linear(6, 8), (3, 6)),
    (nn.Linear(6, 8), (2, 5, 6)),
    (nn.Linear(6, 8, bias=False), (2, 3, 4, 6)),
    (nn.ConvTranspose2d(6, 8, 4, stride=2, padding=1), (2, 6, 5, 7)),
    (nn.ConvTranspose2d(6, 8, 3, stride=2, padding=1, output_padding=1, bias=False), (2, 6, 3, 4)),
    (nn.ConvTranspose2d(6, 9, (2, 3), stride=(3, 1), dilation=2, groups=3), (2, 6, 5, 4)),
    (nn.ConvTranspose1d(6, 6, 5, stride=2, groups=6), (2, 6, 9)),
    (nn.ConvTranspose3d(4, 6, 2, stride=2), (2, 4, 3, 2, 2)),
    (Product("mm"), (3, 6)),
    (Product("matmul"), (2, 3, 6)),
    (Product("matmul", bias=(8,)), (2, 3, 6)),
    (Product("matmul", bias=(1, 8)), (2, 3, 6)),
    (Product("addmm", bias=(8,)), (3, 6)),
    (Product("addmm", bias=(1, 8)), (3, 6)),
    (Summed(), (2, 6, 5, 7)),
]


@pytest.mark.parametrize("case", range(len(LAYERS)))
def test_rows_times_the_matrix_are_the_output(case: int) -> None:
    module, shape = LAYERS[case]
    x = torch.randn(shape)
    analysis = analyse(trace(Wrapped(module), (x,)))
    (layer,) = find_layers(analysis.module)
    output = module(x).detach()
    rows = sample_rows(layer, output, 13, (0, 0))
    assert len(rows) == min(13, output.numel() // output.shape[layer.channel])
    groups = getattr(module, "groups", 1)
    weight = layer.matrix(module.weight, groups).float()
    assert torch.equal(
        from_matrix(weight, module.weight.shape, transposed=layer.transposed), module.weight
    )
    got = (input_rows(layer, x, rows, groups) @ weight.transpose(1, 2)).transpose(0, 1).flatten(1)
    assert (layer.bias is None) == (module.bias is None)
    if module.bias is not None:
        got = got + module.bias.detach().flatten()
    torch.testing.assert_close(got, output_rows(layer, output, rows), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", range(len(LAYERS)))
def test_there_may_be_no_rows(case: int) -> None:
    """As in a branch that no output depends on, since its scale is zero."""
    module, shape = LAYERS[case]
    x, groups = torch.randn(shape), getattr(module, "groups", 1)
    (layer,) = find_layers(analyse(trace(Wrapped(module), (x,))).module)
    none = torch.zeros(0, dtype=torch.int64)
    unknowns = layer.matrix(module.weight, groups).shape[2]
    assert input_rows(layer, x, none, groups).shape == (groups, 0, unknowns)
    assert grouped_rows(output_rows(layer, module(x), none), groups).shape[:2] == (groups, 0)


def test_the_same_rows_are_drawn_again_and_others_for_another_batch() -> None:
    analysis = analyse(trace(Wrapped(nn.Conv2d(3, 4, 3)), (torch.randn(2, 3, 9, 9),)))
    (layer,) = find_layers(analysis.module)
    output = torch.zeros(2, 4, 7, 7)
    first = sample_rows(layer, output, 20, (0, 1))
    assert torch.equal(first, sample_rows(layer, output, 20, (0, 1)))
    assert not torch.equal(first, sample_rows(layer, output, 20, (0, 2)))
    assert len(first.unique()) == 20


@pytest.mark.parametrize("layer", [0, 5, 6, 12, 14, 15])
def test_inputs_of_a_group_lie_together(layer: int) -> None:
    """Else each product of matrices copies all of them first."""
    module, size = LAYERS[layer]
    x = torch.randn(size)
    (found,) = find_layers(analyse(trace(module, (x,))).module)
    groups = getattr(module, "groups", 1)
    inputs = input_rows(found, x, torch.arange(3), groups)
    assert inputs.is_contiguous()
    assert len(inputs) == groups
