"""Run graphs on given inputs, and measure how far the results of two are apart."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.ir.memory import writes
from graphprune.ir.nodes import is_continuous
from graphprune.ir.private_torch import pytree
from graphprune.ir.program import state
from graphprune.ir.relative_error import relative_error
from graphprune.ir.unchanged import copied, unchanged, unchanged_buffers, written_tensors
from graphprune.ops.fixed_random import fix_random_numbers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

__all__ = ["all_finite", "error", "run"]


def run(
    interpreter: fx.Interpreter,
    inputs: Sequence[Any],
    *,
    rounded: bool = False,
    gradients: bool = False,
) -> list[Any]:
    """Run a graph from flat inputs to flat outputs; the inputs are copied, and what it stores stays as it is.

    Args:
        interpreter: runs the graph.
        inputs: flat, in the order of the graph's placeholders.
        rounded: how random numbers are fixed; see ``fixed_random.FixedRandom``.
        gradients: whether operations are recorded for them.

    Returns:
        The outputs, flat.
    """
    own = [x.clone() if isinstance(x, torch.Tensor) else x for x in inputs]
    module: Any = interpreter.module
    graph: Any = interpreter.graph
    fixed = fix_random_numbers(graph, rounded=rounded)
    with torch.set_grad_enabled(gradients), fixed, unchanged_buffers(module), _unwritten(module):
        found = pytree.tree_leaves(interpreter.run(*own, enable_io_processing=False))
        return copied(found) if any(map(writes, graph.nodes)) else found


def _unwritten(module: fx.GraphModule) -> AbstractContextManager[None]:
    """Give the constants that a graph writes into, which are no buffers, their values back."""
    written = written_tensors(module)
    return unchanged(tensor for name, tensor in state(module).items() if name in written)


def error(got: Sequence[Any], expected: Sequence[Any], *, floor: float = 0.0) -> float:
    """Compute the largest relative error of any output; see ``relative_error``.

    Args:
        got: outputs, flat.
        expected: the same number of them; those that are no tensors aren't compared.
        floor: the number that differences are relative to at least.

    Returns:
        The error; of integers, 1 if any differs. Infinite if shapes differ, or the places of NaN or of infinities.
    """
    return max((_error(a, b, floor) for a, b in zip(got, expected, strict=True)), default=0.0)


def _error(got: Any, expected: Any, floor: float) -> float:
    if not isinstance(expected, torch.Tensor):
        return 0.0
    if not isinstance(got, torch.Tensor) or got.shape != expected.shape:
        return math.inf
    if is_continuous(expected):
        return relative_error(got, expected, floor=floor)
    return float((got != expected).any())


def all_finite(values: Sequence[Any]) -> bool:
    """Whether nothing among the tensors is NaN or infinite."""
    tensors = [v for v in values if is_continuous(v)]
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
