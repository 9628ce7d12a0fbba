"""The plan without a budget: all channels but the redundant ones, within the limits."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import graphprune as gp
from graphprune.errors import OptionError
from graphprune.passes import Decision, LosslessPlan
from graphprune.passes.allocate.width_limits import Limits
from tests.passes.lossless.helpers import IMAGES, Block

FREE: dict[str, Any] = {
    "round_to": 1,
    "min_channels": 1,
    "max_cut": 1.0,
    "protect": (),
    "keep_class": False,
}


def planned(**limits: Any) -> Decision:
    net = Block()
    with torch.no_grad():
        net.a.weight[:10] = 0
        net.bn.bias[:10] = 0
    how = LosslessPlan(limits=Limits(**{**FREE, **limits}))
    return gp.decide(net.eval(), (IMAGES,), allocator=how)[Decision]


@pytest.mark.parametrize(
    ("limits", "width"),
    [
        ({}, 14),
        ({"round_to": 8}, 16),
        ({"min_channels": 20}, 20),
        ({"max_cut": 0.25}, 18),
        ({"protect": ("a",)}, 24),
        ({"keep_class": True}, 14),
    ],
)
def test_limits(limits: dict[str, Any], width: int) -> None:
    made = planned(**limits)
    assert len(made.plan.keep["a"]) == width
    assert set(range(10, 24)) <= set(made.plan.keep["a"])
    assert made.allocation.distortion == 0
    assert not made.notes
    assert made.budgets[0].met


def test_nothing_is_repaired() -> None:
    for wrong in ({"recover": "ls"}, {"distil": 5}):
        with pytest.raises(OptionError, match="lossless alone"):
            gp.compress(Block(), (IMAGES,), lossless=True, **wrong)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="a plan decides already"):
        gp.compress(Block(), (IMAGES,), lossless=True, plan=planned().plan)
