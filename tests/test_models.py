"""Every net of the package, at three budgets: budget, oracle, ONNX, folding, determinism."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import graphprune as gp
from graphprune.export.onnx_error import ONNX_TOLERANCE
from graphprune.ir.program import unlift
from graphprune.ir.trace import trace
from graphprune.models import ALL
from graphprune.models.randomize import randomize_batchnorm
from graphprune.passes import Allocate, Decision, FoldBatchNorm
from graphprune.passes.batchnorm.fold import foldable
from graphprune.verify.oracle import TOLERANCE

SLACK = 0.005
"""A budget is met to 0.5 % of the dense cost."""


@pytest.fixture(scope="module", params=sorted(ALL))
def net(request: pytest.FixtureRequest) -> torch.export.ExportedProgram:
    torch.manual_seed(0)
    model = ALL[request.param].build()
    randomize_batchnorm(model, seed=0)
    return trace(model, ALL[request.param].example_inputs())


@pytest.mark.parametrize("flops", [0.3, 0.5, 0.8])
def test_compress(net: torch.export.ExportedProgram, flops: float, tmp_path: Path) -> None:
    result = gp.compress(net, flops=flops)
    reached = result.report.budget["reached"] / result.report.budget["dense"]
    assert flops - SLACK <= reached <= flops
    assert result.report.after.macs == result.report.budget["reached"]
    assert result.report.oracle["max_error"] <= TOLERANCE
    assert not foldable(unlift(FoldBatchNorm()(result.program)))
    exported = result.export_onnx(tmp_path / "model.onnx")
    assert exported.report.onnx["max_error"] <= ONNX_TOLERANCE
    again = gp.decide(
        net, allocator=Allocate(budget=gp.Budget.flops(flops), round_to="fast", max_cut=None)
    )
    assert again[Decision].plan.to_json() == result.plan.to_json()
