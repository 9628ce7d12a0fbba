"""Compare a traced program with the module it was traced from.

The first link of the chain of proofs: everything after it compares programs with programs. torch.export
may bake in what it shouldn't, such as that two inputs hold the same values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from graphprune.errors import TraceError
from graphprune.ir.evaluation_mode import evaluation_mode
from graphprune.ir.forward_errors import FORWARD_ERRORS
from graphprune.ir.private_torch import pytree
from graphprune.ir.program import (
    call_arguments,
    input_names,
    output_names,
    unguarded,
    unlift,
)
from graphprune.ir.program import user_inputs as example_inputs
from graphprune.ir.unchanged import copied, unchanged_buffers
from graphprune.ops.fixed_random import fix_random_numbers
from graphprune.ops.float64 import Float64Interpreter, to_float64
from graphprune.pipeline import RunFact

from .graph_runs import error, run
from .inputs import leading_size, native_inputs, size_growths
from .rounding import DRAWS, allowed_error

__all__ = ["TraceCheck", "verify_traced"]

LEAST_TOLERANCE = 1e-4
"""Relative error that is always allowed: module and program may choose other kernels in float32."""


@dataclass(frozen=True)
class TraceCheck(RunFact):
    """How far a program is from the module it was traced from.

    Attributes:
        max_error: largest error relative to the largest output, in the model's own precision.
        tolerance: the bound on it.
        rounding: what that precision loses on these inputs, against float64.
        batches: leading sizes of the first input that were tried.
        note: what could not be tried, or ``""``.
    """

    max_error: float
    tolerance: float
    rounding: float
    batches: tuple[int, ...]
    note: str = ""


def verify_traced(model: nn.Module, program: ExportedProgram) -> TraceCheck:
    """Compare a program with its module on inputs that differ from the examples and each other.

    Floating-point inputs are drawn anew with the mean and the spread of the examples; others are
    the examples' values in another order. Where sizes are dynamic, they are tried larger too.

    Args:
        model: the module; in evaluation mode for the time of the comparison, otherwise unchanged.
        program: traced from it.

    Raises:
        TraceError: if the two compute something else; it names the inputs that the program ignores
            and the outputs that differ.
    """
    module = unguarded(program)
    checks = [_compare(model, program, module, grow) for grow in size_growths(program)]
    return TraceCheck(
        max_error=max(check.max_error for check in checks),
        tolerance=max(check.tolerance for check in checks),
        rounding=max(check.rounding for check in checks),
        batches=tuple(dict.fromkeys(b for check in checks for b in check.batches)),
        note=next((check.note for check in checks if check.note), ""),
    )


def _compare(
    model: nn.Module, program: ExportedProgram, module: fx.GraphModule, grow: int
) -> TraceCheck:
    best: _Run | None = None
    for seed in range(DRAWS):
        inputs = native_inputs(program, grow, seed, shuffled=True)
        try:
            tried = _Run.on(inputs, model, module, program)
        except FORWARD_ERRORS:  # its code may refuse values that were drawn
            continue
        if best is None or tried.excess < best.excess:
            best = tried
        if best.excess <= 0:
            break
    note = ""
    if best is None:
        note = "the model accepts no drawn inputs: it was compared with its program on the examples"
        best = _Run.on(example_inputs(program), model, module, program)
    if best.excess > 0:
        raise _difference(model, program, best)
    return TraceCheck(best.error, best.tolerance, best.rounding, (leading_size(best.inputs),), note)


@dataclass(frozen=True)
class _Run:
    """What a module and its program make of the same inputs."""

    inputs: Sequence[Any]
    expected: Sequence[Any]
    got: Sequence[Any]
    error: float
    rounding: float

    @classmethod
    def on(
        cls, inputs: Sequence[Any], model: nn.Module, module: Any, program: ExportedProgram
    ) -> _Run:
        """Run both. What rounding loses is measured only where the two differ by more than little."""
        expected = _of_module(model, program, inputs)
        got = _of_program(module, program, inputs)
        worst = error(got, expected) if len(got) == len(expected) else float("inf")
        rounding = 0.0
        if worst > LEAST_TOLERANCE:
            exact = run(Float64Interpreter(unlift(program)), [to_float64(x) for x in inputs])
            rounding = error(got, exact)
        return cls(inputs, expected, got, worst, rounding)

    @property
    def tolerance(self) -> float:
        """The error that rounding explains."""
        return allowed_error(LEAST_TOLERANCE, self.rounding)

    @property
    def excess(self) -> float:
        """By how much the error exceeds the tolerance; not positive, if it doesn't."""
        return self.error - self.tolerance


def _of_module(model: nn.Module, program: ExportedProgram, inputs: Sequence[Any]) -> list[Any]:
    args, kwargs = call_arguments(program, copied(inputs))
    with evaluation_mode(model), torch.no_grad(), fix_random_numbers(program.graph):
        return copied(pytree.tree_leaves(model(*args, **kwargs)))


def _of_program(module: Any, program: ExportedProgram, inputs: Sequence[Any]) -> list[Any]:
    args, kwargs = call_arguments(program, copied(inputs))
    with torch.no_grad(), fix_random_numbers(program.graph), unchanged_buffers(module):
        return copied(pytree.tree_leaves(module(*args, **kwargs)))


def _difference(model: nn.Module, program: ExportedProgram, tried: _Run) -> TraceError:
    """The error to raise, with the outputs that differ and the inputs that the program ignores."""
    pairs = zip(output_names(program), tried.got, tried.expected, strict=False)
    outputs = [name for name, a, b in pairs if error([a], [b]) > tried.tolerance]
    ignored = _ignored(model, program, tried)
    which = f"the output {', '.join(outputs)}" if outputs else "the number of outputs"
    because = f"; it ignores the input {', '.join(ignored)}" if ignored else ""
    return TraceError(
        f"the traced program doesn't compute what {type(model).__name__} does: {which} differs by "
        f"{tried.error:.1e} on other inputs (tolerance {tried.tolerance:.0e}){because}",
        hint="its code may depend on values of the example inputs, or keep state between calls",
    )


def _ignored(model: nn.Module, program: ExportedProgram, tried: _Run) -> list[str]:
    """Inputs that the module's outputs depend on, and the program's don't."""
    module, found = unguarded(program), list[str]()
    other = native_inputs(program, 0, DRAWS, shuffled=True)
    for number, name in enumerate(input_names(program)):
        value = tried.inputs[number]
        if not isinstance(value, torch.Tensor) or value.shape != other[number].shape:
            continue
        changed = [*tried.inputs[:number], other[number], *tried.inputs[number + 1 :]]
        try:
            moves = error(_of_module(model, program, changed), tried.expected) > 0
        except FORWARD_ERRORS:
            continue
        if moves and error(_of_program(module, program, changed), tried.got) == 0:
            found.append(name)
    return found
