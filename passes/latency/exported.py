"""The network as it runs once exported: which calls cost nothing, and how large values are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.emptied import Emptied
from graphprune.axes.layout import Layout
from graphprune.axes.polynomial import Polynomial
from graphprune.ops import is_identity, traits_of
from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.batchnorm.sites import Sites

__all__ = ["ACTIVATIONS", "APART", "Exported"]

aten = torch.ops.aten

ACTIVATIONS: dict[Any, str] = {
    aten.gelu.default: "Gelu", aten.hardsigmoid.default: "HardSigmoid",
    aten.hardswish.default: "HardSwish", aten.hardswish_.default: "HardSwish",
    aten.hardtanh.default: "Clip", aten.hardtanh_.default: "Clip",
    aten.leaky_relu.default: "LeakyRelu", aten.leaky_relu_.default: "LeakyRelu",
    aten.relu.default: "Relu", aten.relu_.default: "Relu", aten.relu6.default: "Clip",
    aten.sigmoid.default: "Sigmoid", aten.silu.default: "Swish", aten.silu_.default: "Swish",
    aten.tanh.default: "Tanh",
}  # fmt: skip
"""Operator -> its name in ONNX; ``Swish`` is exported as ``Sigmoid`` and ``Mul``."""

APART = frozenset({"Gelu", "HardSwish", "Swish"})
"""Activations that run behind a layer, with a pass over its values of their own, where others are fused into it."""


@dataclass(frozen=True)
class Exported:
    """The dense program as it runs once exported; BatchNorm is not folded in it yet.

    Attributes:
        analysis: the analysis of the program.
        left: what is left of it, where branches are gone.
    """

    analysis: Analysis
    left: Emptied | None = None

    @cached_property
    def sites(self) -> Sites:
        """Finder of the layers that BatchNorm folds into."""
        return Sites(self.analysis.module)

    def is_free(self, node: fx.Node) -> bool:
        """Whether a call costs nothing when the exported network runs."""
        if node in self.analysis.constant_calls or not isinstance(
            node.meta.get("val"), torch.Tensor
        ):
            return True
        if traits_of(node).view or _is_same(node):
            return True
        return node.target is BATCH_NORM and self.sites.of(node) is not None

    def runs(self, node: fx.Node) -> bool:
        """Whether a call is made, and not gone with a branch."""
        return self.left is None or self.left.computed(node)

    def readers(self, node: fx.Node) -> list[fx.Node]:
        """List the nodes that read a value."""
        return [user for user in node.users if self.runs(user)]

    def shape(self, node: fx.Node) -> tuple[int, ...]:
        """Return the shape of a value, which is one number for each channel if a cut stores it like that."""
        shape = tuple(self.analysis.data_sizes.shape(node))
        if self.left is None or node not in self.left.stored or node in self.left.spread:
            return shape
        channel = self.left.channel(node) % len(shape)
        return tuple(size if axis == channel else 1 for axis, size in enumerate(shape))

    def sizes(self, node: fx.Node) -> tuple[Polynomial, ...]:
        """Return the axis sizes of a value or stored tensor, as functions of the widths."""
        analysis = self.analysis
        return tuple(
            analysis.grouping.size(analysis.labels.resolve(axis)) for axis in self.axes(node)
        )

    def axes(self, node: fx.Node) -> Layout:
        """Return the axes of a value or stored tensor."""
        layout: Any = (
            self.analysis.axes[str(node.target)]
            if node.op == "get_attr"
            else self.analysis.layouts[node]
        )
        return layout

    def bytes(self, node: fx.Node) -> Polynomial:
        """Return the bytes of a value or stored tensor for the example inputs, as a function of the widths."""
        out = Polynomial.constant(node.meta["val"].element_size())
        for size in self.sizes(node):
            out *= size
        return out


def _is_same(node: fx.Node) -> bool:
    """Whether a call returns its operand unchanged, in the same type."""
    return is_identity(node) and (
        node.all_input_nodes[0].meta["val"].dtype == node.meta["val"].dtype
    )
