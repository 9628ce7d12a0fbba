"""What no plan may do, whatever it is worth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import graphprune as gp
from graphprune.analysis.analyse import Analysis, analyse
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.passes.allocate.width_limits import Limits
from graphprune.rebuild.class_constraints import ClassConstraints
from tests import nets


@pytest.fixture(scope="module")
def net() -> nets.Net:
    torch.manual_seed(0)
    return nets.SqueezeExcite()


def test_limits_are_kept(net: nets.Net) -> None:
    result = gp.compress(net, net.inputs(), flops=0.6, round_to=8, protect=["b.*"])
    widths = {g.id: len(g.keep) for g in result.plan.groups}
    assert widths["b"] == 8
    assert all(w % 8 == 0 for w in widths.values())
    result = gp.compress(net, net.inputs(), flops=0.6, max_cut=0.5, min_channels=6)
    assert all(len(g.keep) >= max(6, g.width / 2) for g in result.plan.groups)


@pytest.fixture(scope="module")
def analysis(net: nets.Net) -> Analysis:
    return analyse(trace(net, net.inputs()))


def limits(**options: Any) -> Limits:
    unset: dict[str, Any] = {
        "round_to": 1, "min_channels": 1, "max_cut": 1.0, "protect": (), "keep_class": False,
    }  # fmt: skip
    return Limits(**unset | options)


@given(st.integers(1, 20), st.integers(1, 40), st.floats(0, 1))
def test_candidates_keep_to_all_limits_and_the_dense_width_is_always_one(
    round_to: int, min_channels: int, max_cut: float
) -> None:
    found, _ = limits(round_to=round_to, min_channels=min_channels, max_cut=max_cut).widths(
        ANALYSIS
    )
    for group, widths in zip(ANALYSIS.groups, found, strict=True):
        assert widths[-1] == group.width
        assert (np.diff(widths) > 0).all()
        for width in widths[:-1].tolist():
            assert width % round_to == 0
            assert width >= min_channels
            assert width >= group.width * (1 - max_cut) - 1e-9


def test_what_is_protected_by_group_or_parameter_stays_whole(analysis: Analysis) -> None:
    for pattern in ("b", "b.weight", "[b]*"):
        found, _ = limits(protect=(pattern,)).widths(analysis)
        alone = {g.id for g, w in zip(analysis.groups, found, strict=True) if len(w) == 1}
        assert "b" in alone


def test_a_parameter_of_no_group_may_be_protected(analysis: Analysis) -> None:
    held = {o.tensor for group in analysis.groups for o in group.occurrences}
    frozen = sorted({*analysis.tensors} - held)
    assert frozen
    free, _ = limits().widths(analysis)
    found, _ = limits(protect=tuple(frozen)).widths(analysis)
    assert [list(widths) for widths in found] == [list(widths) for widths in free]


def test_rounding_that_is_to_be_measured_leaves_all_widths(analysis: Analysis) -> None:
    every = limits().widths(analysis)[0]
    auto = limits(round_to="auto").widths(analysis)[0]
    assert [w.tolist() for w in auto] == [w.tolist() for w in every]


def test_what_a_class_does_not_allow_is_whole_and_what_it_ties_is_one(analysis: Analysis) -> None:
    count = len(analysis.groups)
    constraints = ClassConstraints((0,) * count, frozenset({analysis.groups[-1].id}))
    found, ties = limits(keep_class=True).widths(analysis, constraints)
    assert found[-1].tolist() == [analysis.groups[-1].width]
    assert len(ties.firsts) == 1
    assert limits().widths(analysis, constraints)[1] == ties  # which keep_class only insists on
    assert len(limits().widths(analysis)[1].firsts) == count


@pytest.mark.parametrize(
    "options",
    [
        {"round_to": 0}, {"round_to": -8}, {"min_channels": 0}, {"max_cut": -0.1}, {"max_cut": 1.1},
        {"max_cut": float("nan")},
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="must be at least 1") as caught:
        limits(**options)
    assert set(options) <= set(caught.value.options)


def test_a_pattern_that_matches_nothing_is_refused(analysis: Analysis) -> None:
    with pytest.raises(OptionError, match="'b' and c"):
        limits(protect=("b", "'b' and c")).widths(analysis)


def test_a_hint_names_what_is_set_and_nothing_else() -> None:
    assert limits().hint() == ""
    assert limits().relaxable == {}
    hint = limits(max_cut=0.5, protect=("a", "b"), keep_class=True).hint()
    for part in ("max_cut=0.5", "protect=('a', 'b')", "keep_class=True"):
        assert part in hint
    assert "round_to" not in hint


ANALYSIS = analyse(trace(nets.SqueezeExcite(), nets.SqueezeExcite().inputs()))
