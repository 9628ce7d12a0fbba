"""Rows that several commands print."""

from __future__ import annotations

import pytest

from graphprune.cli.console import console
from graphprune.cli.render.tables import cost_row, group_widths
from tests.cli.render.helpers import lines


def test_a_cost_has_both_values_and_the_change() -> None:
    assert cost_row("MACs", 4e6, 1e6, "met") == ["MACs", "4 M", "1 M", "-75.0%", "met"]
    assert cost_row("MACs", 10, 10) == ["MACs", "10 ", "10 ", "", ""]


def test_widths_stand_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    group_widths(console(), [("conv1", 16, 4), ("conv2", 8, 8)])
    said = lines(capsys)
    assert said[:3] == ["group before after change", "conv1 16 4 -75.0%", "conv2 8 8"]
