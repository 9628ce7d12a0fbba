"""Chains of calls that couple channels, or freeze them."""

from __future__ import annotations

import pytest
import torch

from graphprune.analysis.why import why
from graphprune.errors import OptionError
from tests import nets
from tests.analysis.helpers import analysed


def test_why_gives_the_chain_of_calls_with_their_lines() -> None:
    analysis = analysed(nets.OptionAShortcut())
    operators = [step.operator for step in why(analysis, "b")]
    assert "aten.conv2d.default" in operators
    assert all(step.where.startswith("nets.py:") for step in why(analysis, "b"))
    (*_, last) = why(analysis, "a.weight:1")
    assert last.says == "model input x"
    held = why(analysed(nets.UnknownOperator()), "b.weight:1")
    assert [step.operator for step in held] == ["aten.conv2d.default", "aten.renorm.default"]
    assert held[-1].says == "no rule for aten.renorm.default"
    with pytest.raises(OptionError):
        why(analysis, "nothing")


def test_a_parameter_without_a_dimension_is_explained_by_its_first_frozen_axis() -> None:
    analysis = analysed(nets.OptionAShortcut())
    assert why(analysis, "a.weight") == why(analysis, "a.weight:1")
    assert why(analysis, "b.bias") == why(analysis, "b.bias:0") == why(analysis, "b")


def test_no_step_is_told_twice_and_the_last_one_is_the_reason() -> None:
    analysis = analysed(nets.OptionAShortcut())
    for name in ("a", "b", "c", "a.weight:1", "head.2.weight:0"):
        steps = why(analysis, name)
        assert len(set(steps)) == len(steps) > 0
        assert all(step.says == "couples" for step in steps[:-1])
    assert why(analysis, "head.2.weight:0")[-1].says == "model output"


@pytest.mark.parametrize("name", ["b.weight:9", "b.weight:x", "b.weight:-1", "weight", ":0", ""])
def test_what_is_neither_a_group_nor_an_axis_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match="no group or parameter") as caught:
        why(analysed(nets.OptionAShortcut()), name)
    assert "inspect" in caught.value.hint


def test_an_axis_of_one_row_has_nothing_to_explain() -> None:
    class One(nets.Net):
        def __init__(self) -> None:
            super().__init__()
            self.a = torch.nn.Conv2d(3, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.a(x)

    with pytest.raises(OptionError, match="no axis with more than one row"):
        why(analysed(One()), "a.bias")
