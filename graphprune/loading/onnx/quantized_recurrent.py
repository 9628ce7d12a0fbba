"""Compute DynamicQuantizeLSTM, as onnxruntime's quantisation makes it of an LSTM: weights of 8 bits.

Its weights are stored transposed, ``W [directions, in, 4*H]`` and ``R [directions, H, 4*H]``, with a scale for each
direction or each column. What they are multiplied by is rounded to 8 bits by the range of its values: the input as a
whole, hidden states step by step.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from .operators import Node, operator, refuse
from .quantized import dynamic_quantize
from .recurrent import run_layer
from .values import Known, Value, tensor

__all__: list[str] = []


@operator("com.microsoft.DynamicQuantizeLSTM", fixed=(8, 9, 10, 11))
def dynamic_quantize_lstm(
    node: Node, x: Value, w: Value, r: Value, *rest: Value | None
) -> tuple[Any, ...]:
    """Run an LSTM whose weights are integers; results as those of an LSTM."""
    *others, w_scale, w_zero, r_scale, r_zero = rest
    if w_scale is None or r_scale is None or len(rest) != _REST:
        raise refuse(node, "weights without scales")

    def rounded(value: torch.Tensor) -> torch.Tensor:
        whole, scale, zero = dynamic_quantize(node, value)
        return (whole.to(value.dtype) - zero.to(value.dtype)) * scale

    inner, hidden = _real(w, w_scale, w_zero), _real(r, r_scale, r_zero)
    plain = replace(node, operator="LSTM")
    return run_layer(plain, rounded(tensor(x)), inner, hidden, others, rounded)


_REST = 9
"""How many inputs stand behind the weights: five of those of an LSTM, then scales and zero points of both."""


def _real(stored: Value, scale: Value, zero: Value | None) -> torch.Tensor:
    """Compute the numbers that stored integers stand for, in an LSTM's order: ``[directions, 4*H, in]``."""
    value, scales = tensor(stored).to(torch.float32), tensor(scale)
    each = [scales.shape[0], 1, -1]
    if zero is not None and not (isinstance(zero, Known) and not zero.items.any()):
        value = value - tensor(zero).to(torch.float32).reshape(each)
    return (value * scales.reshape(each)).transpose(1, 2)
