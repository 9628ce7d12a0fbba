"""Print tables that several commands share: widths of groups, and channels that can't be cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphprune.cli.console import table
from graphprune.report.text import amount, change, few

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["AXES_SHOWN", "cost_row", "frozen_channels", "group_widths"]

AXES_SHOWN = 2
"""Most axes of several that a cell names."""


def cost_row(name: str, before: float, after: float, note: str = "") -> list[str]:
    """Format a cost as a row: its name, both values, the relative change, a note."""
    return [name, amount(before), amount(after), change(before, after), note]


def group_widths(out: Console, groups: Sequence[tuple[str, int, int]]) -> None:
    """Print the channels of each group before and after.

    Args:
        out: the console to print to.
        groups: name, channels of the dense model, and channels kept, of each group.
    """
    table(
        out,
        ["group", "before", "after", "change"],
        [[name, str(before), str(after), change(before, after)] for name, before, after in groups],
        right=(1, 2, 3),
    )


def frozen_channels(
    out: Console, frozen: Sequence[Mapping[str, Any]], unknown: Sequence[Mapping[str, Any]]
) -> None:
    """Print the channels that can't be cut, and the operators without a rule.

    Args:
        out: the console to print to.
        frozen: see ``Report.frozen``.
        unknown: see ``Report.unknown_operators``.
    """
    if frozen:
        table(
            out,
            ["frozen channels", "of MACs", "why", "where", "axes"],
            [
                [
                    str(f["channels"]),
                    f"{f['macs_share']:.1%}",
                    f["reason"],
                    f["where"] or f["operator"],
                    few(f["axes"], AXES_SHOWN),
                ]
                for f in frozen
            ],
            right=(0, 1),
        )
    if unknown:
        table(
            out,
            ["no rule for", "where", "locks of MACs"],
            [[u["operator"], u["where"], f"{u['macs_share']:.1%}"] for u in unknown],
            right=(2,),
        )
