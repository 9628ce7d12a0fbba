"""Compute onnxruntime's operators on weights of few bits: several numbers in a byte, and a scale for each block of them.

Weights are computed from the stored bytes, scales and zero points at every run, so slicing these slices the weights exactly. Blocks
have sizes that are powers of two: rows that share a block go together, and so do blocks whose zero points share a byte.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from graphprune.ir.keep_axes import KEEP_AXES

from .operators import Node, operator, refuse
from .values import Value, tensor

__all__: list[str] = []

_WHY = "has blocks of one size"

_BITS = (2, 4, 8)


@operator("com.microsoft.MatMulNBits", fixed=(2, 3))
def matmul_few_bits(
    node: Node,
    x: Value,
    weight: Value,
    scales: Value,
    zero_points: Value | None = None,
    order: Value | None = None,
    bias: Value | None = None,
) -> torch.Tensor:
    """Compute a linear layer ``[..., K] -> [..., N]``, with weights ``[N, blocks, bytes of a block]``."""
    bits, size, rows, columns = (node.get(n, 0) for n in ("bits", "block_size", "N", "K"))
    if order is not None or node.get("weight_prepacked", 0):
        raise refuse(node, "an order of the columns, or a layout of another device,")
    bits = bits or 4
    blocks = -(-columns // size)
    stored = _as_floats(tensor(weight)).reshape(rows, blocks, size * bits // 8)
    whole = _numbers(node, stored, bits)
    zeros = _zero_points(node, zero_points, rows, blocks, bits)
    w = _scaled(node, whole, tensor(scales).reshape(rows, blocks), zeros).flatten(1)
    w = w if columns == blocks * size else w[:, :columns]
    return F.linear(tensor(x), w, None if bias is None else tensor(bias))


@operator("com.microsoft.GatherBlockQuantized", fixed=(2, 3))
def embedding_of_few_bits(
    node: Node, data: Value, indices: Value, scales: Value, zero_points: Value | None = None
) -> torch.Tensor:
    """Look up rows of a table ``[rows, columns]`` that is quantised to blocks of columns."""
    table, scale, places = tensor(data), tensor(scales), tensor(indices).to(torch.int64)
    size, bits = node.get("block_size", 128), node.get("bits", 4)
    packed = table.dtype == torch.uint8 and node.get("bits") is not None
    columns = int(table.shape[-1]) * (8 // bits if packed else 1)
    if (
        table.dim() != 2
        or node.get("gather_axis", 0)
        or node.get("quantize_axis", 1) not in (1, -1)
    ):
        raise refuse(node, "another table than one of rows that are quantised each")
    if columns % size:
        raise refuse(node, "a block that isn't whole")
    blocks = columns // size
    found = F.embedding(places, _as_floats(table)).unflatten(
        -1, [blocks, size * bits // 8 if packed else size]
    )
    whole = _numbers(node, found, bits if packed else 8)
    if zero_points is None:
        zeros: Any = 2 ** (bits - 1) if packed else 0
    else:
        zeros = F.embedding(places, _as_floats(tensor(zero_points)))
        zeros = _parts(node, zeros, bits).flatten(-2)[..., :blocks] if packed else zeros
    return _scaled(node, whole, F.embedding(places, scale), zeros).flatten(-2)


def _numbers(node: Node, x: torch.Tensor, bits: int) -> torch.Tensor:
    """Part the bytes of each block: ``[..., blocks, bytes] -> [..., blocks, size]``, which stays."""
    whole = x if bits == 8 else _parts(node, x, bits).flatten(-2)
    kept: torch.Tensor = KEEP_AXES(whole, [whole.dim() - 1], str(node), _WHY)
    return kept


def _as_floats(x: torch.Tensor) -> torch.Tensor:
    """Convert stored bytes, which are numbers of channels, before anything is done with them."""
    return x.to(torch.float32)


def _parts(node: Node, x: torch.Tensor, bits: int) -> torch.Tensor:
    """Part each byte into numbers along a new last axis, the lowest bits first; all are floats."""
    if bits not in _BITS:
        raise refuse(node, f"numbers of {bits} bits")
    shifts = (2**shift for shift in range(0, 8, bits))
    return torch.stack([torch.floor_divide(x, by) % 2**bits for by in shifts], -1)


def _zero_points(node: Node, value: Value | None, rows: int, blocks: int, bits: int) -> Any:
    """Find the zero point of each block, ``[rows, blocks]``; several share a byte unless they are floats."""
    if value is None:
        return 2 ** (bits - 1)
    if tensor(value).is_floating_point():
        return tensor(value).reshape(rows, blocks)
    stored = _as_floats(tensor(value))
    if bits == 8:
        return stored.reshape(rows, blocks)
    return _parts(node, stored.reshape(rows, -1), bits).flatten(1)[:, :blocks]


def _scaled(node: Node, whole: torch.Tensor, scales: torch.Tensor, zeros: Any) -> torch.Tensor:
    """Compute ``(whole - zeros) * scales`` with one scale for each block: ``[..., blocks, size]``."""
    value = whole.to(scales.dtype)
    if isinstance(zeros, torch.Tensor):
        zeros = zeros.to(scales.dtype).unsqueeze(-1)
    return (value - zeros) * scales.unsqueeze(-1)
