"""Compute quantised ONNX operators: stored integers stay integers, and are scaled where they are read.

A quantised value ``q`` stands for ``(q - zero_point) * scale``. A weight is computed so from its
stored integers, scales and zero points at every run, so slicing these three slices the weight
exactly. Products are taken of the real values; results are rounded to integers as ONNX says.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from .element_types import DTYPES
from .layers import conv, gemm
from .operators import Node, operator, refuse
from .pooling import average_pool
from .values import Known, Value, tensor

__all__: list[str] = []

_INTEGERS = {torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32}


@operator("DequantizeLinear", "com.microsoft.DequantizeLinear", fixed=(1, 2))
def dequantize(node: Node, x: Value, scale: Value, zero_point: Value | None = None) -> torch.Tensor:
    """Compute ``(x - zero_point) * scale``, with one scale, or one for each row or block of rows of ``axis``."""
    axis, block = node.get("axis", 1), node.get("block_size", 0)
    if block:
        real = _real_in_blocks(node, tensor(x), scale, zero_point, axis, block)
    else:
        real = _real(node, x, scale, zero_point, axis)
    to = node.get("output_dtype", 0)
    return real.to(_dtype(node, to)) if to else real


@operator("QuantizeLinear", "com.microsoft.QuantizeLinear", fixed=(1, 2))
def quantize(node: Node, x: Value, scale: Value, zero_point: Value | None = None) -> torch.Tensor:
    """Compute ``round(x / scale) + zero_point``, within the bounds of the integer type."""
    to = node.get("output_dtype", 0)
    default = _dtype(node, to) if to else torch.uint8
    return _rounded(node, tensor(x), scale, zero_point, node.get("axis", 1), default)


@operator("DynamicQuantizeLinear")
def dynamic_quantize(node: Node, x: Value) -> tuple[torch.Tensor, ...]:
    """Quantise by the range of the values themselves; results: integers, scale, zero point.

    The range takes in 0, so its ends are the largest values of either sign, or 0: norms, in which zeros don't count.
    """
    value = tensor(x)
    high, below = (torch.linalg.vector_norm(torch.relu(side), math.inf) for side in (value, -value))
    scale = (high + below) / 255
    zero = torch.clamp(torch.round(below / scale), 0, 255)
    whole = torch.clamp(torch.round(value / scale) + zero, 0, 255)
    return whole.to(torch.uint8), scale, zero.to(torch.uint8)


@operator("ConvInteger", fixed=(2, 3))
def conv_integer(
    node: Node,
    x: Value,
    weight: Value,
    x_zero: Value | None = None,
    weight_zero: Value | None = None,
) -> torch.Tensor:
    """Convolve integers, each less its zero point."""
    data, w = _centred(node, x, x_zero, 0), _centred(node, weight, weight_zero, 0)
    return conv(node, data, w).to(torch.int32)


@operator("MatMulInteger", fixed=(2, 3))
def matmul_integer(
    node: Node, a: Value, b: Value, a_zero: Value | None = None, b_zero: Value | None = None
) -> torch.Tensor:
    """Multiply matrices of integers, each less its zero point."""
    left, right = _centred(node, a, a_zero, -2), _centred(node, b, b_zero, -1)
    return torch.matmul(left, right).to(torch.int32)


@operator("QLinearConv", fixed=(1, 2, 4, 5, 6, 7))
def qlinear_conv(node: Node, *inputs: Value) -> torch.Tensor:
    """Convolve quantised values to quantised ones; the bias has the scale of the products."""
    x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, *bias = inputs
    data, weight = _real(node, x, x_scale, x_zero, 1), _real(node, w, w_scale, w_zero, 0)
    real = conv(node, data, weight, *(_bias(node, b, x_scale, w_scale) for b in bias))
    return _rounded(node, real, y_scale, y_zero, 1)


@operator("QLinearMatMul", fixed=(1, 2, 4, 5, 6, 7))
def qlinear_matmul(node: Node, *inputs: Value) -> torch.Tensor:
    """Multiply quantised matrices to a quantised one."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = inputs
    real = _real(node, a, a_scale, a_zero, -2) @ _real(node, b, b_scale, b_zero, -1)
    return _rounded(node, real, y_scale, y_zero, -1)


@operator("com.microsoft.QGemm", fixed=(1, 2, 4, 5, 7, 8))
def qgemm(node: Node, *inputs: Value | None) -> torch.Tensor:
    """Compute a linear layer of quantised values, to quantised ones or, without their scale, to floats."""
    a, a_scale, a_zero, b, b_scale, b_zero, c, y_scale, y_zero = (*inputs, None, None, None)[:9]
    if a is None or b is None or a_scale is None or b_scale is None:
        raise refuse(node, "an operand without a scale")
    if node.get("alpha", 1.0) != 1:
        raise refuse(node, "alpha")
    columns = 0 if node.get("transB", 0) else 1
    left, right = _real(node, a, a_scale, a_zero, 0), _real(node, b, b_scale, b_zero, columns)
    bias = [] if c is None else [_bias(node, c, a_scale, b_scale)]
    real = gemm(node, left, right, *bias)
    return real if y_scale is None else _rounded(node, real, y_scale, y_zero, -1)


@operator("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul", fixed=(1, 2, 4, 5, 6, 7))
def qlinear_binary(node: Node, *inputs: Value | None) -> torch.Tensor:
    """Add or multiply quantised values."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (*inputs, None)[:8]
    left, right = _real(node, a, a_scale, a_zero, 0), _real(node, b, b_scale, b_zero, 0)
    real = left + right if node.operator.endswith("Add") else left * right
    return _rounded(node, real, y_scale, y_zero, 0)


@operator(
    "com.microsoft.QLinearAveragePool",
    "com.microsoft.QLinearGlobalAveragePool",
    "com.microsoft.QLinearLeakyRelu",
    "com.microsoft.QLinearSigmoid",
    "com.microsoft.QLinearSoftmax",
    fixed=(1, 2, 3, 4),
)
def qlinear_unary(node: Node, *inputs: Value | None) -> torch.Tensor:
    """Apply a function to quantised values."""
    x, x_scale, x_zero, y_scale, y_zero = (*inputs, None)[:5]
    value = _real(node, x, x_scale, x_zero, 0)
    if node.get("channels_last", 0):
        raise refuse(node, "channels_last")
    match node.operator.removeprefix("com.microsoft.QLinear"):
        case "AveragePool":
            real = average_pool(node, value)
        case "GlobalAveragePool":
            real = value.mean(list(range(2, value.dim())), keepdim=True)
        case "LeakyRelu":
            real = F.leaky_relu(value, node.get("alpha", 0.01))
        case "Sigmoid":
            real = torch.sigmoid(value)
        case _:
            axis = node.get("axis", -1) % value.dim()
            if node.get("opset", 13) < 13 and axis != value.dim() - 1:
                raise refuse(node, "softmax over several axes")
            real = torch.softmax(value, axis)
    return _rounded(node, real, y_scale, y_zero, 0)


@operator("com.microsoft.QLinearConcat", fixed=(0, 1))
def qlinear_concat(node: Node, scale: Value, zero_point: Value, *parts: Value) -> torch.Tensor:
    """Concatenate values that are quantised each in its own way."""
    triples = zip(parts[::3], parts[1::3], parts[2::3], strict=True)
    values = [_real(node, x, own_scale, zero, 0) for x, own_scale, zero in triples]
    real = torch.cat(values, node.get("axis"))
    return _rounded(node, real, scale, zero_point, 0)


def _dtype(node: Node, number: int) -> torch.dtype:
    dtype = DTYPES.get(number)
    if dtype is None:
        raise refuse(node, f"type number {number}")
    return dtype


def _per_row(node: Node, value: Value, x: torch.Tensor, axis: int) -> Any:
    """Shape scales or zero points so that they broadcast: a number, or one for each row of an axis."""
    if node.get("block_size", 0):
        raise refuse(node, "quantisation to blocks (block_size)")
    if isinstance(value, Known) and value.items.size == 1:
        return value.scalar
    rows = tensor(value)
    if rows.numel() == 1:
        return rows
    if rows.dim() != 1:
        raise refuse(node, "quantisation in blocks, or scales of several axes,")
    for _ in range(x.dim() - axis % x.dim() - 1):
        rows = rows.unsqueeze(-1)
    return rows


def _zero(node: Node, zero_point: Value | None, x: torch.Tensor, axis: int) -> Any:
    """Shape zero points as floats; ``None`` for the number 0. Several stay, so that they are cut too."""
    if zero_point is None:
        return None
    zero = _per_row(node, zero_point, x, axis)
    return zero.to(torch.float32) if isinstance(zero, torch.Tensor) else float(zero) or None


def _centred(node: Node, x: Value | None, zero_point: Value | None, axis: int) -> torch.Tensor:
    """Subtract the zero point of integers, as floats."""
    if x is None or (whole := tensor(x)).dtype not in _INTEGERS:
        raise refuse(node, "another type than integers of 8, 16 or 32 bits")
    value = whole.to(torch.float32)
    zero = _zero(node, zero_point, whole, axis)
    return value if zero is None else value - zero


def _real(
    node: Node, x: Value | None, scale: Value | None, zero_point: Value | None, axis: int
) -> torch.Tensor:
    """Compute the values that integers stand for."""
    value = _centred(node, x, zero_point, axis)
    if scale is None or scale.dtype != torch.float32:
        raise refuse(node, "a scale of another type than float32")
    return value * _per_row(node, scale, value, axis)


def _real_in_blocks(
    node: Node, x: torch.Tensor, scale: Value, zero_point: Value | None, axis: int, block: int
) -> torch.Tensor:
    """Compute the values of integers with a scale for each block of rows: the axis is parted, and joined again."""
    axis %= x.dim()
    if x.shape[axis] % block or scale.dtype != torch.float32:
        raise refuse(node, "a scale of another type than float32, or a block that isn't whole,")
    sizes = [*x.shape[:axis], x.shape[axis] // block, block, *x.shape[axis + 1 :]]
    value = x.to(torch.float32).reshape(sizes)
    if zero_point is not None:
        value = value - tensor(zero_point).to(torch.float32).unsqueeze(axis + 1)
    return (value * tensor(scale).unsqueeze(axis + 1)).reshape(x.shape)


def _bias(node: Node, bias: Value, *scales: Value) -> torch.Tensor:
    """Compute a bias of int32, whose scale is the product of those of data and weight."""
    value = _centred(node, bias, None, 0)
    for scale in scales:
        value = value * _per_row(node, scale, value, 0)
    return value


def _rounded(
    node: Node,
    x: torch.Tensor,
    scale: Value | None,
    zero_point: Value | None,
    axis: int,
    default: torch.dtype = torch.uint8,
) -> torch.Tensor:
    """Compute the integers that stand for values."""
    dtype = default if zero_point is None else zero_point.dtype
    if scale is None or dtype not in _INTEGERS:
        raise refuse(node, "another type than integers of 8, 16 or 32 bits")
    bounds = torch.iinfo(dtype)
    whole = torch.round(x / _per_row(node, scale, x, axis))
    zero = _zero(node, zero_point, x, axis)
    whole = whole if zero is None else whole + zero
    return torch.clamp(whole, bounds.min, bounds.max).to(dtype)
