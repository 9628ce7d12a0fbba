"""Print what ``graphprune inspect`` found, and why channels are coupled or frozen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from graphprune.cli.console import console, line, table
from graphprune.report.text import amount, few

from .messages import document
from .tables import AXES_SHOWN, frozen_channels

if TYPE_CHECKING:
    from graphprune.analysis.why import ExplanationStep
    from graphprune.report.inspection import Inspection

__all__ = ["chain", "inspection"]


def inspection(view: Inspection) -> None:
    """Print what ``graphprune inspect`` found."""
    out = console()
    table(
        out,
        ["", ""],
        [
            ["model", view.model],
            ["MACs", amount(view.dense.macs)],
            ["FLOPs", amount(view.flops)],
            ["parameters", amount(view.dense.params)],
            ["prunable parameters", f"{view.prunable_params:.1%}"],
            ["prunable MACs", f"{view.prunable_macs:.1%}"],
        ],
        right=(),
    )
    table(
        out,
        ["group", "width", "axes", "of MACs", "such as"],
        [
            [
                g.id,
                str(g.width),
                str(len(g.axes)),
                f"{g.macs_share:.1%}",
                few(g.axes, AXES_SHOWN)
                + (f" (inexact: {few(g.inexact, AXES_SHOWN)})" if g.inexact else ""),
            ]
            for g in view.groups
        ],
        right=(1, 2, 3),
    )
    branches = dict.fromkeys(g.goes_with for g in view.groups if g.goes_with)
    if branches:
        table(
            out,
            ["can go whole, together", "groups"],
            [[few(names, AXES_SHOWN), str(len(names))] for names in branches],
            right=(1,),
        )
    frozen_channels(out, view.frozen, view.unknown_operators)
    for note in view.notes:
        line(out, "note: ", note)


def chain(name: str, steps: Sequence[ExplanationStep], *, as_json: bool) -> None:
    """Print the chain that ``graphprune inspect --why`` found."""
    if as_json:
        document(
            json.dumps(
                {
                    "format": "graphprune.why/1",
                    "name": name,
                    "steps": [asdict(step) for step in steps],
                },
                indent=2,
            )
        )
        return
    rows = [[step.says, step.operator, step.where] for step in steps]
    table(console(), [name, "operator", "where"], rows, right=())
