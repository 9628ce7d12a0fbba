"""Compute ONNX convolutions, matrix products and normalisations with ATen calls."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .operators import Node, operator, refuse
from .values import Value, tensor
from .windows import Window

__all__ = ["conv", "gemm"]

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@operator("Conv")
def conv(node: Node, x: Value, weight: Value, bias: Value | None = None) -> torch.Tensor:
    """Compute a convolution; ``weight``: ``[out, in / groups, *kernel]``."""
    data, w = tensor(x), tensor(weight)
    rank = w.dim() - 2
    if rank not in _CONVOLUTIONS:
        raise refuse(node, f"a convolution with {rank} spatial axes")
    window = Window.of(node, data, list(w.shape[2:]))
    pads = window.before
    if window.is_one_sided:
        data, pads = F.pad(data, window.pads), [0] * rank
    b = tensor(bias) if bias is not None else None
    groups = node.get("group", 1)
    return _CONVOLUTIONS[rank](data, w, b, window.strides, pads, window.dilations, groups)


@operator("ConvTranspose")
def conv_transpose(node: Node, x: Value, weight: Value, bias: Value | None = None) -> torch.Tensor:
    """Compute a transposed convolution; ``weight``: ``[in, out / groups, *kernel]``."""
    data, w = tensor(x), tensor(weight)
    rank = w.dim() - 2
    if rank not in _TRANSPOSED:
        raise refuse(node, f"a transposed convolution with {rank} spatial axes")
    window = Window.of_transposed(node, data, list(w.shape[2:]))
    extra = list(node.get("output_padding", [0] * rank))
    # Less padding at the end makes the output longer there, as output_padding does.
    extra = [more + b - a for more, b, a in zip(extra, window.before, window.after, strict=True)]
    longest = [max(s, d) for s, d in zip(window.strides, window.dilations, strict=True)]
    if any(e >= n for e, n in zip(extra, longest, strict=True)):
        raise refuse(node, "this padding")
    b = tensor(bias) if bias is not None else None
    made = _TRANSPOSED[rank](
        data,
        w,
        b,
        window.strides,
        window.before,
        [max(e, 0) for e in extra],
        node.get("group", 1),
        window.dilations,
    )
    for axis, e in enumerate(extra, 2):  # more padding at the end leaves rows out there
        made = made if e >= 0 else made.narrow(axis, 0, made.shape[axis] + e)
    return made


@operator("Gemm")
def gemm(node: Node, a: Value, b: Value, c: Value | None = None) -> torch.Tensor:
    """Compute ``alpha * A' @ B' + beta * C``: a linear layer, as exporters write it."""
    left, right = tensor(a), tensor(b)
    alpha, beta = node.get("alpha", 1.0), node.get("beta", 1.0)
    left = left.t() if node.get("transA", 0) else left
    bias = tensor(c) if c is not None else None
    if node.get("transB", 0):
        if alpha == beta == 1 and (bias is None or (bias.dim() == 1 and len(bias) == len(right))):
            return F.linear(left, right, bias)
        right = right.t()
    if bias is not None:
        return torch.addmm(bias, left, right, beta=beta, alpha=alpha)
    product = torch.mm(left, right)
    return product if alpha == 1 else product * alpha


@operator("MatMul")
def matmul(node: Node, a: Value, b: Value) -> torch.Tensor:
    """Multiply matrices as ``numpy.matmul`` does."""
    return torch.matmul(tensor(a), tensor(b))


@operator("Einsum")
def einsum(node: Node, *inputs: Value) -> torch.Tensor:
    """Sum products by an einsum equation."""
    return torch.einsum(node.get("equation", b"").decode(), *map(tensor, inputs))


@operator("BatchNormalization", fixed=(3, 4))
def batch_normalization(
    node: Node, x: Value, scale: Value, bias: Value, mean: Value, var: Value
) -> torch.Tensor:
    """Normalise channels with stored statistics, as in inference."""
    if node.get("training_mode", 0) or len([name for name in node.outputs if name]) > 1:
        raise refuse(node, "training mode")
    if not node.get("spatial", 1):
        raise refuse(node, "spatial=0")
    data, gain, shift = tensor(x), tensor(scale), tensor(bias)
    # Statistics may be computed from weights, and get no gradients all the same.
    centre, spread = tensor(mean).detach(), tensor(var).detach()
    return F.batch_norm(
        data,
        centre,
        spread,
        gain,
        shift,
        training=False,
        momentum=1 - node.get("momentum", 0.9),
        eps=node.get("epsilon", 1e-5),
    )


@operator("InstanceNormalization")
def instance_normalization(node: Node, x: Value, scale: Value, bias: Value) -> torch.Tensor:
    """Normalise over the spatial axes of each channel."""
    return F.instance_norm(
        tensor(x), weight=tensor(scale), bias=tensor(bias), eps=node.get("epsilon", 1e-5)
    )


@operator("GroupNormalization")
def group_normalization(node: Node, x: Value, scale: Value, bias: Value) -> torch.Tensor:
    """Normalise groups of channels, with one scale for each channel (since opset 21)."""
    if node.opset < 21:
        raise refuse(node, "the form of opset 18, with a scale for each group,")
    return F.group_norm(
        tensor(x), node.get("num_groups"), tensor(scale), tensor(bias), node.get("epsilon", 1e-5)
    )


@operator("LayerNormalization")
def layer_normalization(
    node: Node, x: Value, scale: Value, bias: Value | None = None
) -> torch.Tensor:
    """Normalise over all axes from ``axis`` on."""
    value = tensor(x)
    shape = [int(n) for n in value.shape[node.get("axis", -1) % value.dim() :]]
    weight = _broadcast(scale, shape)
    b = None if bias is None else _broadcast(bias, shape)
    return F.layer_norm(value, shape, weight, b, node.get("epsilon", 1e-5))


@operator("RMSNormalization", "SimplifiedLayerNormalization")
def rms_normalization(node: Node, x: Value, scale: Value) -> torch.Tensor:
    """Divide by the root mean square over all axes from ``axis`` on."""
    value = tensor(x)
    shape = [int(n) for n in value.shape[node.get("axis", -1) % value.dim() :]]
    return F.rms_norm(value, shape, _broadcast(scale, shape), node.get("epsilon", 1e-5))


def _broadcast(stored: Value, shape: list[int]) -> torch.Tensor:
    """Expand a scale or a bias to the axes that are normalised."""
    value = tensor(stored)
    return value if list(value.shape) == shape else value.expand(shape)


@operator("LpNormalization")
def lp_normalization(node: Node, x: Value) -> torch.Tensor:
    """Divide by the 1- or 2-norm over one axis."""
    value = tensor(x)
    norm = torch.linalg.vector_norm(value, node.get("p", 2), node.get("axis", -1), keepdim=True)
    return value / norm
