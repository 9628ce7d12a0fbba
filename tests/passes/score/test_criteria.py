"""What holds of every criterion, on every structure."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
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
