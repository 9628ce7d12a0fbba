"""The oracle: proof that a cut program computes what it should.

The cut program must equal the original with removed channels silenced (``masked.py``). Both run in
float64 on random inputs, twice: as they are, and with all parameters perturbed, in another batch size
where the batch is dynamic. The second run sees what the model's own weights may hide, such as a head
that is initialised to zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.errors import VerifyError, first_line
from graphprune.ir.either import other_choices, swaps
from graphprune.ir.forward_errors import FORWARD_ERRORS
from graphprune.ir.program import state, unlift
from graphprune.ir.whole_node import alike_results
from graphprune.ops.float64 import Float64Interpreter, Tensors
from graphprune.pipeline import RunFact

from .graph_runs import all_finite, error, run
from .inputs import leading_size, random_inputs, size_growths
from .masked import MaskedInterpreter
from .perturb import perturbed_pair

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.export import ExportedProgram

    from graphprune.cut.cut import Cut

__all__ = ["TOLERANCE", "CutRun", "Verdict", "unrounded_constants", "verify", "verify_unchanged"]

TOLERANCE = 1e-9
"""Largest relative error in float64; exact cuts of deep networks measure 1e-15 to 1e-12."""


@dataclass(frozen=True)
class CutRun:
    """What a cut program gives in float64 in one run of the oracle.

    Attributes:
        program: the cut program.
        graph: the same, unlifted. Shared: not to be changed.
        grow: by how much symbolic sizes were larger.
        tensors: what its tensors were perturbed to, in float64 by name; empty where they were its own.
        outputs: flat.
    """

    program: ExportedProgram
    graph: fx.GraphModule
    grow: int
    tensors: Tensors
    outputs: Sequence[Any]


@dataclass(frozen=True)
class Verdict(RunFact):
    """Outcome of a comparison: the largest error relative to the largest output, and the tolerance.

    Attributes:
        max_error: the error measured.
        tolerance: the bound on it.
        batches: leading sizes of the first input that were run.
        blind: whether no output depends on the weights, for the inputs that were run, so that nothing was compared.
        runs: what a cut program gave, for whoever compares it with something else.
    """

    max_error: float
    tolerance: float
    batches: tuple[int, ...]
    blind: bool = False
    runs: tuple[CutRun, ...] = field(default=(), repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.max_error <= self.tolerance


def verify(
    cut: Cut,
    small: ExportedProgram | None = None,
    *,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> Verdict:
    """Compare a cut program with the masked original.

    Args:
        cut: what was removed from the dense program.
        small: the program to judge; by default ``cut.program``.
        seed: of the inputs and of the noise on the parameters.
        tolerance: largest relative error, in float64.

    Returns:
        The error measured, and the batch sizes that were run.

    Raises:
        VerifyError: if they differ by more than ``tolerance``.
    """
    program = cut.program if small is None else small
    module = unlift(program)
    worst, batches, runs = 0.0, list[int](), list[CutRun]()
    own: tuple[Tensors, Tensors] = ({}, unrounded_constants(cut, module))
    shaken = perturbed_pair(cut, module, seed)
    for grow, tensors in enumerate((own, shaken)):
        inputs = random_inputs(cut.dense, grow, seed + grow)
        batches.append(leading_size(inputs))
        expected, got = _both(cut, module, tensors, inputs)
        perturbed = tensors is not own and all_finite(expected)
        if tensors is not own and not perturbed:  # infinite values hide what they are added to
            expected, got = _both(cut, module, own, inputs)
        _, narrow = tensors
        runs.append(CutRun(program, module, grow, narrow if perturbed else {}, got))
        worst = max(worst, error(got, expected))
        for names in swaps(module.graph):  # what isn't chosen must be the same too
            with other_choices(names):
                expected, got = _both(cut, module, tensors if perturbed else own, inputs)
            worst = max(worst, error(got, expected))
    distinct = tuple(dict.fromkeys(batches))
    # Sums of fewer terms are hardly ever equal to the last digit, so only then this is worth another run.
    blind = worst == 0.0 and _is_blind(runs[0], random_inputs(cut.dense, 0, seed), shaken[1])
    return _judge(Verdict(worst, tolerance, distinct, blind, tuple(runs)), "masked original")


def _is_blind(first: CutRun, inputs: Sequence[Any], tensors: Tensors) -> bool:
    """Whether a run gives the same outputs with other weights, as where a mask hides all that the network finds."""
    with alike_results():
        return error(_ran(Float64Interpreter(first.graph, tensors), inputs), first.outputs) == 0.0


def _both(
    cut: Cut, module: fx.GraphModule, tensors: tuple[Tensors, Tensors], inputs: Sequence[Any]
) -> tuple[list[Any], list[Any]]:
    """Run the masked original and the cut graph, each with tensors in place of its own."""
    wide, narrow = tensors
    with alike_results():
        expected = _ran(MaskedInterpreter(cut, wide), inputs)
        return expected, _ran(Float64Interpreter(module, narrow), inputs)


def unrounded_constants(cut: Cut, module: fx.GraphModule) -> dict[str, torch.Tensor]:
    """Compute the constants of removed branches in float64, where the cut graph stores them rounded.

    Args:
        cut: what was removed from the dense program.
        module: the cut graph.
    """
    stored = state(module)
    return {
        name: value
        for name, value in cut.constant_values(dtype=torch.float64).items()
        if name in stored and torch.equal(value.to(stored[name].dtype), stored[name])
    }


def verify_unchanged(
    before: ExportedProgram,
    after: ExportedProgram,
    *,
    outputs: Sequence[int] | None = None,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> Verdict:
    """Check that a rewritten program computes what it did before.

    Args:
        before: the program before the rewrite.
        after: the rewritten program, with the same inputs.
        outputs: which of the flat outputs of ``before`` it has; by default all.
        seed: of the random inputs.
        tolerance: largest relative error, in float64.

    Returns:
        The error measured, and the batch sizes that were run.

    Raises:
        VerifyError: if the programs differ by more than ``tolerance``.
    """
    old, new = unlift(before), unlift(after)
    worst, batches = 0.0, []
    for grow in size_growths(before):
        inputs = random_inputs(before, grow, seed + grow)
        batches.append(leading_size(inputs))
        with alike_results():
            got, expected = (_ran(Float64Interpreter(each), inputs) for each in (new, old))
        kept = expected if outputs is None else [expected[number] for number in outputs]
        worst = max(worst, error(got, kept))
    return _judge(Verdict(worst, tolerance, tuple(batches)), "program before the rewrite")


def _judge(verdict: Verdict, reference: str) -> Verdict:
    if not verdict.ok:
        raise VerifyError(
            f"the result differs from the {reference} by {verdict.max_error:.1e} "
            f"(tolerance {verdict.tolerance:.0e})",
            hint="this is a bug in graphprune: please report the model; nothing was written",
        )
    return verdict


def _ran(interpreter: fx.Interpreter, inputs: Sequence[Any]) -> list[Any]:
    """Run a graph on inputs that were drawn.

    Raises:
        VerifyError: if it can't run on them.
    """
    try:
        return run(interpreter, inputs)
    except FORWARD_ERRORS as failure:
        raise VerifyError(
            f"the comparison can't run on inputs with a batch of {leading_size(inputs)}: "
            f"{first_line(failure)}",
            hint="whole numbers of an input may be sizes that must fit the batch: give the model with a "
            "fixed batch, or these numbers as constants",
        ) from failure
