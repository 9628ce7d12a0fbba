"""Running statistics of the cut network, front to back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations, StagedRun
from graphprune.passes.recover.batchnorm import reestimate, restandardise
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
    kind = next(net.parameters()).dtype
    program = trace(net, (torch.randn(2, 3, 8, 8).to(kind),))
    return Observations(analyse(program), gather([torch.randn(80, 3, 8, 8).to(kind)], program))


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


def shared_norm() -> nn.Module:
    """One BatchNorm behind two layers."""

    class Shared(Two):
        def forward(self, x: Tensor) -> Tensor:
            return self.n(self.b2(torch.relu(self.n(self.a(x)))))

        def __init__(self) -> None:
            super().__init__()
            self.b2 = nn.Conv2d(8, 8, 3)

    return Shared()


def test_new_statistics_with_scales_and_shifts_for_them_change_no_output() -> None:
    torch.manual_seed(0)
    seen = observed(shaken(Two()))
    cut = Cut.keeping(seen.analysis, {"a": [0, 2, 3, 7]})
    found = restandardise(seen, cut, cut.tensors)
    want = reestimate(seen, cut, cut.tensors)  # the first one's input depends on no BatchNorm
    for name in ("n.running_mean", "n.running_var"):
        torch.testing.assert_close(found[name], want[name])
    numbers = list(seen.fitted)
    batches = [seen.batches[b] for b in numbers]
    before = StagedRun(cut.module, batches, cut.tensors).outputs()
    after = StagedRun(cut.module, batches, found).outputs()
    for old, new in zip(before, after, strict=True):
        torch.testing.assert_close(new, old, atol=1e-5, rtol=1e-5)
    second = torch.cat([out[0] for out in after])
    scale = (second - found["m.bias"].view(1, -1, 1, 1)) / found["m.weight"].view(1, -1, 1, 1)
    torch.testing.assert_close(scale.mean((0, 2, 3)), torch.zeros(6), atol=1e-4, rtol=0)
    torch.testing.assert_close(scale.var((0, 2, 3)), torch.ones(6), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    "net", [shared_norm(), Two(affine=False), Two(track_running_stats=False)], ids=range(3)
)
def test_norms_that_cannot_take_other_statistics_keep_theirs(net: nn.Module) -> None:
    torch.manual_seed(0)
    for each in net.modules():
        if isinstance(each, nn.BatchNorm2d) and each.running_mean is not None:
            nn.init.uniform_(each.running_mean, -1, 1)
    seen = observed(net.eval())
    cut = Cut.keeping(seen.analysis, {})
    found = restandardise(seen, cut, {})
    for name, tensor in seen.analysis.tensors.items():
        assert torch.equal(found.get(name, tensor), tensor)


def test_statistics_that_the_type_cannot_hold_are_left() -> None:
    torch.manual_seed(0)
    net = shaken(Two())
    net.b.weight.data *= 4000
    seen = observed(net.half())
    cut = Cut.keeping(seen.analysis, {"a": [0, 2, 3, 7]})
    found = restandardise(seen, cut, cut.tensors)
    assert all(bool(tensor.isfinite().all()) for tensor in found.values())
    assert torch.equal(found["m.running_var"], net.m.running_var)
    assert not torch.equal(found["n.running_var"], net.n.running_var[[0, 2, 3, 7]])
