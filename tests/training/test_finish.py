"""The cut at the end: what it says, what it leaves alone, and what can be done with the result."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

import graphprune as gp
from graphprune.training.finish import Sparsified

from .loop import Run, data, net


def sparsifier(run: Run) -> gp.Sparsify:
    assert run.sparsify is not None
    return run.sparsify


def test_finishing_early_meets_the_budget_and_says_what_was_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = Run.of("gradual").go(5)
    assert not sparsifier(run).settled
    with caplog.at_level(logging.WARNING, logger="graphprune"):
        result = sparsifier(run).finish(run.optimizer)
    assert result.report.budget["met"]
    assert "of the norm, at step 5 of 40" in result.report.notes[-1]
    assert result.report.notes[-1] in caplog.text


def test_finishing_leaves_the_model_that_was_trained_alone() -> None:
    run = Run.of("group-lasso").go()
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    sparsifier(run).finish(run.optimizer)
    assert run.model.training
    assert all(torch.equal(v, before[n]) for n, v in run.model.state_dict().items())


def test_the_result_is_one_of_compress_with_an_optimiser(tmp_path: Path) -> None:
    """In float32, since onnxruntime has no convolution in float64."""
    model, x = net().float(), data()[0][:2].float()
    optimizer = torch.optim.AdamW(model.parameters())
    result = gp.Sparsify(model, (x,), flops=0.5, steps=1).finish(optimizer)
    assert isinstance(result, Sparsified)
    assert isinstance(result, gp.Result)
    written = result.export_onnx(tmp_path / "small.onnx")
    assert isinstance(written, Sparsified)
    assert written.optimizer is result.optimizer
    again = gp.apply(result.plan, model, (x,))
    for a, b in zip(again.parameters(), result.model.parameters(), strict=True):
        assert torch.equal(a, b)
