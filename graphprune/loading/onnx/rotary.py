"""Compute rotary embeddings: pairs of channels of each head are turned by an angle that depends on the position."""

from __future__ import annotations

import torch

from .operators import Node, operator, refuse
from .values import Value, tensor

__all__ = ["turned"]


@operator("RotaryEmbedding")
def rotary_embedding(
    node: Node, x: Value, cos: Value, sin: Value, positions: Value | None = None
) -> torch.Tensor:
    """Turn heads ``[N, heads, T, D]`` or ``[N, T, heads * D]``; tables have a row for each position or token."""
    tables = [tensor(cos), tensor(sin)]
    if positions is not None:
        tables = [table[tensor(positions).to(torch.int64)] for table in tables]
    return _turned(node, tensor(x), tables)


@operator("com.microsoft.RotaryEmbedding")
def rotary_embedding_by_position(
    node: Node, x: Value, positions: Value, cos: Value, sin: Value
) -> torch.Tensor:
    """Turn heads as onnxruntime's operator does; one position alone is that of the first token."""
    if node.get("is_packed_batching", 0):
        raise refuse(node, "is_packed_batching")
    value, where = tensor(x), tensor(positions).to(torch.int64)
    if where.dim() == 1:
        tokens = value.shape[-2] if value.dim() == 4 else value.shape[1]
        where = (where + torch.arange(tokens, device=value.device)).unsqueeze(0)
    return _turned(node, value, [tensor(table)[where] for table in (cos, sin)])


def _turned(node: Node, x: torch.Tensor, tables: list[torch.Tensor]) -> torch.Tensor:
    """Turn pairs by the angles of each token, ``[N, T, pairs]``; what is beyond the pairs stays."""
    flat, heads = x.dim() == 3, node.get("num_heads", 0)
    width = node.get("rotary_embedding_dim", 0) or 2 * int(tables[0].shape[-1])
    if flat:
        sizes = [heads, -1] if heads else [-1, width]
        x = x.unflatten(-1, sizes)
    cos, sin = (table.unsqueeze(2 if flat else 1) for table in tables)
    y = turned(x, cos, sin, width, interleaved=bool(node.get("interleaved", 0)))
    return y.flatten(-2) if flat else y


def turned(
    x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, width: int, *, interleaved: bool
) -> torch.Tensor:
    """Turn pairs of channels of each head.

    Args:
        x: ``[..., D]``.
        cos: of the angles, ``[..., width / 2]``, which broadcasts.
        sin: the same.
        width: how many channels are turned, the first ones.
        interleaved: whether a pair stands side by side; else its channels are half a width apart.
    """
    rest = x[..., width:] if width < x.shape[-1] else None
    x = x if rest is None else x[..., :width]
    if interleaved:
        pairs = x.unflatten(-1, [-1, 2])
        a, b = pairs.unbind(-1)
        y = torch.stack([cos * a - sin * b, sin * a + cos * b], -1).flatten(-2)
    else:
        a, b = x.chunk(2, -1)
        y = torch.cat([cos * a - sin * b, sin * a + cos * b], -1)
    return y if rest is None else torch.cat([y, rest], -1)
