"""Compute the operators that onnxruntime's optimisers fuse: files that were saved after optimisation hold them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from .layers import conv, gemm
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
