"""What a refit leaves to the end where training follows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis, analyse
from graphprune.cut.cut import Cut
from graphprune.data.calibration import Calibration, gather
from graphprune.ir.program import state, unlift
from graphprune.ir.trace import trace
from graphprune.passes import Distilled, Finetuned, Recover, Recovered, Settle
from graphprune.passes.observe import Observations
from graphprune.passes.recover.output_scale import scaled_outputs
from graphprune.passes.recover.recover import with_tensors
from tests.passes.recover.helpers import equal, weights

NOTHING = Distilled(before=0.1, after=0.1, steps=5, seconds=1.0)
BETTER = Distilled(before=0.1, after=0.05, steps=5, seconds=1.0)
LABELLED = Finetuned(1.0, 0.5, 0.7, 0.8, epochs=1, steps=5, samples=100, seconds=1.0)


def classifier() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 24), nn.ReLU(), nn.Linear(24, 12), nn.ReLU(), nn.Linear(12, 5))
    with torch.no_grad():
        net[4].weight.mul_(6)  # type: ignore[operator]
    return net.eval()


def refitted(*, everything: bool) -> gp.State:
    """Of a classifier of which half of the channels are gone."""
    net, data = classifier(), torch.randn(200, 6)
    program = trace(net, (data[:2],))
    analysis, calibration = analyse(program), gather([data], program)
    cut = Cut.keeping(analysis, {g.id: range(g.width // 2) for g in analysis.groups})
    observations = Observations(analysis, calibration)
    start = gp.State(cut.program).knowing(analysis, calibration, observations, cut)
    given = (Analysis, Calibration, Observations, Cut)
    return gp.Pipeline((Recover(everything=everything),), given=given).run(start)


def settled(start: gp.State) -> gp.State:
    return gp.Pipeline((Settle(),), given=tuple(start.facts)).run(start)


def test_where_training_found_nothing_it_is_as_without_training() -> None:
    without, before = refitted(everything=True), refitted(everything=False)
    assert not equal(weights(before.program), weights(without.program))
    after = settled(before.knowing(NOTHING))
    assert equal(weights(after.program), weights(without.program))
    assert after[Recovered] == without[Recovered]


def test_a_training_too_short_for_a_step_changes_nothing() -> None:
    torch.manual_seed(1)
    net, data = classifier(), [torch.randn(200, 6)]
    plain = gp.compress(net, (data[0][:2],), flops=0.6, calibration=data)
    trained = gp.compress(net, (data[0][:2],), flops=0.6, calibration=data, distil="0.000001s")
    torch.testing.assert_close(trained.model.state_dict(), plain.model.state_dict())


@pytest.mark.parametrize("lost", [0.85, 1.0])
def test_scores_that_distillation_drew_to_their_mean_get_their_size_back(lost: float) -> None:
    net, data = classifier(), torch.randn(200, 6)
    program = trace(net, (data[:2],))
    observations = Observations(analyse(program), gather([data], program))
    cut = Cut.keeping(observations.analysis, {})
    tensors = {name: x.detach() for name, x in state(unlift(cut.program)).items()}
    drawn = with_tensors(cut.program, scaled_outputs(observations, cut, tensors, lost))
    start = gp.State(drawn).knowing(observations, cut, BETTER, Recovered("ls", 1.0, 0.1, 3, 3))
    after = settled(start)
    assert after[Recovered].scale == pytest.approx(1 / lost, rel=0.011)
    with torch.no_grad():
        torch.testing.assert_close(
            after.program.module()(data[:2]), net(data[:2]), rtol=0.02, atol=0.02
        )


def test_what_was_trained_with_labels_stays() -> None:
    start = refitted(everything=False)
    after = settled(start.knowing(LABELLED))
    assert after.program is start.program
