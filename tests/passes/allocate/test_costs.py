"""What budgets bound, as functions of the widths."""

from __future__ import annotations

from pathlib import Path

import pytest

import graphprune as gp
from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from graphprune.passes.allocate.costs import cost_of
from graphprune.passes.latency import slim_onnx
from tests.passes.latency.helpers import INPUTS, Block, program


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
