"""The groups of every network of the package, as text: what changes them must be meant to."""

from __future__ import annotations

import pytest
import torch

import graphprune as gp
from graphprune.models import ALL
from graphprune.report.inspection import Inspection, describe
from tests.golden_files import check_golden, check_no_other

THROUGH_STATISTICS = {"vit"}
"""Networks that are looked at with ``allow_inexact`` as well: more of them can be cut then."""

CASES = {
    **{f"{name}.txt": (name, False) for name in ALL},
    **{f"{name}-inexact.txt": (name, True) for name in THROUGH_STATISTICS},
}


def listing(view: Inspection) -> str:
    """The groups of a network with all axes, and what is frozen; no weight changes a word of it.

    Source lines are left out, as they move with every edit of a network's file.
    """
    lines = [f"{view.model}: {len(view.groups)} groups, {view.dense.params:.0f} parameters"]
    for group in view.groups:
        inexact = f" (inexact: {', '.join(group.inexact)})" if group.inexact else ""
        lines += ["", f"group {group.id}: {group.width} channels{inexact}"]
        lines += [f"    {axis}" for axis in group.axes]
    for entry in view.frozen:
        lines += ["", f"frozen {entry['reason']}: {entry['channels']} channels"]
        lines += [f"    {axis}" for axis in entry["axes"]]
    for call in view.unknown_operators:
        lines += ["", f"no rule for {call['operator']}"]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("file", CASES)
def test_groups_are_as_they_were(file: str) -> None:
    name, inexact = CASES[file]
    torch.manual_seed(0)
    model = ALL[name]
    found = gp.inspect(model.build(), model.example_inputs(), allow_inexact=inexact)
    check_golden(f"groups/{file}", listing(describe(found, name)))


def test_every_listing_belongs_to_a_network() -> None:
    check_no_other("groups", {*CASES})


def test_weights_change_no_word_of_a_listing() -> None:
    texts = set()
    for seed in (1, 2):
        torch.manual_seed(seed)
        found = gp.inspect(ALL["digits"].build(), ALL["digits"].example_inputs())
        texts.add(listing(describe(found, "digits")))
    assert len(texts) == 1
