"""Networks and data for the tests of criteria."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from graphprune.analysis.analyse import Analysis, analyse
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations

WIDTH = 8


class Plain(nn.Module):
    """Two convolutions with BatchNorm, and a classifier."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.a, self.n = nn.Conv2d(3, WIDTH, 3, padding=1), nn.BatchNorm2d(WIDTH)
        self.b, self.head = nn.Conv2d(WIDTH, 6, 3), nn.Linear(6, 4)
        for tensor in (self.n.weight, self.n.running_var):
            tensor.data.uniform_(0.5, 2)
        for tensor in (self.n.bias, self.n.running_mean):
            tensor.data.normal_()
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.b(torch.relu(self.n(self.a(x)))))
        return self.head(x.mean((2, 3)))

    def of_channels(self) -> list[tuple[torch.Tensor, int]]:
        """Tensors and axes that hold the channels of ``a``."""
        return [
            (t, 0)
            for t in (
                self.a.weight,
                self.a.bias,
                self.n.weight,
                self.n.bias,
                self.n.running_mean,
                self.n.running_var,
            )
        ] + [(self.b.weight, 1)]


class TwoLinears(nn.Module):
    """No bias, no activation: every criterion has a closed form."""

    def __init__(self, inputs: int = 5, outputs: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Linear(inputs, WIDTH, bias=False)
        self.b = nn.Linear(WIDTH, outputs, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x))


def analysed(net: nn.Module, x: torch.Tensor) -> tuple[Analysis, Observations]:
    """A network's analysis, and the inputs as calibration data."""
    program = trace(net, (x.new_zeros(2, *x.shape[1:]),))
    analysis = analyse(program)
    return analysis, Observations(analysis, gather([x], program))


def images(samples: int = 16, seed: int = 1) -> torch.Tensor:
    return torch.randn(samples, 3, 8, 8, generator=torch.Generator().manual_seed(seed))


EXACT = 1e-5  # float32, sums of a few products


ESTIMATE = 0.15  # 1,000 random projections: three standard errors of a chi-square


def weights(net: TwoLinears) -> tuple[np.ndarray, np.ndarray]:
    return tuple(m.weight.detach().double().numpy() for m in (net.a, net.b))


def one_sample() -> tuple[TwoLinears, torch.Tensor, np.ndarray, np.ndarray]:
    """A network of one output, and an input; ``w * dL/dw`` of both layers, but for a sign."""
    net, x = TwoLinears(), torch.randn(1, 5, generator=torch.Generator().manual_seed(1))
    a, b = weights(net)
    into = a * x.double().numpy() * b.T
    return net, x, into, b[0] * (a @ x[0].double().numpy())
