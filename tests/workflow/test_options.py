"""Options: which passes they ask for, and which can't be meant."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import graphprune as gp
from graphprune.data.calibration import gather
from graphprune.errors import OptionError
from graphprune.workflow.options import Options
from tests import nets


@pytest.fixture(scope="module")
def dense() -> gp.State:
    net = nets.NETS["OptionAShortcut"]()
    return gp.State(gp.trace(net, net.inputs()))


@pytest.fixture(scope="module")
def with_data(dense: gp.State) -> gp.State:
    return dense.knowing(gather([torch.randn(16, 3, 8, 8)], dense.program))


def test_options_reach_the_allocator() -> None:
    made = Options(
        allocate="uniform",
        round_to=8,
        min_channels=2,
        max_cut=0.5,
        protect=["a"],
        keep_class=True,
        uniform=["a*", ("b", "c")],
    ).allocator(gp.Budget.flops(0.5), gp.Budget.params(0.6))
    assert (made.method, made.round_to, made.min_channels) == ("uniform", 8, 2)
    assert made.uniform == (("a*",), ("b", "c"))
    assert (made.max_cut, made.protect, made.keep_class) == (0.5, ("a",), True)
    assert made.budget == (gp.Budget.flops(0.5), gp.Budget.params(0.6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recover": "hope"}, "no way to recover 'hope'"),
        ({"score": "obs"}, "score obs needs calibration data"),
        ({"score": "taylor"}, "score taylor needs calibration data"),
        ({"recover": "ls"}, "recover ls needs calibration data"),
        ({"recover": "bn"}, "recover bn needs calibration data"),
        ({"distil": 3}, "distillation needs calibration data"),
        ({"score": "taste"}, "no criterion 'taste'"),
    ],
)
def test_options_that_cannot_be_meant(
    dense: gp.State, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(OptionError, match=message) as failure:
        Options(**options).check(dense)
    assert failure.value.hint


def test_data_decides_how_to_score_and_recover(dense: gp.State, with_data: gp.State) -> None:
    assert (Options().recovery(dense), Options().score_name(dense)) == (None, "l2")
    assert (Options().recovery(with_data), Options().score_name(with_data)) == ("ls", "obs")
    assert Options(recover="none").recovery(with_data) is None


def test_what_cuts_and_recovers(dense: gp.State, with_data: gp.State) -> None:
    def names(state: gp.State, **options: Any) -> list[str]:
        return [each.name for each in Options(**options).cutting(state)]

    assert names(dense) == ["prune"]
    assert names(dense, recover="merge") == ["merge"]
    assert names(with_data) == ["prune", "recover"]
    assert names(with_data, distil=3) == ["prune", "recover", "distil", "settle"]


@pytest.mark.parametrize("pattern", ["0", "0.*", "0.w*"])
def test_a_single_pattern_may_be_given_alone(pattern: str) -> None:
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))
    inputs = (torch.randn(2, 6),)
    alone = gp.compress(net, inputs, flops=0.6, protect=pattern)
    assert alone.plan.groups == gp.compress(net, inputs, flops=0.6, protect=[pattern]).plan.groups
    assert len(alone.plan.groups[0].keep) == 16
    even = gp.compress(net, inputs, flops=0.6, uniform="*")
    assert even.plan.groups == gp.compress(net, inputs, flops=0.6, uniform=["*"]).plan.groups
    assert gp.compress(net, inputs, flops=0.6, outputs="0").report.budget["met"]
