"""Redundant channels rank last, bound the widths, and are noted in plans."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from graphprune.analysis.analyse import analyse
from graphprune.passes import Scores
from graphprune.passes.decision import Decision, make_plan
from graphprune.passes.lossless.redundant import (
    Redundant,
    capped,
    first_to_go,
    marked,
    only_redundant,
)
from graphprune.passes.solver import Allocation, EqualWidths

from .helpers import IMAGES, Block, program

PROGRAM = program(Block())
ANALYSIS = analyse(PROGRAM)
FOUND = Redundant({"a": (1, 4)}, {"a": {"unread": 0, "zero": 1, "constant": 1}}, PROGRAM)


def decision(**removed: tuple[int, ...]) -> Decision:
    keep = {
        g.id: tuple(i for i in range(g.width) if i not in removed.get(g.id, ()))
        for g in ANALYSIS.groups
    }
    nothing: Any = Allocation((), 0.0, 0.0, None, None, "plan")
    return Decision(make_plan(ANALYSIS, keep, {}), nothing, ())


def test_they_rank_last_and_cost_nothing() -> None:
    values = {g.id: np.ones(g.width) for g in ANALYSIS.groups}
    values["a"][:3] = 0
    curves = {g.id: np.arange(g.width + 1)[::-1].astype(float) for g in ANALYSIS.groups}
    scores = first_to_go(Scores(values, curves=curves), FOUND)
    assert set(scores.order("a")[-2:].tolist()) == {1, 4}
    assert scores.curve("a")[22:].tolist() == [0, 0, 0]
    assert scores.curve("a")[21] == 3
    assert scores.curve("stem").tolist() == curves["stem"].tolist()
    assert values["a"][4] == 1  # the given scores are left alone


def test_widths_end_where_redundant_channels_begin() -> None:
    widths = [np.arange(1, g.width + 1) for g in ANALYSIS.groups]
    apart = EqualWidths.of(range(len(widths)))
    tops = [w[-1] for w in capped(widths, apart, ANALYSIS, FOUND)]
    dense = ANALYSIS.widths.tolist()
    number = [g.id for g in ANALYSIS.groups].index("a")
    assert tops == [w - 2 * (i == number) for i, w in enumerate(dense)]
    assert [w[-1] for w in capped(widths, apart, ANALYSIS, None)] == dense
    rounded = [w[(w % 8 == 0) | (w == w[-1])] for w in widths]
    assert capped(rounded, apart, ANALYSIS, FOUND)[number][-1] == 24  # 22 isn't allowed


def test_plans_note_those_that_are_removed() -> None:
    made = marked(decision(a=(1, 2)), FOUND)
    assert made.plan.redundant == {"a": (1,)}
    assert not marked(decision(), FOUND).plan.redundant


def test_only_redundant() -> None:
    assert only_redundant(decision(a=(1,)), FOUND)
    assert not only_redundant(decision(a=(1, 2)), FOUND)
    assert not only_redundant(decision(a=(1,), stem=(0,)), FOUND)
    assert not only_redundant(decision(), FOUND)


def test_reweighted_unless_all_are_zero() -> None:
    assert FOUND.reweighted
    assert FOUND.count == 2
    assert not Redundant({"a": (1,)}, {"a": {"unread": 1, "zero": 1}}, PROGRAM).reweighted
    assert IMAGES.dtype == torch.float32
