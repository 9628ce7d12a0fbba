"""Compare a module with a graph in the precision that both are used in.

Some code computes with a constant of its dtype, such as ``torch.finfo(x.dtype).eps`` or the epsilon of an ``nn.RMSNorm``
that is given none. The graph has the constant of the dtype that was traced; in float64 the code takes another one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn

from graphprune.ir.evaluation_mode import evaluation_mode
from graphprune.ir.private_torch import pytree
from graphprune.ir.program import call_arguments
from graphprune.ir.unchanged import copied
from graphprune.ops.fixed_random import fix_random_numbers
from graphprune.ops.float64 import Float64Interpreter, Tensors, to_float64
from graphprune.verify.graph_runs import error, run
from graphprune.verify.inputs import native_inputs
from graphprune.verify.rounding import allowed_error

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["OwnPrecision", "compare_in_own_precision"]

LEAST_TOLERANCE = 1e-6
"""Relative error that is always allowed: some rounding steps of float32."""

MOST_TOLERANCE = 1e-4
"""Relative error that is never allowed, however much rounding loses."""


@dataclass(frozen=True)
class OwnPrecision:
    """How far a module is from a graph in their own dtypes: relative error, and what is allowed.

    Attributes:
        error: largest difference relative to the largest output.
        tolerance: the bound on it, by what rounding loses in the graph.
    """

    error: float
    tolerance: float


def compare_in_own_precision(
    module: nn.Module, graph: fx.GraphModule, tensors: Tensors, program: ExportedProgram, grow: int
) -> OwnPrecision:
    """Run a module and a graph in their own dtypes on the same random inputs.

    Args:
        module: the smaller one.
        graph: the cut one.
        tensors: values in place of the graph's own, by name.
        program: says what the inputs are.
        grow: by how much symbolic sizes are larger.
    """
    inputs = native_inputs(program, grow, seed=grow)
    expected = run(_Replacing(graph, tensors), inputs)
    exact = run(Float64Interpreter(graph, tensors), [to_float64(value) for value in inputs])
    args, kwargs = call_arguments(program, inputs)
    with evaluation_mode(module), torch.no_grad(), fix_random_numbers(graph.graph):
        got = copied(pytree.tree_leaves(module(*args, **kwargs)))
    tolerance = allowed_error(LEAST_TOLERANCE, error(expected, exact), MOST_TOLERANCE)
    worst = error(got, expected) if len(got) == len(expected) else float("inf")
    return OwnPrecision(worst, tolerance)


class _Replacing(fx.Interpreter):
    """Runs a graph with some of its tensors replaced, in the dtypes of its own."""

    def __init__(self, module: fx.GraphModule, tensors: Tensors) -> None:
        super().__init__(module)
        self._tensors = tensors

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Read a stored tensor, or the one to use in its place; a copy, since a graph may write into it."""
        own = super().get_attr(target, args, kwargs)
        if not isinstance(own, torch.Tensor):
            return own
        return self._tensors.get(str(target), own).detach().to(own.dtype, copy=True)
