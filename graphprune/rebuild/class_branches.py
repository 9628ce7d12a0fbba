"""Find by trial which branches can go so that the code of a model's class still computes the right thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.cut.cut import Cut
from graphprune.errors import VerifyError
from graphprune.ir.forward_errors import FORWARD_ERRORS

from .class_comparison import ClassComparison
from .computed_weights import stored_weights

__all__ = ["class_branches"]


def class_branches(
    model: nn.Module,
    program: ExportedProgram,
    analysis: Analysis,
    progress: Callable[[str], Any] | None = None,
) -> frozenset[int]:
    """Find the branches without which the model's class can follow (``gone_branches.py``).

    Tried are all at once, and where that fails, each half by itself.

    Args:
        model: the dense module.
        program: traced from it.
        analysis: of the program.
        progress: told how far it is.

    Returns:
        The numbers of the groups that lead them.
    """
    comparison = ClassComparison(model, analysis, program)
    trials = 0

    def succeeds(leads: Sequence[int]) -> bool:
        nonlocal trials
        trials += 1
        if progress is not None:
            progress(f"class trial without branches {trials}")
        return _follows(comparison, leads)

    leads = [branch.lead for branch in analysis.removable.branches]
    found = _succeeding(leads, succeeds) if leads else []
    if len(found) in (0, len(leads)) or succeeds(found):
        return frozenset(found)
    together: list[int] = []  # each half by itself, but not all together
    for lead in found:
        together += [lead] if succeeds([*together, lead]) else []
    return frozenset(together)


def _succeeding(leads: Sequence[int], succeeds: Callable[[Sequence[int]], bool]) -> list[int]:
    if succeeds(leads):
        return list(leads)
    if len(leads) == 1:
        return []
    middle = len(leads) // 2
    return _succeeding(leads[:middle], succeeds) + _succeeding(leads[middle:], succeeds)


def _follows(comparison: ClassComparison, leads: Sequence[int]) -> bool:
    """Whether the class computes what the graph does without some branches, and without any other cut."""
    analysis = comparison.analysis
    left = analysis.without(leads, idle=True)
    if left.trouble:
        return False
    cut = Cut.keeping(analysis, {analysis.groups[number].id: () for number in left.gone})
    if stored_weights(comparison.model, cut) is None:
        return False
    try:
        expected = comparison.expected(cut, cut.module, {}, 0)
        comparison.first(cut, lambda follow: comparison.match_of(cut, expected, follow))
    except (*FORWARD_ERRORS, VerifyError):
        return False
    return True
