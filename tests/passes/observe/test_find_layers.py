"""Which calls are layers, and which only look like one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.passes.observe.find_layers import find_layers
from graphprune.passes.observe.layers import tied


class Shared(nn.Module):
    """Calls of one layer, of which ``how`` says what else reads its weight or its bias."""

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.a, self.how, self.token = nn.Linear(6, 6), how, nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.how == "bias" else self.a.bias
        first = self.token if self.how == "stored" else torch.relu(self.a(x))
        y = nn.functional.linear(first, self.a.weight, bias) + self.a(x)
        return y + self.a.weight.sum() if self.how == "weight" else y


def test_calls_that_share_a_weight_and_its_bias_are_one_tie() -> None:
    layers = find_layers(unlift(trace(Shared(), (torch.randn(2, 6),))))
    assert [(each.name, str(each.bias), each.calls) for each in layers] == [
        ("a.weight", "a_bias", 3)
    ] * 3
    assert tied(layers) == {layers[0]: layers}


@pytest.mark.parametrize("how", ["bias", "weight", "stored"])
def test_a_weight_that_is_read_otherwise_too_is_no_layer(how: str) -> None:
    assert not find_layers(unlift(trace(Shared(how), (torch.randn(2, 6),))))


def test_what_is_no_product_with_one_matrix_is_no_layer() -> None:
    class Others(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.many, self.one = (
                nn.Parameter(torch.randn(2, 6, 6)),
                nn.Parameter(torch.randn(6, 6)),
            )
            self.last, self.bias = nn.Parameter(torch.randn(6, 6)), nn.Parameter(torch.randn(6))

        def forward(self, x: Tensor) -> Tensor:
            x = self.one @ torch.relu(x @ self.many)  # many matrices, and one from the left
            return torch.addmm(self.bias, x[1], self.last, alpha=2)

    assert not find_layers(unlift(trace(Others(), (torch.randn(2, 6, 6),))))


def test_what_a_sum_adds_along_another_axis_is_no_bias() -> None:
    class Along(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.row = nn.Conv2d(3, 6, 3, bias=False), nn.Parameter(torch.randn(6))

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) + self.row

    (layer,) = find_layers(unlift(trace(Along(), (torch.randn(2, 3, 8, 8),))))
    assert layer.bias is None
    assert layer.end is layer.node
