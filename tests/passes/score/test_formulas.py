"""Each criterion against its formula, worked out by hand on small networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import Calibration, gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from graphprune.passes.score import (
    ActivationVariance,
    Connection,
    FeatureRank,
    GeometricMedian,
    GroupFisher,
    LayerAdaptive,
    Magnitude,
    OptimalBrainDamage,
    Probes,
    Spline,
    SynapticFlow,
    Taylor,
)
from tests import nets
from tests.passes.score.networks import WIDTH, Plain, TwoLinears, analysed, images

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


def test_taylor_sums_over_the_group_before_the_absolute_value() -> None:
    net, x, into, out = one_sample()
    expected = np.abs(into.sum(1) + out)
    found = Taylor()(*analysed(net, x)).values["a"]
    np.testing.assert_allclose(found, expected, rtol=EXACT)
    squares = Taylor(power=2)(*analysed(net, x)).values["a"]
    np.testing.assert_allclose(squares, expected**2, rtol=EXACT)


def test_snip_takes_absolute_values_first() -> None:
    net, x, into, out = one_sample()
    found = Connection()(*analysed(net, x)).values["a"]
    np.testing.assert_allclose(found, np.abs(into).sum(1) + np.abs(out), rtol=EXACT)


def test_obd_is_half_the_diagonal() -> None:
    net, x, into, out = one_sample()
    found = OptimalBrainDamage()(*analysed(net, x)).values["a"]
    np.testing.assert_allclose(found, ((into**2).sum(1) + out**2) / 2, rtol=EXACT)


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


def test_variance_is_streamed() -> None:
    net, x = Plain(), images(50)
    with torch.no_grad():
        hidden = torch.relu(net.n(net.a(x))).double()
    expected = hidden.var((0, 2, 3), correction=0) * net.b.weight.double().square().sum((0, 2, 3))
    found = ActivationVariance()(*analysed(net, x)).values["a"]
    np.testing.assert_allclose(found, expected.detach().numpy(), rtol=EXACT)


def test_variance_does_not_cancel_where_means_are_large() -> None:
    net = TwoLinears()
    x = torch.randn(200, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 1e6
    net.double()
    hidden = x.numpy() @ weights(net)[0].T
    expected = hidden.var(0) * weights(net)[1][0] ** 2
    found = ActivationVariance()(*analysed(net, x)).values["a"]
    np.testing.assert_allclose(found, expected, rtol=EXACT)


def test_variance_of_a_flattened_map_weighs_each_position() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 2))
    x = images(20)
    with torch.no_grad():
        hidden = net[1](net[0](x)).double()
        each = hidden.var(0, correction=0) * net[2].weight.double().square().sum(0)
    found = ActivationVariance()(*analysed(net, x)).values["0"]
    np.testing.assert_allclose(found, each.view(4, 36).sum(1).numpy(), rtol=EXACT)


def test_variance_sees_both_factors_of_attention() -> None:
    torch.manual_seed(0)
    net = nets.HeadsAndGroups()
    program = trace(net, net.inputs())
    analysis = analyse(program)
    scores = ActivationVariance()(analysis, Observations(analysis, gather([net.inputs()], program)))
    assert all((scores.values[g.id] > 0).all() for g in analysis.groups)
    assert not scores.notes


def test_what_no_layer_reads_falls_back_and_is_named() -> None:
    torch.manual_seed(0)
    net = nets.UnusedParameters()
    program = trace(net, net.inputs())
    analysis = analyse(program)
    scores = ActivationVariance()(analysis, Observations(analysis, gather([net.inputs()], program)))
    assert "unused" in scores.notes[0]
    np.testing.assert_array_equal(
        scores.values["unused"], Magnitude(p=2)(analysis).values["unused"]
    )


class Maps(nn.Module):
    """Channels of known rank: 1, 2, 0 and full."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(4, 4, 1, bias=False), nn.Conv2d(4, 2, 1)
        self.a.weight.data = torch.eye(4).view(4, 4, 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(self.a(x)).mean((2, 3))


def test_hrank_is_the_mean_rank_of_the_maps() -> None:
    x = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    x[:, 0] = x[:, 0, :1] * x[:, 0, :, :1]
    x[:, 1, 2:] = 0
    x[:, 2] = 0
    x[3:, 3] = 0
    scores = FeatureRank()(*analysed(Maps(), x))
    assert scores.values["a"].tolist() == [1, 2, 0, 4]
    assert not scores.notes


def test_hrank_names_groups_of_vectors() -> None:
    scores = FeatureRank()(*analysed(TwoLinears(), torch.randn(4, 5)))
    assert scores.values["a"].tolist() == [1] * WIDTH
    assert "vectors" in scores.notes[0]


def test_hrank_uses_as_many_samples_as_it_is_told() -> None:
    x = torch.randn(6, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    x[4:] = 0
    few, all_ = (FeatureRank(samples=n)(*analysed(Maps(), x)).values["a"] for n in (4, 6))
    assert few.tolist() == [8] * 4
    assert all_ == pytest.approx(8 * 4 / 6)


def orthogonal(net: Plain) -> Plain:
    """Filters of one norm at right angles; no shift."""
    rows = torch.linalg.qr(torch.randn(27, 27))[0][:WIDTH]
    net.a.weight.data = rows.view_as(net.a.weight)
    net.a.bias.data.zero_()
    for tensor, value in (
        (net.n.weight, 1),
        (net.n.bias, 0),
        (net.n.running_mean, 0),
        (net.n.running_var, 1 - net.n.eps),
    ):
        tensor.data.fill_(value)
    return net


def test_fpgm_finds_duplicates() -> None:
    net = orthogonal(Plain())
    net.a.weight.data[5] = net.a.weight.data[2]
    values = GeometricMedian()(analysed(net, images())[0]).values["a"]
    each = 2**0.5
    expected = np.full(WIDTH, (WIDTH - 1) * each)
    expected[[2, 5]] = (WIDTH - 2) * each
    np.testing.assert_allclose(values, expected, rtol=EXACT)


def test_fpgm_sees_the_scale_of_batchnorm() -> None:
    plain, scaled = Plain(), Plain()
    scaled.a.weight.data *= 3
    scaled.n.weight.data /= 3
    scores = [GeometricMedian()(analysed(n, images())[0]).values["a"] for n in (plain, scaled)]
    np.testing.assert_allclose(*scores, rtol=EXACT)


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.25])
def test_spline_removes_one_of_two_units_on_one_hyperplane(factor: float) -> None:
    net = Plain()
    for tensor in (net.a.weight, net.a.bias, net.n.running_mean):
        tensor.data[5] = factor * tensor.data[2]
    for tensor in (net.n.weight, net.n.bias, net.n.running_var):
        tensor.data[5] = tensor.data[2]
    net.n.bias.data[5] = net.n.bias.data[2] = 0
    values = Spline()(analysed(net, images())[0]).values["a"]
    low, high = sorted(values[[2, 5]])
    assert low == pytest.approx(0, abs=EXACT)
    assert high > 0.1
    assert (np.delete(values, [2, 5]) > 0.1).all()


def test_spline_does_not_depend_on_the_size_of_units() -> None:
    net, scaled = Plain(), Plain()
    for tensor in (scaled.n.weight, scaled.n.bias):
        tensor.data *= 7
    values = [Spline()(analysed(n, images())[0]).values["a"] for n in (net, scaled)]
    np.testing.assert_allclose(*values, rtol=EXACT)


def test_spline_tells_parallel_units_apart_by_their_offset() -> None:
    net = orthogonal(Plain())
    net.a.weight.data[5] = net.a.weight.data[2]
    net.a.bias.data[5] = 0.5
    values = Spline()(analysed(net, images())[0]).values["a"]
    assert min(values[[2, 5]]) == pytest.approx(0.5, rel=EXACT)


def test_constant_units_score_zero_under_spline() -> None:
    net = Plain()
    net.a.weight.data[4] = 0
    values = Spline()(analysed(net, images())[0]).values["a"]
    assert values[4] == 0
    assert (np.delete(values, 4) > 0).all()


def test_lamp_is_the_share_of_what_is_not_smaller() -> None:
    analysis, _ = analysed(Plain(), images())
    energy = Magnitude(p=2)(analysis).values["a"]
    expected = [e / energy[energy >= e].sum() for e in energy]
    found = LayerAdaptive()(analysis).values["a"]
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.max() == 1


def test_lamp_does_not_depend_on_the_scale_of_a_layer() -> None:
    net, scaled = TwoLinears(), TwoLinears()
    for module in (scaled.a, scaled.b):
        module.weight.data *= 8
    values = [LayerAdaptive()(analysed(n, torch.randn(2, 5))[0]).values["a"] for n in (net, scaled)]
    np.testing.assert_allclose(*values, rtol=EXACT)


def test_synflow_is_the_flow_through_a_channel() -> None:
    net = TwoLinears(outputs=3)
    a, b = (np.abs(w) for w in weights(net))
    flow = a.sum(1) * b.sum(0)
    found = SynapticFlow()(analysed(net, torch.randn(2, 5))[0]).values["a"]
    np.testing.assert_allclose(found / found.sum(), flow / flow.sum(), rtol=EXACT)


def test_synflow_keeps_the_order_under_a_scale_of_any_layer_and_is_conserved() -> None:
    net, scaled = Plain(), Plain()
    scaled.a.weight.data *= 1e3
    scores = [SynapticFlow()(analysed(n, images())[0]).values for n in (net, scaled)]
    np.testing.assert_allclose(scores[0]["a"], scores[1]["a"], rtol=EXACT)
    # Once each through the convolution, BatchNorm and the next layer; and through two layers.
    assert scores[0]["a"].sum() / 3 == pytest.approx(scores[0]["b"].sum() / 2, rel=EXACT)


def test_synflow_stays_finite_in_deep_networks() -> None:
    torch.manual_seed(0)
    layers = [m for _ in range(40) for m in (nn.Linear(32, 32), nn.ReLU())]
    net = nn.Sequential(*layers, nn.Linear(32, 2))
    for layer in net[::2]:
        layer.weight.data *= 50
    analysis = analyse(trace(net, (torch.randn(2, 32),)))
    values = SynapticFlow()(analysis).values
    assert all(np.isfinite(v).all() and v.min() > 0 for v in values.values())


def test_only_so_many_samples_are_used() -> None:
    analysis, seen = analysed(Plain(), images(64))
    values = Taylor(Probes(samples=30))(analysis, seen).values["a"]
    poisoned = torch.cat([batch[0] for batch in seen.batches])
    poisoned[30:] = torch.inf
    sizes = [len(batch[0]) for batch in seen.batches]
    data = Calibration(tuple((x,) for x in poisoned.split(sizes)))
    again = Taylor(Probes(samples=30))(analysis, Observations(analysis, data)).values["a"]
    np.testing.assert_array_equal(values, again)
