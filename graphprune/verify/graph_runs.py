"""Run graphs on given inputs, and measure how far the results of two are apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.ir.nodes import is_continuous, writes
from graphprune.ir.private_torch import pytree
from graphprune.ir.unchanged import copied, unchanged_buffers
from graphprune.ops.fixed_random import fix_random_numbers
from graphprune.ops.float64 import to_float64

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["all_finite", "error", "run"]


def run(
    interpreter: fx.Interpreter,
    inputs: Sequence[Any],
    *,
    rounded: bool = False,
    gradients: bool = False,
) -> list[Any]:
    """Run a graph from flat inputs to flat outputs; the inputs are copied.

    Args:
        interpreter: runs the graph.
        inputs: flat, in the order of the graph's placeholders.
        rounded: how random numbers are fixed; see ``fixed_random.FixedRandom``.
        gradients: whether operations are recorded for them.

    Returns:
        The outputs, flat.
    """
    own = [x.clone() if isinstance(x, torch.Tensor) else x for x in inputs]
    graph: Any = interpreter.graph
    fixed, state = fix_random_numbers(graph, rounded=rounded), unchanged_buffers(interpreter.module)
    with torch.set_grad_enabled(gradients), fixed, state:
        found = pytree.tree_leaves(interpreter.run(*own, enable_io_processing=False))
        return copied(found) if any(map(writes, graph.nodes)) else found


def error(got: Sequence[Any], expected: Sequence[Any], *, floor: float = 0.0) -> float:
    """Compute the largest absolute difference of outputs, relative to each output's largest value.

    Values below the smallest normal number of their type count as that: of float16, these are
    rounded to 6e-8.

    Args:
        got: outputs, flat.
        expected: the same number of them.
        floor: the value that differences are relative to at least.
    """
    worst = 0.0
    for a, b in zip(got, expected, strict=True):
        if not isinstance(b, torch.Tensor) or b.numel() == 0:
            continue
        if a.shape != b.shape or not torch.equal(a.isnan(), b.isnan()):
            return float("inf")
        if not is_continuous(b):
            worst = max(worst, float((a != b).any()))
            continue
        scale = max(float(b.nan_to_num().abs().max()), torch.finfo(b.dtype).tiny, 1e-12, floor)
        worst = max(worst, float((to_float64(a) - to_float64(b)).nan_to_num().abs().max()) / scale)
    return worst


def all_finite(values: Sequence[Any]) -> bool:
    """Whether nothing among the tensors is NaN or infinite."""
    tensors = [v for v in values if is_continuous(v)]
    return all(bool(tensor.isfinite().all()) for tensor in tensors)
