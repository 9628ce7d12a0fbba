"""Layers with weights, seen as linear regressions: rows of inputs, a matrix, rows of outputs.

A convolution at one position is a matrix product with the patch under its kernel (im2col), and
a linear layer is one at each of its leading indices. All that is measured or refitted of a
layer works on a sample of such rows.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.nn import functional

from graphprune.analysis import Analysis, Kept
from graphprune.graph import state
from graphprune.labels import Axis
from graphprune.nodes import bind, shape

__all__ = [
    "Layer", "find_layers", "input_rows", "matrix", "output_rows", "sample_rows", "sizes",
    "staying",
]  # fmt: skip

aten = torch.ops.aten

CONVOLUTIONS = {
    aten.conv1d.default: 1, aten.conv1d.padding: 1, aten.conv2d.default: 2,
    aten.conv2d.padding: 2, aten.conv3d.default: 3,
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """One convolution or linear call whose weight is a parameter of its own.

    Attributes:
        number: place among the layers, in graph order.
        node: the call.
        value: its input.
        weight: name of the weight, ``[out, in / groups, *kernel]``.
        bias: name of the bias, if it has one.
        spatial: number of spatial dimensions; 0 for a linear layer.
    """

    number: int
    node: fx.Node
    value: fx.Node
    weight: str
    bias: str | None
    spatial: int

    @property
    def channel(self) -> int:
        """The channel dimension of the output."""
        return 1 if self.spatial else -1


def find_layers(module: fx.GraphModule) -> tuple[Layer, ...]:
    """The layers of a graph. Left out: weights that are computed, or that two calls share."""
    tensors = state(module)
    uses = Counter(
        id(tensors[node.target])
        for node in module.graph.find_nodes(op="get_attr") if node.target in tensors
        for _ in node.users
    )
    found: list[Layer] = []
    for node in module.graph.nodes:
        if node.target not in CONVOLUTIONS and node.target is not aten.linear.default:
            continue
        call = bind(node)
        names = [None if call[n] is None else _own(call[n], tensors, uses)
                 for n in ("weight", "bias")]
        batched = node.target is aten.linear.default or (
            call["input"].meta["val"].ndim == CONVOLUTIONS[node.target] + 2)
        if names[0] is None or not batched or (call["bias"] is not None and names[1] is None):
            continue
        found.append(Layer(len(found), node, call["input"], names[0], names[1],
                           CONVOLUTIONS.get(node.target, 0)))
    return tuple(found)


def _own(node: fx.Node, tensors: Mapping[str, Tensor], uses: Counter[int]) -> str | None:
    """The name of a parameter that is read here only."""
    name = str(node.target)
    own = node.op == "get_attr" and name in tensors
    return name if own and uses[id(tensors[name])] == 1 else None


def staying(layer: Layer, analysis: Analysis, kept: Kept) -> Tensor | None:
    """Which channels of a layer's output stay: a mask. ``None`` if other dimensions shrink as well."""
    layout = analysis.layouts[layer.node]
    if not isinstance(layout, tuple):
        return None
    others: list[Axis] = list(layout)
    own = others.pop(layer.channel)
    whole = all(bool(kept(axis).all()) for axis in others)
    return torch.from_numpy(kept(own)) if whole else None  # pyright: ignore[reportUnknownMemberType]


def sample_rows(layer: Layer, output: Tensor, count: int, seed: tuple[int, int]) -> Tensor:
    """Which rows of a batch to look at: sorted, without repetition.

    Args:
        layer: whose output it is.
        output: its output on the batch.
        count: how many rows to take, if there are as many.
        seed: of the sample, and number of the batch: the same rows whichever process asks.
    """
    total = output.numel() // output.shape[layer.channel]
    if count >= total:
        return torch.arange(total)
    mixed = ((seed[0] * 1_000_003 + layer.number) * 1_000_003 + seed[1]) % (1 << 63)
    generator = torch.Generator().manual_seed(mixed)
    return torch.randperm(total, generator=generator)[:count].sort().values


def output_rows(layer: Layer, value: Tensor, rows: Tensor) -> Tensor:
    """``[rows, channels]`` of a value that is shaped like the layer's output."""
    last = value.movedim(layer.channel, -1)
    return last.reshape(-1, last.shape[-1])[rows.to(value.device)].float()


def input_rows(layer: Layer, value: Tensor, rows: Tensor, groups: int) -> Tensor:
    """``[groups, rows, in / groups * kernel]``: what the weights are multiplied with.

    Args:
        layer: a layer.
        value: its input on a batch, padding not applied.
        rows: rows of its output.
        groups: the layer's groups; after a cut there may be fewer.
    """
    rows = rows.to(value.device)
    if not layer.spatial:
        return value.reshape(-1, value.shape[-1])[rows][None].float()
    call, dims = bind(layer.node), layer.spatial
    kernel = [int(k) for k in call["weight"].meta["val"].shape[2:]]
    stride, dilation = _each(call["stride"], dims), _each(call["dilation"], dims)
    value = functional.pad(value, _padding(call["padding"], kernel, dilation, dims))
    places = [(size - (k - 1) * d - 1) // s + 1
              for size, k, d, s in zip(value.shape[2:], kernel, dilation, stride, strict=True)]
    sample, *corners = (i[:, None] for i in torch.unravel_index(rows, (len(value), *places)))
    taps = torch.unravel_index(torch.arange(math.prod(kernel), device=value.device), tuple(kernel))
    where = [corner * s + tap * d
             for corner, tap, d, s in zip(corners, taps, dilation, stride, strict=True)]
    patches = value.movedim(1, -1)[(sample, *where)].float()
    return patches.transpose(1, 2).reshape(len(rows), groups, -1).transpose(0, 1)


def _each(value: list[int], dims: int) -> list[int]:
    return list(value) * dims if len(value) == 1 else list(value)


def _padding(padding: str | list[int], kernel: list[int], dilation: list[int],
             dims: int) -> list[int]:
    """Padding as ``functional.pad`` wants it: last dimension first, both sides."""
    if padding == "valid":
        return [0] * (2 * dims)
    if isinstance(padding, str):  # "same": what is odd goes behind
        total = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        return [side for t in reversed(total) for side in (t // 2, t - t // 2)]
    return [p for p in reversed(_each(padding, dims)) for _ in range(2)]


def matrix(weight: Tensor, groups: int) -> Tensor:
    """A weight as ``[groups, out / groups, in / groups * kernel]``, float64."""
    return weight.detach().double().reshape(groups, len(weight) // groups, -1)


def sizes(layer: Layer) -> tuple[int, int]:
    """Groups, and unknowns of the regression of one output in one of them."""
    call = bind(layer.node)
    return int(call.get("groups", 1)), math.prod(shape(call["weight"])[1:])
