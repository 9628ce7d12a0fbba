"""What budgets bound, as functions of the widths."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

import graphprune as gp
from graphprune.analysis.analyse import Analysis, analyse
from graphprune.cut.cut import Cut
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.passes.allocate.costs import cost_of
from graphprune.passes.latency import slim_onnx
from graphprune.passes.solver.equal_widths import EqualWidths
from tests.passes.latency.helpers import INPUTS, Block, made, program


def test_the_memory_of_a_network_counted_by_hand() -> None:
    analysis = analyse(program())
    weights = 4 * (24 * 27 + 24 + 16 * 24 + 16 + 16 * 9 + 16 + 24 * 16 + 24 + 240 + 10)
    # Where the first 1x1 layer runs, its input of 24 channels and its result of 16 are alive;
    # where the last one runs, the input of the block, 16 and 24 more, and then the sum.
    cost = cost_of("memory", analysis, program(), None)
    assert cost.at(analysis.widths) == weights + 4 * 64 * (24 + 24 + 24)


@pytest.mark.onnx
@pytest.mark.parametrize("amount", [0.5, 0.8])
def test_the_file_is_no_larger_than_its_budget(amount: float, tmp_path: Path) -> None:
    net = Block().eval()
    net.norm.running_mean.uniform_(-1, 1)  # a bias of zeros would be left out of the file
    result = gp.compress(net, INPUTS, size=amount)
    result.export_onnx(tmp_path / "slim.onnx")
    (met,) = result.report.budgets
    dense = len(slim_onnx(trace(net, INPUTS), analyse(trace(net, INPUTS)), [24, 16]))
    written = (tmp_path / "slim.onnx").stat().st_size
    assert met["dense"] == pytest.approx(dense, rel=0.01)
    assert written <= met["bound"]
    assert written == pytest.approx(met["reached"], rel=0.01)


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analyse(program())


@pytest.mark.parametrize("cost", ["macs", "params", "memory", "size", "latency"])
def test_tables_over_candidates_are_the_cost_itself(cost: str) -> None:
    state, table = made()
    analysis = state[Analysis]
    found = cost_of(cost, analysis, state.program, table)
    apart = EqualWidths.of(range(len(analysis.groups)))
    candidates = [np.arange(4, width + 1, 5) for width in analysis.widths]
    assert found.is_exact(candidates)
    for levels in itertools.product(*(range(len(each)) for each in candidates)):
        widths = [int(each[level]) for each, level in zip(candidates, levels, strict=True)]
        sums = [
            sum(f(list(levels)) for f in factors) for factors in found.factors(candidates, apart)
        ]
        assert max(sums) == pytest.approx(found.at(widths))


@pytest.mark.parametrize("cost", ["macs", "params", "memory", "size", "latency"])
def test_a_narrower_network_costs_no_more(cost: str) -> None:
    state, table = made()
    found = cost_of(cost, state[Analysis], state.program, table)
    dense = state[Analysis].widths
    costs = [found.at([max(1, int(w) * part // 4) for w in dense]) for part in (1, 2, 4)]
    assert costs == sorted(costs)
    assert costs[0] < costs[-1]


def test_the_cost_at_other_widths_is_that_of_the_cut_network(analysis: Analysis) -> None:
    keep = {g.id: range(n) for g, n in zip(analysis.groups, (8, 5), strict=True)}
    small = Cut.keeping(analysis, keep).program
    again = analyse(small)
    for name in ("macs", "params", "memory"):
        one, other = (cost_of(name, a, p, None) for a, p in ((analysis, program()), (again, small)))
        assert one.at([8, 5]) == other.at(again.widths)


def test_a_cost_that_is_none_names_those_that_are(analysis: Analysis) -> None:
    with pytest.raises(OptionError, match="no cost 'energy'") as caught:
        cost_of("energy", analysis, program(), None)
    assert "memory" in caught.value.hint


def test_a_latency_takes_a_table(analysis: Analysis) -> None:
    with pytest.raises(OptionError, match="latency table"):
        cost_of("latency", analysis, program(), None)
