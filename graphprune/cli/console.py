"""Print tables and lines: with Rich on a terminal, in plain fixed width anywhere else."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from graphprune.report.text import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "line", "table"]

_PLAIN_WIDTH = 10_000
"""Columns of a console that isn't a terminal, so that nothing is wrapped."""


def console(*, to_stderr: bool = False) -> Console:
    """Open what prints to stdout or stderr; off a terminal, nothing is wrapped."""
    from rich.console import Console

    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else _PLAIN_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def line(out: Console, label: str, message: str, *, style: str = "") -> None:
    """Print a line; its label has a style."""
    from rich.text import Text

    out.print(Text.assemble((label, style), printable(message)), soft_wrap=True)


def table(
    out: Console, titles: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int]
) -> None:
    """Print a table, without a head if no column has a title.

    Args:
        out: the console to print to.
        titles: of the columns.
        rows: their cells.
        right: numbers of the columns that are aligned on the right.
    """
    from rich.table import Table
    from rich.text import Text

    made = Table(
        box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=any(titles)
    )
    for number, title in enumerate(titles):
        made.add_column(
            printable(title), justify="right" if number in right else "left", overflow="fold"
        )
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    with out.capture() as captured:
        out.print(made)
    lines = [text.rstrip() for text in captured.get().splitlines()]
    out.file.write("\n".join([*lines, "", ""]))
