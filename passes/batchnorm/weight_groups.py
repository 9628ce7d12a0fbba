"""Reshape the weights of layers, so that all kinds have one form: by group, output, input and tap."""

from __future__ import annotations

from torch import Size, Tensor, fx

from graphprune.ir.nodes import bind
from graphprune.ops import form_of

__all__ = ["by_group", "from_groups", "grouped", "is_transposed"]


def grouped(layer: fx.Node, weight: Tensor) -> Tensor:
    """Reshape a layer's weight to ``[groups, out / groups, in / groups, taps]``."""
    return by_group(weight, int(bind(layer).get("groups", 1)), transposed=is_transposed(layer))


def is_transposed(layer: fx.Node) -> bool:
    """Whether a layer is a transposed convolution."""
    form = form_of(layer)
    return form is not None and form.transposed


def by_group(weight: Tensor, groups: int, *, transposed: bool) -> Tensor:
    """Reshape a weight to ``[groups, out / groups, in / groups, taps]``.

    Args:
        weight: ``[out, in / groups, *kernel]``; of a transposed convolution ``[in, out / groups, *kernel]``.
        groups: number of groups of the layer.
        transposed: whether it is a transposed convolution.
    """
    weight = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    return weight.transpose(1, 2) if transposed else weight


def from_groups(wide: Tensor, size: Size, *, transposed: bool) -> Tensor:
    """Reshape a weight back from what ``by_group`` returns to the shape ``size``."""
    return (wide.transpose(1, 2) if transposed else wide).reshape(size)
