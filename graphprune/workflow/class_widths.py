"""Widths that the code of the model's class can run with: which they are, and what choosing among them costs."""

from __future__ import annotations

from dataclasses import replace

import torch

from graphprune.analysis.analyse import Analysis
from graphprune.errors import OptionError
from graphprune.passes import Allocate, Decision, Scores
from graphprune.pipeline import Pipeline, State
from graphprune.plan.latency_table import LatencyTable
from graphprune.rebuild.class_branches import class_branches
from graphprune.rebuild.class_constraints import ClassConstraints, class_constraints

__all__ = ["any_widths_instead", "class_widths", "has_values", "noting_price"]

NOTHING = 5e-4
"""Relative rise of the estimated loss that isn't worth a note."""


def class_widths(
    model: object, scored: State, *, depth: bool = False
) -> ClassConstraints | OptionError | None:
    """Find the constraints that the code of a model's class puts on the widths.

    Args:
        model: what was traced.
        scored: the dense program with its analysis.
        depth: find out too without which branches it can run.

    Returns:
        ``None`` if there is no class, or there are no values to try it with; an error if the class can't be kept at all.
    """
    if not isinstance(model, torch.nn.Module) or not has_values(model):
        return None
    scored.tell("class")
    program, analysis, progress = scored.program, scored[Analysis], scored.progress
    try:
        found = class_constraints(model, program, analysis, progress)
    except OptionError as problem:
        return problem
    if not depth:
        return found
    return replace(found, branches=class_branches(model, program, analysis, progress))


def has_values(model: torch.nn.Module) -> bool:
    """Whether a model has values; on the meta device it has shapes only."""
    return not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def any_widths_instead(decided: State) -> State:
    """Note that widths were chosen that the class can't run with, since no others meet the budget."""
    return _noting(
        decided,
        "no widths that the model's class can run with meet the budget, so others were chosen",
    )


def noting_price(allocate: Allocate, state: State, decided: State) -> State:
    """Note what it costs that only widths were chosen that the class can run with.

    Args:
        allocate: the pass that chose the widths.
        state: what it is given to choose among any widths.
        decided: the state with the widths that the class can run with.
    """
    decision, limits = decided[Decision], decided[ClassConstraints]
    held = allocate.depth and len(limits.branches) < len(decided[Analysis].removable.branches)
    if not (limits.binding or held):
        return decided
    curves = decision.curves or state[Scores].curves
    known = state.silent().knowing(replace(state[Scores], curves=curves))
    if (table := decided.get(LatencyTable)) is not None:  # measured since
        known = known.knowing(table)
    free = Pipeline((allocate,), given=tuple(known.facts)).run(known)[Decision]
    ours, least = decision.allocation.distortion, free.allocation.distortion
    if ours <= least * (1 + NOTHING):
        return decided
    more = f"{ours / least - 1:.1%} more than" if least > 0 else "more than"
    return _noting(
        decided,
        f"widths that the model's class can run with: estimated loss {ours:.4g}, {more} the {least:.4g} of "
        "any widths (any_width)",
    )


def _noting(state: State, note: str) -> State:
    decision = state[Decision]
    return state.knowing(replace(decision, notes=(*decision.notes, note)))
