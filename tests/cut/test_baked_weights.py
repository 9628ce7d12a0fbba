"""Weights computed from parameters: kept as they are where a cut allows it, else baked."""

from __future__ import annotations

import pytest
import torch

import graphprune as gp
from graphprune.analysis.analyse import Analysis, analyse
from graphprune.analysis.frozen import frozen
from graphprune.cut.cut import Cut
from graphprune.errors import VerifyError
from graphprune.ir.relift import relift
from graphprune.ir.trace import trace
from graphprune.verify.oracle import verify
from tests import nets


def analysed(net: nets.Net) -> Analysis:
    torch.manual_seed(0)
    return analyse(trace(net, net.inputs()))


def keep(analysis: Analysis, *groups: str) -> dict[str, range]:
    """Half of the named groups."""
    found = {g.id: range(g.width // 2) for g in analysis.groups if g.id in groups}
    assert len(found) == len(groups)
    return found


def test_a_weight_is_baked_only_where_a_statistic_would_change() -> None:
    analysis = analysed(nets.WeightStandardised())
    outputs = Cut.keeping(analysis, keep(analysis, "b"))
    assert outputs.baked == {}
    inputs = Cut.keeping(analysis, keep(analysis, "a"))
    assert list(inputs.baked.values()) == ["b.weight_baked"]


class Named(nets.WeightStandardised):
    """Holds tensors of the names that baked weights get."""

    def __init__(self) -> None:
        super().__init__()
        for name in ("weight_baked", "weight_baked0"):
            self.b.register_buffer(name, torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x + self.b.weight_baked + self.b.weight_baked0)


def test_a_baked_weight_gets_a_name_of_its_own() -> None:
    """A search for one that nothing has went on for ever."""
    analysis = analysed(Named())
    assert list(Cut.keeping(analysis, keep(analysis, "a")).baked.values()) == ["b.weight_baked1"]


def test_a_baked_weight_is_the_dense_one_without_the_rows_removed() -> None:
    net = nets.WeightStandardised()
    analysis = analysed(net)
    cut = Cut.keeping(analysis, keep(analysis, "a", "b"))
    (baked,) = cut.baked_values().values()
    w = net.b.weight.double()
    dense = (w - w.mean((1, 2, 3), keepdim=True)) / (w.std((1, 2, 3), keepdim=True) + 1e-5)
    assert torch.equal(baked, dense[:16, :12].float())
    assert isinstance(baked, torch.nn.Parameter)


def test_what_computed_a_baked_weight_is_gone() -> None:
    net = nets.Reparametrised()
    program = trace(net, net.inputs())
    analysis = analyse(program)
    cut = Cut.keeping(analysis, {g.id: range(g.width // 2) for g in analysis.groups})
    small = cut.program
    names = {name for name, _ in small.named_parameters()}
    assert "b.parametrizations.weight.original1_baked" in names
    others = names - {"a.parametrizations.weight.original1"}  # the inputs of a are the image's
    assert not any(name.endswith("original1") for name in others)
    assert not dict(small.named_buffers())


def test_one_weight_in_two_places_stays_one() -> None:
    net = nets.StandardisedTwice()
    analysis = analysed(net)
    cut = Cut.keeping(analysis, keep(analysis, "a"))
    first, second = cut.baked_values().values()
    assert first is second


class EqualWeights(nets.Net):
    """Two standardised weights that are both zero, as a residual branch may start."""

    held = True

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nets.conv(3, 8), nets.conv(8, 8), nets.conv(8, 8)
        self.head = nets.head(8)
        for layer in (self.b, self.c):
            torch.nn.init.zeros_(layer.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.a(x))
        for layer in (self.b, self.c):
            w = layer.weight - layer.weight.mean((1, 2, 3), keepdim=True)
            x = torch.relu(torch.conv2d(x, w, layer.bias, padding=1))
        return self.head(x)


def test_two_weights_stay_two_even_where_they_are_equal() -> None:
    net = EqualWeights()
    program = trace(net, net.inputs())
    analysis = analyse(program)
    cut = Cut.keeping(analysis, {g.id: range(4) for g in analysis.groups})
    first, second = cut.baked_values().values()
    assert first is not second
    verify(cut)


def test_a_wrong_baked_weight_is_found() -> None:
    net = nets.WeightStandardised()
    program = trace(net, net.inputs())
    analysis = analyse(program)
    cut = Cut.keeping(analysis, keep(analysis, "a"))
    module = cut.module
    with torch.no_grad():
        module.get_parameter("b.weight_baked")[0, 0] += 1e-3
    with pytest.raises(VerifyError):
        verify(cut, relift(module, program))


def test_the_user_is_told() -> None:
    net = nets.WeightStandardised()
    result = gp.compress(net, net.inputs(), flops=0.4, protect=("b",))
    assert (
        "1 weight is stored as computed from the dense parameters, and trained as such: "
        "b.weight_baked"
    ) in result.report.notes
    assert "b.weight_baked" in result.report.eager["reason"]
    trained = result.model.train()
    trained(*net.inputs()).sum().backward()
    assert trained.get_parameter("b.weight_baked").grad is not None


def test_a_rank_is_cut_like_any_other_width() -> None:
    analysis = analysed(nets.LowRank())
    assert {g.id: g.width for g in analysis.groups} == {"a": 32, "up": 24, "down": 2}


def test_held_axes_that_no_activation_sees_are_frozen() -> None:
    net = nets.WeightStandardised()
    reasons = {f.reason for f in frozen(analysed(net))}
    assert reasons == {"model input x", "model output"}


def test_a_network_with_baked_weights_recovers() -> None:
    torch.manual_seed(0)
    net = nets.WeightStandardised()
    data = [torch.randn(16, 3, 8, 8) for _ in range(4)]
    result = gp.compress(net, net.inputs(), flops=0.5, protect=("b",), calibration=data)
    assert result.report.recovery["after"] < result.report.recovery["before"]
