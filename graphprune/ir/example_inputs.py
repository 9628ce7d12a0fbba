"""Example inputs as torch.export needs them: no two of them share memory."""

from __future__ import annotations

from typing import Any

import torch

from .private_torch import pytree

__all__ = ["separated"]


def separated(inputs: Any) -> Any:
    """Copy the tensors in a tree of inputs that share memory with an earlier one; the others stay as they are.

    torch.export takes one tensor given for two inputs for one input, and traces ``f(q, q)``.
    """
    seen: set[int] = set()

    def own(leaf: Any) -> Any:
        if not isinstance(leaf, torch.Tensor) or leaf.is_meta or not leaf.numel():
            return leaf
        place = leaf.untyped_storage().data_ptr()
        if place in seen:
            return leaf.detach().clone().requires_grad_(leaf.requires_grad)
        seen.add(place)
        return leaf

    return pytree.tree_map(own, inputs)
