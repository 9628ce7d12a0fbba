"""Errors of values in the unit of their variance."""

from __future__ import annotations

import math

import pytest
import torch

from graphprune.passes.recover.distance import NEGLIGIBLE, Distance, moment_sums


def test_units_of_the_error() -> None:
    wanted = [torch.randn(50, 3) * 7 + 2, torch.randn(50, 2, 4)]
    distance = Distance.of([
        moment_sums([x[:20] for x in wanted]),
        moment_sums([x[20:] for x in wanted]),
    ])
    assert float(distance.between(wanted, wanted)) == 0
    means = [x.mean().expand_as(x) for x in wanted]
    assert float(distance.between(means, wanted)) == pytest.approx(1, rel=1e-5)


def test_weights_move_an_error_from_value_to_value() -> None:
    wanted = [torch.randn(50, 3), torch.randn(50, 2, 4)]
    distance = Distance.of([moment_sums(wanted)])
    near, far = [wanted[0], wanted[1] + 1], [wanted[0] + 1, wanted[1]]
    weighted = distance.weighted([1, 3])
    for got, factor in ((near, 1.5), (far, 0.5)):
        expected = factor * float(distance.between(got, wanted))
        assert float(weighted.between(got, wanted)) == pytest.approx(expected)
    assert Distance(()).weighted([]) == Distance(())


def test_values_of_hardly_any_weight_are_left_out() -> None:
    wanted = [torch.randn(50, 3), torch.randn(50, 2, 4)]
    weighted = Distance.of([moment_sums(wanted)]).weighted([NEGLIGIBLE / 2, 1.0])
    assert weighted.scales[0] == math.inf > weighted.scales[1]
    got = [(x + 1).requires_grad_() for x in wanted]
    weighted.between(got, wanted).backward()
    assert got[0].grad is None
    assert got[1].grad is not None


def test_what_does_not_vary_has_no_error() -> None:
    """A dead layer or a constant output would drown all others."""
    wanted = [torch.zeros(50, 3), torch.full((50, 2), 0.1), torch.randn(50, 2)]
    distance = Distance.of([
        moment_sums([x[:20] for x in wanted]),
        moment_sums([x[20:] for x in wanted]),
    ])
    assert distance.scales[:2] == (math.inf, math.inf)
    got = [x + 1 for x in wanted]
    expected = 1 / float(wanted[2].double().var(correction=0)) / 3
    assert float(distance.between(got, wanted)) == pytest.approx(expected, rel=1e-4)
