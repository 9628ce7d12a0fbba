"""Compute the operators that onnxruntime's optimisers fuse: files that were saved after optimisation hold them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from .layers import conv, gemm, parted
from .operators import Node, operator, refuse
from .values import Value, tensor

__all__: list[str] = []

_DOMAIN = "com.microsoft."

_BY_PARAMETERS: dict[str, Callable[..., torch.Tensor]] = {
    "Clip": torch.clamp,
    "Elu": F.elu,
    "HardSigmoid": lambda x, alpha, beta: torch.clamp(alpha * x + beta, 0, 1),
    "LeakyRelu": F.leaky_relu,
    "Relu": torch.relu,
    "Sigmoid": torch.sigmoid,
    "Tanh": torch.tanh,
}
"""Activations that are fused into a layer -> how they are computed, with their parameters in order."""


def _activated(node: Node, x: torch.Tensor, parameters: list[float]) -> torch.Tensor:
    name = node.get("activation", b"").decode()
    if not name:
        return x
    if name not in _BY_PARAMETERS:
        raise refuse(node, f"the activation {name!a:.80}")
    return _BY_PARAMETERS[name](x, *parameters)


@operator(_DOMAIN + "FusedConv")
def fused_conv(
    node: Node, x: Value, weight: Value, bias: Value | None = None, more: Value | None = None
) -> torch.Tensor:
    """Compute a convolution, a sum with another value, and an activation."""
    y = conv(node, x, weight, bias)
    y = y if more is None else y + tensor(more)
    return _activated(node, y, list(node.get("activation_params", ())))


@operator(_DOMAIN + "FusedGemm")
def fused_gemm(node: Node, a: Value, b: Value, c: Value | None = None) -> torch.Tensor:
    """Compute a matrix product with a bias, and an activation."""
    names = ("activation_alpha", "activation_beta", "activation_gamma")
    stated = [node.attributes[name] for name in names if name in node.attributes]
    return _activated(node, gemm(node, a, b, c), stated)


@operator(_DOMAIN + "FusedMatMul", _DOMAIN + "TransposeMatMul")
def fused_matmul(node: Node, a: Value, b: Value) -> torch.Tensor:
    """Multiply matrices, of which either may be transposed first, and the product by a number."""
    if node.get("transBatchA", 0) or node.get("transBatchB", 0):
        raise refuse(node, "a transposed batch")
    left, right = tensor(a), tensor(b)
    left = left.transpose(-2, -1) if node.get("transA", 0) else left
    right = right.transpose(-2, -1) if node.get("transB", 0) else right
    product, alpha = torch.matmul(left, right), node.get("alpha", 1.0)
    return product if alpha == 1 else product * alpha


@operator(_DOMAIN + "BiasGelu", _DOMAIN + "Gelu")
def bias_gelu(node: Node, x: Value, bias: Value | None = None) -> torch.Tensor:
    """Apply GELU to a sum with a bias."""
    return F.gelu(tensor(x) if bias is None else tensor(x) + tensor(bias))


@operator(_DOMAIN + "FastGelu")
def fast_gelu(node: Node, x: Value, bias: Value | None = None) -> torch.Tensor:
    """Apply GELU, approximated by tanh, to a sum with a bias."""
    return F.gelu(tensor(x) if bias is None else tensor(x) + tensor(bias), approximate="tanh")


@operator(_DOMAIN + "QuickGelu")
def quick_gelu(node: Node, x: Value) -> torch.Tensor:
    """Multiply by the sigmoid of ``alpha`` times the value."""
    value = tensor(x)
    return value * torch.sigmoid(node.get("alpha", 1.702) * value)


@operator(_DOMAIN + "SkipLayerNormalization")
def skip_layer_normalization(
    node: Node,
    x: Value,
    skip: Value,
    gain: Value,
    shift: Value | None = None,
    bias: Value | None = None,
) -> Any:
    """Normalise the sum of two values over the last axis."""
    whole, weight = _skipped(node, x, skip, bias), tensor(gain)
    b = None if shift is None else tensor(shift)
    y = F.layer_norm(whole, list(weight.shape), weight, b, node.get("epsilon", 1e-12))
    return _with_sum(node, y, whole)


@operator(_DOMAIN + "SkipSimplifiedLayerNormalization")
def skip_rms_normalization(
    node: Node, x: Value, skip: Value, gain: Value, bias: Value | None = None
) -> Any:
    """Divide the sum of two values by its root mean square over the last axis."""
    whole, weight = _skipped(node, x, skip, bias), tensor(gain)
    y = F.rms_norm(whole, list(weight.shape), weight, node.get("epsilon", 1e-12))
    return _with_sum(node, y, whole)


def _skipped(node: Node, x: Value, skip: Value, bias: Value | None) -> torch.Tensor:
    if any(node.outputs[1:3]):
        raise refuse(node, "the statistics as results")
    whole = tensor(x) + tensor(skip)
    return whole if bias is None else whole + tensor(bias)


def _with_sum(node: Node, y: torch.Tensor, whole: torch.Tensor) -> Any:
    """Give the sum too, where the node names it: its fourth result."""
    return (y, None, None, whole) if len(node.outputs) > 3 else y


@operator(_DOMAIN + "Attention")
def fused_attention(
    node: Node,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    mask: Value | None = None,
    past: Value | None = None,
    added: Value | None = None,
    *more: Value | None,
) -> torch.Tensor:
    """Compute the projections of self-attention, ``weight: [in, q + k + v]``, and the attention."""
    wide = tensor(x) @ tensor(weight)
    wide = wide if bias is None else wide + tensor(bias)
    if past is not None or any(each is not None for each in more) or len(node.outputs) > 1:
        raise refuse(node, "a cache")
    sizes = node.get("qkv_hidden_sizes") or [int(wide.shape[-1]) // 3] * 3
    q, k, v = torch.split(wide, list(sizes), -1)
    return _attended(node, q, k, v, mask, added)


@operator(_DOMAIN + "MultiHeadAttention")
def multi_head_attention(
    node: Node,
    query: Value,
    key: Value | None = None,
    value: Value | None = None,
    bias: Value | None = None,
    mask: Value | None = None,
    added: Value | None = None,
    *more: Value | None,
) -> torch.Tensor:
    """Compute the attention of projected values, each ``[batch, tokens, heads * dim]``."""
    if any(each is not None for each in more) or len(node.outputs) > 1:
        raise refuse(node, "a cache")
    if key is None or value is None:
        raise refuse(node, "packed values")
    q, k, v = tensor(query), tensor(key), tensor(value)
    if q.dim() != 3 or k.dim() != 3 or v.dim() != 3:
        raise refuse(node, "another number of axes than three")
    if bias is not None:  # one after another, as the values are
        sizes = [int(each.shape[-1]) for each in (q, k, v)]
        q, k, v = (x + b for x, b in zip((q, k, v), tensor(bias).split(sizes), strict=True))
    return _attended(node, q, k, v, mask, added)


def _attended(
    node: Node,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: Value | None,
    added: Value | None,
) -> torch.Tensor:
    """Attend by heads: ``[batch, tokens, heads * dim]`` in and out."""
    if node.get("do_rotary", 0):
        raise refuse(node, "rotary positions")
    heads = node.get("num_heads")
    q, k, v = (parted(x, heads) for x in (q, k, v))
    bias: torch.Tensor | None = None if added is None else tensor(added)
    if mask is not None:
        seen = tensor(mask)
        if seen.dim() != 2:
            raise refuse(node, "a mask of another form than [batch, tokens]")
        hidden = (1 - seen.to(q.dtype)[:, None, None]) * node.get("mask_filter_value", -10000.0)
        bias = hidden if bias is None else bias + hidden
    scale = node.get("scale", 0.0) or 1 / math.sqrt(int(q.shape[-1]))
    y = F.scaled_dot_product_attention(
        q, k, v, bias, scale=scale, is_causal=bool(node.get("unidirectional", 0))
    )
    return y.transpose(1, 2).flatten(2)
