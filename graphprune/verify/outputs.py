"""Prove that a program without some of its outputs gives the others as before."""

from __future__ import annotations

from collections.abc import Sequence

from torch.export import ExportedProgram

from graphprune.errors import VerifyError
from graphprune.ir.program import unlift
from graphprune.ops.float64 import Float64Interpreter

from .graph_runs import error, run
from .inputs import random_inputs, size_growths
from .oracle import TOLERANCE

__all__ = ["verify_outputs"]


def verify_outputs(dense: ExportedProgram, small: ExportedProgram, numbers: Sequence[int]) -> float:
    """Compare the outputs that stay, in float64, on drawn inputs of every size that is tried.

    Args:
        dense: with all outputs.
        small: with some of them.
        numbers: which of the flat outputs of ``dense`` these are.

    Returns:
        The largest error relative to the largest output.

    Raises:
        VerifyError: if they differ.
    """
    worst = 0.0
    before, after = unlift(dense), unlift(small)
    for grow in size_growths(small):
        inputs = random_inputs(small, grow, seed=grow)
        expected = run(Float64Interpreter(before), inputs)
        got = run(Float64Interpreter(after), inputs)
        worst = max(worst, error(got, [expected[number] for number in numbers]))
    if worst > TOLERANCE:
        raise VerifyError(f"the outputs that stay are others than before (error {worst:.1e})")
    return worst
