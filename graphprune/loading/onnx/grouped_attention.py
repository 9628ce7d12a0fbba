"""Compute onnxruntime's GroupQueryAttention, which fuses rotary positions, the cache and attention.

A cache holds either the earlier tokens, to which those at hand are added, or room for all, in which they are filled in. Which
tokens count is told for each sample, as prompts of a batch differ in length.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F

from graphprune.ir.keep_axes import KEEP_AXES

from .attention import parted
from .operators import Node, operator, refuse
from .rotary import turned
from .values import Value, integers, tensor

__all__: list[str] = []

_KNOWN = frozenset({
    "causal", "do_rotary", "k_quant_type", "kv_cache_bit_width", "kv_num_heads", "local_window_size", "num_heads", "qk_norm_epsilon",
    "qk_output", "rotary_interleaved", "scale", "sliding_window_cache", "smooth_softmax", "softcap", "v_quant_type",
})  # fmt: skip

_OFF = {
    "sliding_window_cache": 0, "smooth_softmax": 0, "softcap": 0.0, "k_quant_type": b"NONE", "v_quant_type": b"NONE",
}  # fmt: skip
"""Attributes that are read in one form only."""

_INPUTS = 16

_WHOLE = "takes heads of some widths only"


@operator("com.microsoft.GroupQueryAttention", sizes=(6,))
def grouped_attention(node: Node, query: Value, *more: Value | None) -> Any:
    """Attend causally with key and value heads that several query heads share; widths of heads stay.

    All of query, key and value are ``[batch, tokens, heads * dim]``, or one tensor holds the three, one after another. Caches are
    ``[batch, heads, tokens, dim]``.
    """
    more = (*more, *[None] * (_INPUTS - 1 - len(more)))
    _check(node, more)
    key, value, past_key, past_value, lengths, total, cos, sin, positions, added = more[:10]
    q, k, v = _parts(node, query, key, value)
    assert lengths is not None, "the schema demands them"
    last = tensor(lengths).to(torch.int64).reshape(-1)
    tokens, held = q.shape[2], 0 if past_key is None else tensor(past_key).shape[2]
    count = integers(node, total, "the number of tokens in all")[0]
    if past_value is not None and tensor(past_value).shape[2] != held:
        raise refuse(node, "a cache of keys and one of values that differ in length")
    _check_sizes(node, q.shape[0], tokens, held, count)
    before = torch.clamp(last + 1 - tokens, min=0)
    places = before.unsqueeze(1) + torch.arange(tokens, device=q.device)
    if node.get("do_rotary", 0):
        if cos is None or sin is None:
            raise refuse(node, "rotary positions without tables")
        # What is behind the end of a prompt has the second position.
        at = torch.where(places <= last.unsqueeze(1), places, 1)
        at = at if positions is None else tensor(positions).to(torch.int64)
        tables = [tensor(table)[at].unsqueeze(1) for table in (cos, sin)]
        own = {"interleaved": bool(node.get("rotary_interleaved", 0))}
        width = 2 * int(tables[0].shape[-1])
        q, k = (turned(x, tables[0], tables[1], width, **own) for x in (q, k))
    if past_key is not None and past_value is not None:
        rows = held + tokens if count == held + tokens else held
        k = _filled(k, tensor(past_key), before, rows)
        v = _filled(v, tensor(past_value), before, rows)
    y = _attended(node, q, k, v, places, added)
    return (y, k, v) if any(node.outputs[1:]) else y


def _check(node: Node, more: tuple[Value | None, ...]) -> None:
    """Refuse forms that aren't read.

    Raises:
        LoadError: if the node has one.
    """
    if unknown := sorted(node.attributes.keys() - _KNOWN):
        raise refuse(node, unknown[0])
    if odd := [name for name, value in _OFF.items() if node.get(name, value) != value]:
        raise refuse(node, odd[0])
    if not node.get("causal", 1):
        raise refuse(node, "attention to later tokens")
    if any(value is not None for value in more[10:]) or any(node.outputs[3:]):
        raise refuse(node, "a sink, a quantised cache, norms, or products as a result,")


def _check_sizes(node: Node, batch: Any, tokens: Any, held: Any, count: Any) -> None:
    """Refuse numbers of tokens that onnxruntime refuses; ``torch.export`` notes what is assumed of open ones.

    Raises:
        LoadError: if they are such.
    """
    if not (count == held + tokens or count <= held):
        raise refuse(node, "a cache that neither holds all earlier tokens nor has room for all")
    if tokens > 1 and count != tokens and batch != 1:
        raise refuse(node, "a batch of several tokens each after a cache")


def _parts(
    node: Node, query: Value, key: Value | None, value: Value | None
) -> tuple[torch.Tensor, ...]:
    """Part query, key and value, and their heads, whose width stays: ``[batch, heads, tokens, dim]`` each."""
    heads, shared = node.get("num_heads"), node.get("kv_num_heads")
    wide = tensor(query)
    if key is None or value is None:
        dim = int(wide.shape[-1]) // (heads + 2 * shared)
        wides = torch.split(wide, [heads * dim, shared * dim, shared * dim], -1)
    else:
        wides = wide, tensor(key), tensor(value)
    counts = heads, shared, shared
    return tuple(
        KEEP_AXES(parted(x, n), [3], str(node), _WHOLE) for x, n in zip(wides, counts, strict=True)
    )


def _filled(x: torch.Tensor, past: torch.Tensor, before: torch.Tensor, rows: Any) -> torch.Tensor:
    """Put the tokens at hand behind those that each sample has in its cache.

    Args:
        x: ``[batch, heads, tokens, dim]``.
        past: the same of earlier tokens, and of none.
        before: how many earlier tokens there are, ``[batch]``.
        rows: tokens of the result; those that no token fills are zero.
    """
    held, tokens = past.shape[2], x.shape[2]
    row = torch.arange(rows, device=x.device)
    place = row - before.unsqueeze(1)
    index = torch.where(place < 0, row, place + held)
    index = torch.clamp(index, max=held + tokens - 1)[:, None, :, None]
    # Of no more sizes than are needed: torch would fix a batch that it has to compare.
    index = index.expand(-1, x.shape[1], -1, x.shape[3])
    made = torch.gather(torch.cat([past, x], 2), 2, index)
    return made * (place < tokens)[:, None, :, None]


def _attended(
    node: Node,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    places: torch.Tensor,
    added: Value | None,
) -> torch.Tensor:
    """Attend to the tokens up to one's own; ``[batch, tokens, heads * dim]`` out.

    Args:
        node: the call.
        q: ``[batch, heads, tokens, dim]``.
        k: the same with fewer heads, and all tokens.
        v: the same.
        places: of each query, ``[batch, tokens]``.
        added: to the products.
    """
    columns = torch.arange(k.shape[2], device=q.device)
    own = places.unsqueeze(-1)
    seen = columns <= own
    if (window := node.get("local_window_size", -1)) > 0:
        seen = seen & (columns > own - window)
    mask = seen.unsqueeze(1)
    if added is not None:
        mask = torch.where(mask, tensor(added), -math.inf)
    scale = node.get("scale", 0.0) or 1 / math.sqrt(int(q.shape[-1]))
    grouped = q.shape[1] != k.shape[1]
    y = F.scaled_dot_product_attention(q, k, v, mask, scale=scale, enable_gqa=grouped)
    return y.transpose(1, 2).flatten(2)
