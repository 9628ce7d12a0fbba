"""What weights make of rows is compared with the targets within limits, for several weights at once."""

from __future__ import annotations

import math

import pytest
import torch

from graphprune.passes.recover.judge import Judge, Limits, targets_within
from graphprune.passes.recover.rows import Rows


def data() -> list[Rows]:
    torch.manual_seed(0)
    return [
        Rows(torch.randn(2, n, 5), torch.randn(2, n, 3), torch.randn(2, n, 3)) for n in (7, 0, 11)
    ]


@pytest.mark.parametrize("limits", [None, (0.0, math.inf), (-0.5, 0.5)])
def test_several_weights_are_judged_as_each_alone(limits: Limits | None) -> None:
    held_out = data()
    weights, biases = torch.randn(4, 2, 3, 5).double(), torch.randn(4, 2, 3).double()
    judge = Judge(held_out, limits)
    found = judge.errors(weights, biases)
    low, high = limits or (-math.inf, math.inf)
    for weight, bias, error in zip(weights, biases, found, strict=True):
        expected = 0.0
        for each in held_out:
            got = each.inputs.double() @ weight.mT + bias[:, None] + each.base
            wrong = got.clamp(low, high) - each.targets.clamp(low, high)
            expected += float(wrong.square().sum())
        assert error == pytest.approx(expected, rel=1e-5)
    assert judge.energy == pytest.approx(sum(float(r.targets.square().sum()) for r in held_out))


@pytest.mark.parametrize("upper", [math.inf, 0.5])
def test_targets_beyond_a_limit_ask_for_no_more_than_is_predicted(upper: float) -> None:
    held_out, lower = data(), -0.2
    weight, bias = torch.randn(2, 3, 5).double(), torch.randn(2, 3).double()
    for before, after in zip(
        held_out, targets_within(held_out, weight, bias, (lower, upper)), strict=True
    ):
        got = (before.inputs.double() @ weight.mT + bias[:, None] + before.base).float()
        for want, aim, own in zip(
            before.targets.flatten(), after.targets.flatten(), got.flatten(), strict=True
        ):
            if want < lower:
                assert float(aim) == pytest.approx(float(min(own, torch.tensor(lower))), abs=1e-5)
            elif want > upper:
                assert float(aim) == pytest.approx(float(max(own, torch.tensor(upper))), abs=1e-5)
            else:
                assert aim == want


def test_without_limits_the_targets_stay() -> None:
    held_out = data()
    weight, bias = torch.randn(2, 3, 5).double(), torch.randn(2, 3).double()
    assert [*targets_within(held_out, weight, bias, None)] == held_out
