"""The operator ``graphprune::keep_axes``: axes that stay whole, since a node of an ONNX file has no form for fewer rows.

It hands its operand on. Nodes with sizes that only some numbers fit, such as blocks of quantised weights, are read with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["KEEP_AXES"]


@torch.library.custom_op("graphprune::keep_axes", mutates_args=())
def _keep_axes(x: torch.Tensor, axes: Sequence[int], node: str, why: str) -> torch.Tensor:
    """Give the same values.

    Args:
        x: of any shape and type.
        axes: dimensions whose rows all have to stay.
        node: what reports call the file's node.
        why: what it does for which they have to, such as ``has blocks of this size``.
    """
    return x.clone()


@_keep_axes.register_fake
def _sizes(x: torch.Tensor, axes: Sequence[int], node: str, why: str) -> torch.Tensor:
    return torch.empty_like(x)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    """Remember nothing: the gradient is handed on."""


def _gradients(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
    return gradient, None, None, None


_keep_axes.register_autograd(_gradients, setup_context=_remember)

KEEP_AXES: Any = torch.ops.graphprune.keep_axes.default
"""``(Tensor x, int[] axes, str node, str why) -> Tensor``"""
