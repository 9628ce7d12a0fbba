"""Compute attention in the forms of ONNX and of onnxruntime's optimiser, with caches of earlier tokens or without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .operators import Node, operator, refuse
from .values import Value, tensor

__all__ = ["parted"]

_DOMAIN = "com.microsoft."


@operator("Attention")
def attention(
    node: Node,
    q: Value,
    k: Value,
    v: Value,
    mask: Value | None = None,
    past_key: Value | None = None,
    past_value: Value | None = None,
    *more: Value | None,
) -> Any:
    """Compute scaled dot-product attention, ``[batch, heads, tokens, dim]`` or ``[batch, tokens, heads * dim]``."""
    query, key, value = tensor(q), tensor(k), tensor(v)
    if any(each is not None for each in more) or any(node.outputs[3:]):
        raise refuse(node, "lengths as an input, or products as a result,")
    known = {"is_causal", "scale", "q_num_heads", "kv_num_heads", "softmax_precision"}
    if unknown := sorted(node.attributes.keys() - known):
        raise refuse(node, unknown[0])
    merged = query.dim() == 3
    if merged:
        query = parted(query, node.get("q_num_heads"))
        key, value = (parted(x, node.get("kv_num_heads")) for x in (key, value))
    key, value, before = _after_cache(key, value, past_key, past_value)
    bias = None if mask is None else tensor(mask)
    scale = node.get("scale", 1 / math.sqrt(int(query.shape[-1])))
    y = _attended(query, key, value, bias, scale, before if node.get("is_causal", 0) else None)
    return _results(node, y.transpose(1, 2).flatten(2) if merged else y, key, value)


@operator(_DOMAIN + "Attention")
def projected_attention(
    node: Node,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    mask: Value | None = None,
    past: Value | None = None,
    added: Value | None = None,
    *more: Value | None,
) -> Any:
    """Compute the projections of self-attention, ``weight: [in, q + k + v]``, and the attention.

    The cache is one tensor, ``[2, batch, heads, tokens, dim]``, that comes back with the tokens at hand.
    """
    wide = tensor(x) @ tensor(weight)
    wide = wide if bias is None else wide + tensor(bias)
    if any(each is not None for each in more):
        raise refuse(node, "a cache of fixed size")
    sizes = node.get("qkv_hidden_sizes") or [int(wide.shape[-1]) // 3] * 3
    q, k, v = (parted(each, node.get("num_heads")) for each in torch.split(wide, list(sizes), -1))
    parts = (None, None) if past is None else tensor(past).unbind(0)
    k, v, before = _after_cache(k, v, *parts)
    y = _fused(node, q, k, v, mask, added, before)
    return (y, torch.stack([k, v])) if any(node.outputs[1:]) else y


@operator(_DOMAIN + "MultiHeadAttention")
def multi_head_attention(
    node: Node,
    query: Value,
    key: Value | None = None,
    value: Value | None = None,
    bias: Value | None = None,
    mask: Value | None = None,
    added: Value | None = None,
    *cache: Value | None,
) -> Any:
    """Compute the attention of projected values, each ``[batch, tokens, heads * dim]``."""
    if any(each is not None for each in cache[2:]) or any(node.outputs[3:]):
        raise refuse(node, "a cache of fixed size, or products as a result,")
    if key is None or value is None:
        raise refuse(node, "packed values")
    wide = [tensor(each) for each in (query, key, value)]
    if any(each.dim() != 3 for each in wide):
        raise refuse(node, "another number of axes than three")
    q, k, v = (parted(x, node.get("num_heads")) for x in _with_bias(wide, bias))
    k, v, before = _after_cache(k, v, *cache[:2])
    return _results(node, _fused(node, q, k, v, mask, added, before), k, v)


def _with_bias(values: Sequence[torch.Tensor], bias: Value | None) -> Sequence[torch.Tensor]:
    """Add to each value its part of a bias, which holds one after another."""
    if bias is None:
        return values
    sizes = [int(each.shape[-1]) for each in values]
    return [x + b for x, b in zip(values, tensor(bias).split(sizes), strict=True)]


def parted(x: torch.Tensor, heads: int) -> torch.Tensor:
    """Part the heads: ``[batch, tokens, heads * dim] -> [batch, heads, tokens, dim]``."""
    return x.reshape(*x.shape[:2], heads, int(x.shape[-1]) // heads).transpose(1, 2)


def _after_cache(
    k: torch.Tensor,
    v: torch.Tensor,
    past_key: Value | None = None,
    past_value: Value | None = None,
) -> tuple[torch.Tensor, torch.Tensor, Any]:
    """Put the tokens of a cache before those at hand, and count them."""
    if past_key is None or past_value is None:
        return k, v, 0
    keys, values = tensor(past_key), tensor(past_value)
    return torch.cat([keys, k], 2), torch.cat([values, v], 2), keys.shape[2]


def _results(node: Node, y: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> Any:
    """Give the cache for the next token too, where the node names it."""
    return (y, k, v) if any(node.outputs[1:]) else y


def _fused(
    node: Node,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: Value | None,
    added: Value | None,
    before: Any,
) -> torch.Tensor:
    """Attend as onnxruntime's operators do; ``[batch, tokens, heads * dim]`` out."""
    if node.get("do_rotary", 0):
        raise refuse(node, "rotary positions")
    bias: torch.Tensor | None = None if added is None else tensor(added)
    if mask is not None:
        seen = tensor(mask)
        if seen.dim() != 2:
            raise refuse(node, "a mask of another form than [batch, tokens]")
        hidden = (1 - seen.to(q.dtype)[:, None, None]) * node.get("mask_filter_value", -10000.0)
        bias = hidden if bias is None else bias + hidden
    scale = node.get("scale", 0.0) or 1 / math.sqrt(int(q.shape[-1]))
    y = _attended(q, k, v, bias, scale, before if node.get("unidirectional", 0) else None)
    return y.transpose(1, 2).flatten(2)


def _attended(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    bias: torch.Tensor | None,
    scale: float,
    before: Any,
) -> torch.Tensor:
    """Attend by heads, of which several queries may share a key.

    Args:
        q: ``[batch, heads, tokens, dim]``.
        k: the same with tokens of its own.
        v: the same.
        bias: what is added to the products, or truth values that tell which of them count.
        scale: of the products.
        before: how many tokens came before the first query, if none may see those that come later; else ``None``.
    """
    causal = before is not None
    if causal and (bias is not None or not isinstance(before, int) or before):
        rows, columns = (torch.arange(x.shape[2], device=q.device) for x in (q, k))
        seen = columns <= (rows + before).unsqueeze(1)
        if bias is None or bias.dtype == torch.bool:
            bias = seen if bias is None else seen & bias
        else:
            bias = torch.where(seen, bias, float("-inf"))
        causal = False
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(
        q, k, v, bias, scale=scale, is_causal=causal, enable_gqa=grouped
    )
