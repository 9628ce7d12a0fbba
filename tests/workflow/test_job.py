"""A job: what is done once for all budgets, and what each budget adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.data.calibration import Calibration
from graphprune.passes import Decision
from graphprune.workflow.job import Job
from graphprune.workflow.options import Options
from tests import nets


def begin(net: nn.Module, *, data: Any = None, progress: Any = None, **options: Any) -> Job:
    inputs = (torch.randn(2, 3, 8, 8),)
    return Job.begin(net, inputs, None, data, 16, Options(**options), progress)


@pytest.fixture(scope="module")
def net() -> nets.Net:
    torch.manual_seed(0)
    return nets.NETS["OptionAShortcut"]()


def test_a_model_is_traced_and_scored_once_for_all_budgets(net: nets.Net) -> None:
    stages: list[str] = []
    job = begin(net, progress=stages.append)
    results = [job.result(job.options.allocator(gp.Budget.flops(b))) for b in (0.4, 0.7)]
    stages = [each for each in stages if not each.startswith("class trial")]
    once = ["trace", "analyse", "score", "class"]
    assert stages == [*once, *2 * ["allocate", "prune", "rebuild"]]
    smaller, larger = (result.report.after.macs for result in results)
    assert smaller < larger < results[0].report.before.macs
    for budget, result in zip((0.4, 0.7), results, strict=True):
        alone = gp.compress(net, net.inputs(), flops=budget)
        assert alone.plan == result.plan


def test_a_decision_leaves_what_was_seen_as_it_is(net: nets.Net) -> None:
    job = begin(net)
    before = dict(job.scored.facts)
    decided = job.decide(job.options.allocator(gp.Budget.params(0.5)))
    assert Decision in decided.facts
    assert decided[Analysis] is job.scored[Analysis]
    assert dict(job.scored.facts) == before


def test_data_decides_how_channels_are_ranked_and_weights_recovered(net: nets.Net) -> None:
    data = [torch.randn(16, 3, 8, 8)]
    job = begin(net, data=data)
    settings = job.result(job.options.allocator(gp.Budget.flops(0.5))).report.settings
    assert settings == {"score": "obs", "recover": "ls"}


def test_images_are_prepared_as_a_model_of_timm_says(tmp_path: Path) -> None:
    net: Any = nets.NETS["OptionAShortcut"]()
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    plain = begin(net, data=gp.images(tmp_path)).scored[Calibration]
    net.pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "crop_pct": 1.0}
    found = begin(net, data=str(tmp_path)).scored[Calibration]
    torch.testing.assert_close(found.batches[0][0], (plain.batches[0][0] - 0.5) / 0.25)
    assert "as the model's pretrained_cfg says: mean 0.5" in found.notes[0]
