"""Measure how far results of onnxruntime are from PyTorch's, and say how far they may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from graphprune.ir.nodes import is_continuous
from graphprune.ir.program import user_inputs
from graphprune.ops import traits_of
from graphprune.ops.float64 import Float64Interpreter, to_float64
from graphprune.verify.graph_runs import error, run

__all__ = ["ONNX_TOLERANCE", "difference", "lost_by_rounding", "onnx_tolerance"]

ONNX_TOLERANCE = 1e-4
"""Largest relative error in float32: two backends that sum in another order differ by 1e-7 to 1e-5
on deep networks; a wrong weight or attribute by 1e-2 or more.
"""

_COARSE = {torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest relative error of 16-bit floats: some twenty of their roundings, 1e-3 and 8e-3 each."""

_ROUNDED = 2e-2
"""Largest relative error where values are rounded to 8 bits on the way: some two of their steps, 8e-3
each. A value between two steps falls to either side, by the order of a sum."""

LAST_DIGITS = 4
"""By how many units in the last place of their type inputs are changed, to see what rounding loses."""


def onnx_tolerance(program: ExportedProgram, *, rounds: bool = True) -> float:
    """Choose the largest error of onnxruntime against PyTorch, by the coarsest numbers in the program.

    Args:
        program: what the model was made from.
        rounds: whether it is run with the rounding to a few bits that it does on the way.
    """
    tensors = (*program.state_dict.values(), *user_inputs(program))
    found = {value.dtype for value in tensors if isinstance(value, torch.Tensor)}
    rounded = [_ROUNDED] if rounds and any(traits_of(n).rounds for n in program.graph.nodes) else []
    coarse = [_COARSE[dtype] for dtype in found if dtype in _COARSE]
    return max([ONNX_TOLERANCE, *coarse, *rounded])


def difference(got: torch.Tensor, expected: torch.Tensor, floor: float = 0.0) -> float:
    """Compute the relative error; of integers, where near ties go either way, the share that differs."""
    if is_continuous(expected) or got.shape != expected.shape:
        return error([got], [expected], floor=floor)
    return float((got != expected).double().mean()) if expected.numel() else 0.0


def lost_by_rounding(graph: fx.GraphModule, inputs: Sequence[Any], own: Sequence[Any]) -> float:
    """Measure what rounding loses on some inputs: of the results, and of the inputs by a few last digits.

    Where nearly equal values are put in order, the results alone may be right by chance.

    Args:
        graph: of the program.
        inputs: in its own precision.
        own: its results on them, in its own precision.
    """
    wide = [to_float64(x) for x in inputs]
    expected = run(Float64Interpreter(graph), wide, rounded=True)
    nearby = [
        run(Float64Interpreter(graph), [_nearby(x, side) for x in inputs], rounded=True)
        for side in (1, -1)
    ]
    return max(error(each, expected) for each in (own, *nearby))


def _nearby(value: Any, side: int) -> Any:
    """Change the last digits of a floating-point tensor, in float64, of neighbours to opposite sides."""
    wide = to_float64(value)
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return wide
    sides = side * (2 * (torch.arange(value.numel(), device=value.device) % 2) - 1)
    return wide * (1 + LAST_DIGITS * torch.finfo(value.dtype).eps * sides.view(value.shape))
