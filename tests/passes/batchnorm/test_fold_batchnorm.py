"""Folding as a pass: counted, checked, and refused where it would change what is computed."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.ir.trace import trace
from graphprune.models.randomize import randomize_batchnorm
from graphprune.passes import FoldBatchNorm, Folded
from graphprune.passes.batchnorm.fold_batchnorm import count_batchnorms
from graphprune.verify.oracle import Verdict
from tests.harness import apply_and_check


def traced(*layers: nn.Module, kind: torch.dtype = torch.float32) -> torch.export.ExportedProgram:
    torch.manual_seed(0)
    net = nn.Sequential(*layers).eval()
    randomize_batchnorm(net, seed=1)
    return trace(net.to(kind), (torch.randn(2, 3, 8, 8, dtype=kind),))


def test_it_says_how_many_there_were_and_are() -> None:
    program = traced(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU())
    assert count_batchnorms(program) == 2
    found = gp.Pipeline((FoldBatchNorm(),)).run(program)
    assert (found[Folded].before, found[Folded].after) == (2, 1)
    assert count_batchnorms(found.program) == 1
    assert count_batchnorms(program) == 2


@pytest.mark.parametrize(
    ("kind", "bound"),
    [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 0.1)],
)
def test_the_error_is_that_of_rounding_the_new_weights(kind: torch.dtype, bound: float) -> None:
    program = traced(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), kind=kind)
    done = apply_and_check(
        FoldBatchNorm(), program, exact=True, tolerance=bound, idempotent=True,
        ops_before={"batch_norm": 1}, ops_after={"batch_norm": 0},
    )  # fmt: skip
    assert done[Folded].max_error <= bound


def test_weights_that_are_buffers_are_rounded_too() -> None:
    class Buffers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("weight", torch.randn(4, 3, 3, 3))
            self.norm, self.head = nn.BatchNorm2d(4, affine=False), nn.Linear(4, 2).double()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.norm(nn.functional.conv2d(x, self.weight))
            return self.head(x.mean((2, 3)).double())

    net = Buffers().eval()
    randomize_batchnorm(net, seed=1)
    done = gp.Pipeline((FoldBatchNorm(),)).run(trace(net, (torch.randn(2, 3, 8, 8),)))
    assert done[Folded].after == 0
    assert 1e-12 < done[Folded].max_error < 1e-5


def test_the_verdict_on_a_cut_outlives_it_and_the_analysis_does_not() -> None:
    program = traced(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    verdict = Verdict(0.0, 1e-9, (2,))
    state = gp.Pipeline((gp.passes.Analyse(),)).run(program).knowing(verdict)
    done = gp.Pipeline((FoldBatchNorm(),)).run(state)
    assert done.facts.keys() == {Verdict, Folded}


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Conv2d(3, 4, 3), nn.ReLU()),
        (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.ReLU()),
    ],
    ids=["none there", "none folds"],
)
def test_a_program_that_stays_is_not_compared_with_itself(
    layers: tuple[nn.Module, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphprune.passes.batchnorm.fold_batchnorm.verify_unchanged", None)
    program = traced(*layers)
    done = gp.Pipeline((FoldBatchNorm(),)).run(program)
    assert done.program is program
    assert done[Folded].before == done[Folded].after == count_batchnorms(program)
