"""Chains of calls that couple channels, or freeze them."""

from __future__ import annotations

import pytest

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
