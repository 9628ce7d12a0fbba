"""Running statistics of the cut network, front to back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from graphprune.passes.recover.batchnorm import reestimate
from tests.passes.observe.helpers import shaken


class Two(nn.Module):
    """The second statistics depend on what the first ones are."""

    def __init__(self, **options: bool) -> None:
        super().__init__()
        self.a, self.n = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8, **options)
        self.b, self.m = nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6, **options)

    def forward(self, x: Tensor) -> Tensor:
        return self.m(self.b(torch.relu(self.n(self.a(x)))))


def observed(net: nn.Module) -> Observations:
    program = trace(net, (torch.randn(2, 3, 8, 8),))
    return Observations(analyse(program), gather([torch.randn(80, 3, 8, 8)], program))


def test_the_statistics_are_those_of_the_cut_networks_own_values() -> None:
    torch.manual_seed(0)
    net = shaken(Two())
    seen = observed(net)
    keep = [0, 2, 3, 7]
    cut = Cut.keeping(seen.analysis, {"a": keep})
    found = reestimate(seen, cut, cut.tensors)
    x = torch.cat([seen.batches[b][0] for b in seen.fitted])
    with torch.no_grad():
        first = net.a(x)[:, keep]
        mean, variance = first.mean((0, 2, 3)), first.var((0, 2, 3))
        torch.testing.assert_close(found["n.running_mean"], mean)
        torch.testing.assert_close(found["n.running_var"], variance)
        scale = net.n.weight[keep] / (variance + net.n.eps).sqrt()
        hidden = (first - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1)
        hidden = torch.relu(hidden + net.n.bias[keep].view(1, -1, 1, 1))
        second = nn.functional.conv2d(hidden, net.b.weight[:, keep], net.b.bias)
    torch.testing.assert_close(
        found["m.running_mean"], second.mean((0, 2, 3)), rtol=1e-4, atol=1e-4
    )
    torch.testing.assert_close(found["m.running_var"], second.var((0, 2, 3)), rtol=1e-4, atol=1e-4)


def test_nothing_else_changes_and_the_dense_program_stays() -> None:
    torch.manual_seed(0)
    seen = observed(shaken(Two()))
    cut = Cut.keeping(seen.analysis, {"a": range(4)})
    before = {name: t.detach().clone() for name, t in seen.analysis.tensors.items()}
    found = reestimate(seen, cut, cut.tensors)
    for name, tensor in found.items():
        if "running" not in name:
            assert torch.equal(tensor, cut.tensors.get(name, seen.analysis.tensors[name]))
    for name, tensor in seen.analysis.tensors.items():
        assert torch.equal(tensor, before[name])


def test_what_has_no_running_statistics_is_left_alone() -> None:
    torch.manual_seed(0)
    seen = observed(Two(track_running_stats=False).eval())
    cut = Cut.keeping(seen.analysis, {"a": range(4)})
    found = reestimate(seen, cut, cut.tensors)
    assert not any("running" in name for name in found)
    assert all(torch.equal(found[name], tensor) for name, tensor in cut.tensors.items())
