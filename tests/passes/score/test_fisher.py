"""One gate for each channel, closed in all layers that read it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from graphprune.passes.score import (
    GroupFisher,
    Probes,
)
from tests.passes.score.networks import (
    ESTIMATE,
    EXACT,
    TwoLinears,
    analysed,
    one_sample,
    weights,
)


def test_fisher_is_the_squared_output_of_a_channel() -> None:
    net, x, _, out = one_sample()
    np.testing.assert_allclose(GroupFisher()(*analysed(net, x)).values["a"], out**2 / 2, rtol=EXACT)


def test_projections_estimate_the_squared_change_of_all_outputs_and_samples() -> None:
    net = TwoLinears(outputs=6)
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(1))
    a, b = weights(net)
    hidden = x.double().numpy() @ a.T
    expected = (b**2).sum(0) * (hidden**2).mean(0) / 2
    found = GroupFisher(Probes(draws=100))(*analysed(net, x)).values["a"]
    np.testing.assert_allclose(found, expected, rtol=ESTIMATE)


def test_fisher_closes_one_gate_in_all_layers_that_read_the_group() -> None:
    """``x + b(a(x))`` with what follows: the stream's gate counts in both readers at once."""

    class Stream(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.s, self.a = nn.Linear(5, 6, bias=False), nn.Linear(6, 6, bias=False)
            self.out = nn.Linear(6, 1, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.s(x)
            return self.out(x + self.a(x))

    net, x = Stream(), torch.randn(1, 5, generator=torch.Generator().manual_seed(1))
    s, a, out = (m.weight.detach().double() for m in (net.s, net.a, net.out))
    stream = s @ x[0].double()
    after = stream + a @ stream
    expected = (out[0] * after + (out[0] @ a) * stream) ** 2 / 2
    found = GroupFisher()(*analysed(net, x)).values["s"]
    np.testing.assert_allclose(found, expected.numpy(), rtol=EXACT)
