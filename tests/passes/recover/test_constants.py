"""Constants of removed branches are refitted to the mean of what is missing."""

from __future__ import annotations

import torch

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.data.calibration import gather
from graphprune.ir.trace import trace
from graphprune.passes.observe import Observations
from graphprune.passes.recover.least_squares import repair
from graphprune.passes.recover.recover import with_tensors
from tests.analysis.test_removable import Bottlenecks
from tests.passes.recover.helpers import observed


def seen() -> Observations:
    torch.manual_seed(0)
    net = Bottlenecks().eval()
    for norm in (net.last_norm(0), net.last_norm(1)):
        torch.nn.init.normal_(norm.running_mean)  # type: ignore[arg-type]
        torch.nn.init.uniform_(norm.weight)
    program = trace(net, (torch.randn(2, 3, 8, 8),))
    data = [[torch.randn(4, 3, 8, 8)] for _ in range(8)]
    return Observations(analyse(program), gather(data, program))


def without(observations: Observations, *numbers: int) -> Cut:
    analysis = observations.analysis
    gone = [n for number in numbers for n in analysis.removable.branches[number].groups]
    return Cut.keeping(analysis, {analysis.groups[n].id: () for n in gone})


def test_the_constant_is_the_mean_of_the_branch() -> None:
    observations = seen()
    cut = without(observations, 1)
    before, after = repair(observations, cut, refitting=False), repair(observations, cut)
    assert after.error < 0.8 * before.error
    (name,) = cut.constants.values()
    assert not torch.equal(before.tensors[name], after.tensors[name])
    layer = next(e for e in observations.layers if e.name == "blocks.1.6.weight")
    aims = [observations.record.targets[layer, n] for n in observations.fitted]
    rows = torch.cat(aims).double().mean(0)
    # less the mean of the stream, which is positive behind its ReLU
    assert (after.tensors[name].flatten().double() < rows).all()


def test_a_network_without_any_block_is_repaired_and_exported_again() -> None:
    observations = seen()
    cut = without(observations, 0, 1)
    before, after = repair(observations, cut, refitting=False), repair(observations, cut)
    assert after.error < before.error
    program = with_tensors(cut.program, after.tensors)
    assert program.module()(torch.randn(3, 3, 8, 8)).shape == (3, 5)


def test_constants_that_nothing_aims_at_stay() -> None:
    observations = observed("SqueezeExcite")
    branch = observations.analysis.removable.branches[0]
    cut = Cut.keeping(
        observations.analysis, {observations.analysis.groups[n].id: () for n in branch.groups}
    )
    before, after = repair(observations, cut, refitting=False), repair(observations, cut)
    (name,) = cut.constants.values()
    assert torch.equal(before.tensors[name], after.tensors[name])
    assert after.error <= before.error
