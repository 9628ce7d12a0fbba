"""BatchNorm statistics that are estimated anew, however BatchNorm is called."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.ir.trainable import trainable_graph
from graphprune.workflow.batchnorm_statistics import estimate_batchnorm


class Functional(nn.Module):
    """BatchNorm as a function, called twice with the same statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)
        self.register_buffer("mean", torch.zeros(4))
        self.register_buffer("var", torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.batch_norm(self.conv(x), self.mean, self.var)  # type: ignore[arg-type]
        return F.batch_norm(x + 1, self.mean, self.var, training=False)  # type: ignore[arg-type]


def layers() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 1),
        nn.BatchNorm2d(4),
        nn.Dropout(0.5),
        nn.Conv2d(4, 5, 1),
        nn.BatchNorm2d(5),
    ).eval()


def graph() -> nn.Module:
    return trainable_graph(trace(layers(), (torch.randn(2, 3, 4, 4),)))


@pytest.mark.parametrize("make", [layers, graph])
def test_statistics_are_averages_over_the_batches(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = make()
    batches = [2 + 3 * torch.randn(8, 3, 4, 4) for _ in range(3)]
    assert estimate_batchnorm(model, [((x,), {}) for x in batches]) == 2
    tensors = model.state_dict()
    weight, bias = tensors["0.weight"], tensors["0.bias"]
    seen = [F.conv2d(x, weight, bias) for x in batches]
    means = torch.stack([y.mean((0, 2, 3)) for y in seen]).mean(0)
    variances = torch.stack([y.var((0, 2, 3)) for y in seen]).mean(0)
    torch.testing.assert_close(tensors["1.running_mean"], means)
    torch.testing.assert_close(tensors["1.running_var"], variances)
    deeper = [
        F.conv2d(F.batch_norm(y, None, None, training=True), tensors["3.weight"], tensors["3.bias"])
        for y in seen
    ]
    means = torch.stack([y.mean((0, 2, 3)) for y in deeper]).mean(0)
    torch.testing.assert_close(tensors["4.running_mean"], means, atol=1e-5, rtol=1e-5)
    assert not model.training


def test_functions_count_too_and_each_call_of_shared_statistics() -> None:
    torch.manual_seed(0)
    model, x = Functional(), torch.randn(8, 3, 4, 4)
    assert estimate_batchnorm(model, [((x,), {})]) == 1
    first = model.conv(x).mean((0, 2, 3))
    # the second call's mean is 1
    torch.testing.assert_close(model.mean, (first + 1) / 2, atol=1e-5, rtol=1e-5)


def test_layers_without_running_statistics_are_left_alone() -> None:
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.LayerNorm(3)).eval()
    assert estimate_batchnorm(model, [((torch.randn(4, 3),), {})]) == 0


def test_a_batch_without_variance_is_refused() -> None:
    with pytest.raises(OptionError, match="one value for each channel"):
        estimate_batchnorm(nn.BatchNorm1d(3).eval(), [((torch.randn(1, 3),), {})])


def test_no_batch_is_refused() -> None:
    with pytest.raises(OptionError, match="no batch"):
        estimate_batchnorm(nn.BatchNorm1d(4).eval(), [])
