"""Print what ``graphprune soup`` averaged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from graphprune.cli.console import console, line, table

if TYPE_CHECKING:
    from graphprune.workflow.soup import Soup
    from graphprune.workflow.soup_files import Members

__all__ = ["soup"]


def soup(members: Members, made: Soup, path: Path) -> None:
    """Print which networks are in an average, how accurate all are, and where it is.

    Args:
        members: the networks.
        made: the average.
        path: where it was written.
    """
    out, names = console(), members.names
    scores = [f"{score:.2%}" for score in made.scores] or [""] * len(names)
    rows = [
        [name, scores[number], "used" if number in made.used else "left out"]
        for number, name in enumerate(names)
    ]
    if made.score is not None:
        rows.append(["average", f"{made.score:.2%}", ""])
    table(out, ["network", "accuracy" if made.scores else "", ""], rows, right=(1,))
    if made.estimated:
        line(out, "BatchNorm: ", f"statistics of {made.estimated} layers estimated anew")
    elif members.batchnorms:
        line(out, "note: ", "BatchNorm statistics are averages; --data estimates them anew")
    line(out, "wrote ", str(path), style="bold")
