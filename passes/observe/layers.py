"""Layers with weights, as linear regressions: rows of inputs, a matrix, rows of outputs.

A convolution at one position is a matrix product with the patch under its kernel (im2col), a
transposed one with what reaches that position, and a linear layer is one at each of its leading
indices, however it is written. All that is measured or refitted of a layer works on such rows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from graphprune.axes.labels import Axis
from graphprune.cut.baked_weights import baked_sources
from graphprune.cut.cut import Cut
from graphprune.ir.constant_calls import constant_calls
from graphprune.ir.devices import wide
from graphprune.ir.nodes import bind
from graphprune.ir.sizes import shape
from graphprune.passes.batchnorm.weight_groups import by_group, from_groups

__all__ = [
    "Layer",
    "as_matrix",
    "from_matrix",
    "kept_channels",
    "regression_sizes",
    "tied",
    "weights_left_out",
]


@dataclass(frozen=True)
class Layer:
    """One call of a convolution or matrix product. Calls may share a weight, see ``tied``.

    Attributes:
        number: place among the layers, in graph order.
        node: the call.
        end: the call, or the sum after it that adds the bias.
        value: the call's input.
        weight: a stored tensor, or a call that computes it from stored ones;
            ``[out, in / groups, *kernel]``, if transposed ``[in, out / groups, *kernel]``.
        bias: a stored tensor or a view of one, ``[out]``; ``None`` without a bias.
        spatial: number of spatial dimensions; 0 for a linear layer.
        transposed: whether the weight has its inputs first, as of a transposed convolution.
    """

    number: int
    node: fx.Node
    end: fx.Node
    value: fx.Node
    weight: fx.Node
    bias: fx.Node | None
    spatial: int
    transposed: bool

    @property
    def name(self) -> str:
        """Name of the weight, or of the first tensor that it is computed from."""
        node = self.weight
        while node.op != "get_attr":
            node = node.all_input_nodes[0]
        return str(node.target)

    @property
    def places(self) -> tuple[fx.Node, ...]:
        """Nodes whose values a refit changes: the weight and, if there is one, the bias."""
        return (self.weight,) if self.bias is None else (self.weight, self.bias)

    @property
    def calls(self) -> int:
        """Number of calls that share the weight."""
        return len(self.weight.users)

    @property
    def channel(self) -> int:
        """Channel dimension of the output: 1 for a convolution, -1 for a linear layer."""
        return 1 if self.spatial else -1

    def matrix(self, weight: Tensor, groups: int) -> Tensor:
        """Return a weight as the regression's matrix ``[groups, out / groups, in / groups * kernel]``, float64."""
        return as_matrix(wide(weight.detach()), groups, transposed=self.transposed)


def as_matrix(weight: Tensor, groups: int, *, transposed: bool) -> Tensor:
    """Reshape a weight to the regression's matrix ``[groups, out / groups, in / groups * kernel]``."""
    return by_group(weight, groups, transposed=transposed).flatten(2)


def from_matrix(matrix: Tensor, size: torch.Size, *, transposed: bool) -> Tensor:
    """Reshape a matrix, as ``as_matrix`` returns it, back to a weight of shape ``size``."""
    wide = matrix.unflatten(2, (-1, math.prod(size[2:])))
    return from_groups(wide, size, transposed=transposed)


def regression_sizes(layer: Layer) -> tuple[int, int]:
    """Return the number of groups, and of unknowns (inputs times kernel elements) in each."""
    groups, size = int(bind(layer.node).get("groups", 1)), shape(layer.weight)
    inputs = size[0] // groups if layer.transposed else size[1]
    return groups, inputs * math.prod(size[2:])


def tied(layers: Iterable[Layer]) -> dict[Layer, tuple[Layer, ...]]:
    """Return the first of the layers that share a weight -> all of them."""
    by_weight: dict[fx.Node, list[Layer]] = {}
    for layer in layers:
        by_weight.setdefault(layer.weight, []).append(layer)
    return {tie[0]: tuple(tie) for tie in by_weight.values()}


def weights_left_out(cut: Cut, nodes: Collection[fx.Node]) -> tuple[str, ...]:
    """Return the names of weights that lose inputs in calls other than ``nodes``."""
    analysis, kept = cut.analysis, cut.kept
    computed = constant_calls(analysis.module, larger=True)
    found: list[str] = []
    for node, facts in analysis.facts.items():
        weights = [n for n in node.all_input_nodes if n.op == "get_attr" or n in computed]
        if (
            weights
            and node not in nodes
            and node not in computed
            and cut.left.computed(node)
            and any(not kept(contraction.axis).all() for contraction in facts.contractions)
        ):
            found += baked_sources(analysis, weights[:1])[:1]
    return tuple(dict.fromkeys(found))


def kept_channels(layer: Layer, cut: Cut) -> Tensor | None:
    """Return a mask ``[out]`` of the output channels that are kept.

    ``None`` if other dimensions shrink too, or the layer is gone with its branch.
    """
    if not cut.left.computed(layer.node):
        return None
    layout, kept = cut.analysis.layouts[layer.node], cut.kept
    if not isinstance(layout, tuple):
        return None
    other_axes: list[Axis] = list(layout)
    channels = other_axes.pop(layer.channel)
    whole = all(bool(kept(axis).all()) for axis in other_axes)
    return torch.from_numpy(kept(channels)) if whole else None  # pyright: ignore[reportUnknownMemberType]
