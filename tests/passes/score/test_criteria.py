"""What holds of every criterion, on every structure."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils import _pytree as pytree

from graphprune.analysis.analyse import analyse
from graphprune.data.calibration import gather
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from graphprune.passes.score import CRITERIA, Criterion
from tests.nets import HELD, NETS
from tests.passes.score.networks import WIDTH, Plain, analysed, images

ROUNDING = 1e-4
"""float32 sums in another order, relative to the largest score."""

OTHERS = ("obs", "random")  # one has tests of its own; the other heeds nothing
DETERMINISTIC = [name for name in CRITERIA if name not in OTHERS]
SAMPLE = sorted({*[*NETS, *HELD][::3], "HeadsAndGroups", "InPlace", "Keyword", "Recurrent"})
WITH_DATA = [name for name, criterion in CRITERIA.items() if criterion.needs_data]


@pytest.mark.parametrize("name", SAMPLE)
def test_scores_are_finite_and_the_model_untouched(name: str) -> None:
    torch.manual_seed(0)
    net = (NETS | HELD)[name]()
    program = trace(net, net.inputs(), net.keywords())
    analysis = analyse(program)
    inputs = [pytree.tree_leaves((net.inputs(), net.keywords())) for _ in range(2)]
    observations = Observations(analysis, gather(inputs, program))
    before = copy.deepcopy(net.state_dict())
    for criterion in (CRITERIA[n] for n in CRITERIA if n != "obs"):
        scores = criterion(analysis, observations)
        for group in analysis.groups:
            values, curve = scores.values[group.id], scores.curve(group.id)
            assert values.shape == (group.width,)
            assert np.isfinite(values).all()
            assert (values >= 0).all()
            assert curve.shape == (group.width + 1,)
            assert curve[-1] == 0
            assert (np.diff(curve) <= 0).all()
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("name", CRITERIA)
def test_the_same_seed_gives_the_same_scores(name: str) -> None:
    first, second = (CRITERIA[name](*analysed(Plain(), images())) for _ in range(2))
    assert first.values.keys() == second.values.keys()
    for group, values in first.values.items():
        np.testing.assert_array_equal(values, second.values[group])


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_permuting_channels_permutes_scores(name: str) -> None:
    net, moved = Plain(), Plain()
    order = torch.randperm(WIDTH, generator=torch.Generator().manual_seed(3))
    for tensor, dim in moved.of_channels():
        tensor.data = tensor.data.index_select(dim, order)
    scores = [CRITERIA[name](*analysed(n, images())).values["a"] for n in (net, moved)]
    np.testing.assert_allclose(scores[0][order.numpy()], scores[1], atol=ROUNDING * scores[0].max())


@pytest.mark.parametrize("name", ["taylor", "obd", "fisher", "snip", "synflow", "variance"])
def test_a_channel_that_nobody_reads_scores_zero(name: str) -> None:
    net = Plain()
    net.b.weight.data[:, 3] = 0
    values = CRITERIA[name](*analysed(net, images())).values["a"]
    assert values[3] == 0
    assert (np.delete(values, 3) > 0).sum() >= WIDTH - 2  # ReLU may leave one more silent


@pytest.mark.parametrize("name", ["taylor", "obd", "fisher", "snip", "synflow", "variance", "lamp"])
def test_a_curve_is_the_sum_of_what_is_removed(name: str) -> None:
    scores = CRITERIA[name](*analysed(Plain(), images()))
    order = scores.order("a")
    for width in range(WIDTH + 1):
        removed = scores.values["a"][order[width:]].sum()
        assert scores.curve("a")[width] == pytest.approx(removed)


@pytest.mark.parametrize("name", WITH_DATA)
def test_missing_data_is_an_error(name: str) -> None:
    analysis, _ = analysed(Plain(), images())
    with pytest.raises(OptionError, match="needs calibration data"):
        CRITERIA[name](analysis, None)


@pytest.mark.parametrize("name", ["taylor", "obd", "fisher", "snip"])
def test_gradients_that_are_not_finite_are_an_error(name: str) -> None:
    analysis, observations = analysed(Plain(), images())
    observations.batches[0][0].fill_(torch.inf)
    with pytest.raises(OptionError, match="finite"):
        CRITERIA[name](analysis, observations)


@pytest.mark.parametrize("name", [n for n, c in CRITERIA.items() if not c.needs_data])
def test_criteria_without_data_do_not_look_at_it(name: str) -> None:
    criterion: Criterion = CRITERIA[name]
    analysis, observations = analysed(Plain(), images())
    with_data, without = criterion(analysis, observations), criterion(analysis)
    np.testing.assert_array_equal(with_data.values["a"], without.values["a"])


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_sixteen_bit_models_have_scores(name: str) -> None:
    analysis, observations = analysed(Plain().to(torch.bfloat16), images(8).to(torch.bfloat16))
    values = CRITERIA[name](analysis, observations).values["a"]
    assert np.isfinite(values).all()
    assert values.max() > 0


class Quantised(nn.Module):
    """A layer whose weight is stored as whole numbers with a scale for each row, in a parameter or a buffer."""

    def __init__(self, *, parameter: bool = True, kind: torch.dtype = torch.int8) -> None:
        super().__init__()
        torch.manual_seed(0)
        whole = torch.randint(-100, 100, (WIDTH, 5)).to(kind)
        if parameter:
            self.whole = nn.Parameter(whole, requires_grad=False)
        else:
            self.register_buffer("whole", whole)
        self.scale = nn.Parameter(torch.rand(WIDTH, 1) / 50)
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.relu(F.linear(x, self.whole.float() * self.scale)))


@pytest.mark.parametrize("name", DETERMINISTIC)
@pytest.mark.parametrize("parameter", [True, False])
def test_weights_that_are_stored_as_whole_numbers_have_scores(
    name: str, *, parameter: bool
) -> None:
    data = torch.randn(16, 5, generator=torch.Generator().manual_seed(1))
    (values,) = CRITERIA[name](*analysed(Quantised(parameter=parameter), data)).values.values()
    assert np.isfinite(values).all()
    assert values.max() > 0


@pytest.mark.parametrize("name", ["fpgm", "spline"])
def test_filters_of_whole_numbers_are_the_weights_that_are_computed(name: str) -> None:
    data = torch.randn(16, 5)
    net = Quantised()
    plain = nn.Sequential(nn.Linear(5, WIDTH, bias=False), nn.ReLU(), net.head)
    plain[0].weight.data = net.whole.float() * net.scale.detach()
    (found,), (expected,) = (
        CRITERIA[name](*analysed(each, data)).values.values() for each in (net, plain)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-6)


class Complex(nn.Module):
    """Two layers of complex numbers, which are outputs too."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Parameter(torch.randn(WIDTH, 5, dtype=torch.complex64))
        self.b = nn.Parameter(torch.randn(4, WIDTH, dtype=torch.complex64))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = F.linear(F.linear(x.to(torch.complex64), self.a), self.b)
        return y, y.abs()


@pytest.mark.parametrize("name", DETERMINISTIC)
def test_complex_numbers_have_scores(name: str) -> None:
    (values,) = CRITERIA[name](*analysed(Complex(), torch.randn(16, 5))).values.values()
    assert np.isfinite(values).all()
    assert values.max() > 0


@pytest.mark.parametrize("name", ["synflow", "taylor", "snip", "obd"])
@pytest.mark.parametrize("factor", [1e5, 1e-9])
def test_gradients_of_sixteen_bits_neither_overflow_nor_vanish(name: str, factor: float) -> None:
    class Scaled(Plain):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * factor

    found = [
        CRITERIA[name](*analysed(Scaled().to(kind), images(8).to(kind))).values["a"]
        for kind in (torch.float16, torch.float32)
    ]
    half, full = (values / values.max() for values in found)
    np.testing.assert_allclose(half, full, atol=0.02)
