"""Profiling as a pass, and the networks that a table is scaled to."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis, analyse
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.passes import Analyse
from graphprune.passes.latency import ProfileLatency, slim_onnx, workload
from graphprune.passes.latency.profiling import SPREAD, random_widths
from graphprune.plan.latency_table import LatencyTable
from tests.passes.latency.helpers import program

ANALYSIS = analyse(program())


@given(st.integers(0, 1000))
def test_random_widths_lie_around_one_share_of_all(seed: int) -> None:
    found = random_widths(ANALYSIS, np.random.default_rng(seed))
    assert found == random_widths(ANALYSIS, np.random.default_rng(seed))
    for group, width in zip(ANALYSIS.groups, found, strict=True):
        assert 1 <= width <= group.width
        assert width >= group.width * np.exp(-SPREAD) / 8 - 4


def test_random_widths_come_near_an_eighth_and_near_all() -> None:
    shares = [
        np.mean(random_widths(ANALYSIS, np.random.default_rng(seed)) / ANALYSIS.widths)
        for seed in range(100)
    ]
    assert min(shares) < 0.3
    assert max(shares) > 0.9


@pytest.mark.onnx
def test_a_slim_file_has_the_widths_and_no_norm() -> None:
    widths = [10, 5]
    model = onnx.load_from_string(slim_onnx(program(), ANALYSIS, widths))
    shapes = {i.name: tuple(i.dims) for i in model.graph.initializer}
    assert shapes["first.weight"] == (5, 10, 1, 1)
    assert "BatchNormalization" not in {node.op_type for node in model.graph.node}
    assert [i.name for i in model.graph.input] == ["x"]


@pytest.mark.onnx
def test_a_profile_knows_every_kernel_and_how_far_it_is() -> None:
    small = trace(nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)), (torch.randn(1, 4),))
    news: list[str] = []
    pipeline = gp.Pipeline((Analyse(), ProfileLatency(rounds=1, networks=1, batch=2)))
    found = pipeline.run(small, news.append)
    table = found[LatencyTable]
    assert {o.kernel.key for o in workload(found[Analysis], 2).operators} == set(table.kernels)
    assert (table.batch, table.machine["threads"]) == (2, 0)
    assert table.error["networks"] == 2
    assert table.scale > 0
    assert any(each.startswith("profile network ") for each in news)
    plain = gp.Pipeline((Analyse(), ProfileLatency(rounds=1, networks=0))).run(small)[LatencyTable]
    assert (plain.scale, plain.error) == (1, {})


def test_a_provider_that_is_missing_is_said_before_anything_is_measured() -> None:
    with pytest.raises(OptionError):
        gp.Pipeline((Analyse(), ProfileLatency(provider="Quantum"))).run(program())
