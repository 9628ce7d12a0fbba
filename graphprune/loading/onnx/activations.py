"""Compute ONNX activation functions that have parameters or an axis; the others are in ``pointwise``."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .operators import Node, operator, refuse
from .values import Value, tensor

__all__: list[str] = []


@operator("Celu", "Elu", "LeakyRelu", "ThresholdedRelu")
def with_alpha(node: Node, x: Value) -> torch.Tensor:
    """Apply an activation function with one parameter."""
    value = tensor(x)
    match node.operator:
        case "Celu":
            return F.celu(value, node.get("alpha", 1.0))
        case "Elu":
            return F.elu(value, node.get("alpha", 1.0))
        case "LeakyRelu":
            return F.leaky_relu(value, node.get("alpha", 0.01))
        case _:
            alpha = node.get("alpha", 1.0)
            return torch.where(value > alpha, value, 0.0)


@operator("Swish")
def swish(node: Node, x: Value) -> torch.Tensor:
    """Compute ``x * sigmoid(alpha * x)``."""
    value, alpha = tensor(x), node.get("alpha", 1.0)
    return F.silu(value) if alpha == 1 else value * torch.sigmoid(alpha * value)


@operator("Shrink")
def shrink(node: Node, x: Value) -> torch.Tensor:
    """Move values towards zero by ``bias``; those nearer than ``lambd`` become zero."""
    value, bias, bound = tensor(x), node.get("bias", 0.0), node.get("lambd", 0.5)
    outside = torch.where(value > bound, value - bias, 0.0)
    return torch.where(value < -bound, value + bias, outside).to(value.dtype)


@operator("Selu")
def selu(node: Node, x: Value) -> torch.Tensor:
    """Apply SELU with the constants of its paper, which are ONNX's defaults."""
    if "alpha" in node.attributes or "gamma" in node.attributes:
        raise refuse(node, "another alpha or gamma")
    return F.selu(tensor(x))


@operator("HardSigmoid")
def hard_sigmoid(node: Node, x: Value) -> torch.Tensor:
    """Compute ``max(0, min(1, alpha * x + beta))``."""
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    return torch.clamp(tensor(x) * alpha + beta, 0.0, 1.0)


@operator("Gelu")
def gelu(node: Node, x: Value) -> torch.Tensor:
    """Apply GELU, exact or approximated by tanh."""
    approximate = node.get("approximate", b"none")
    return F.gelu(tensor(x), approximate=approximate.decode())


@operator("PRelu")
def prelu(node: Node, x: Value, slope: Value) -> torch.Tensor:
    """Apply PReLU; the slope broadcasts, and one for each channel is ATen's own form."""
    value, weight = tensor(x), tensor(slope)
    # Axis 1 counts channels; the slope may have an axis of 1 before it.
    at = {value.dim(): 1, value.dim() - 1: 0}.get(weight.dim())
    per_channel = value.dim() > 1 and at is not None and weight.numel() == weight.shape[at]
    if weight.numel() == 1 or per_channel:
        return F.prelu(value, weight.reshape(-1))
    return torch.relu(value) - weight * torch.relu(-value)


@operator("Softmax", "LogSoftmax")
def softmax(node: Node, x: Value) -> torch.Tensor:
    """Apply softmax over one axis; before opset 13 over all axes from there on."""
    value = tensor(x)
    compute = torch.softmax if node.operator == "Softmax" else torch.log_softmax
    if node.opset >= 13:
        return compute(value, node.get("axis", -1))
    axis = node.get("axis", 1) % value.dim()
    if axis == value.dim() - 1:
        return compute(value, axis)
    return compute(value.flatten(axis), -1).reshape(value.shape)
