"""Find stored integers that stand for numbers, as those of quantised weights do.

Integers that choose or count something (indices, sizes) can't be cut. Those that every reader turns into
floating-point numbers are values like any other, and so are operands of which the operator says so
(``traits.integers``), such as the zero points of fake quantisation.
"""

from __future__ import annotations

import torch
from torch import fx

from graphprune.ir.nodes import bind, is_continuous
from graphprune.ir.program import state
from graphprune.ops import passes_value_on, traits_of

__all__ = ["integer_weights"]


def integer_weights(module: fx.GraphModule) -> frozenset[str]:
    """List the names of stored integer tensors that are read as numbers of channels only."""
    tensors = state(module)
    reads: dict[str, bool] = {}
    for node in module.graph.find_nodes(op="get_attr"):
        tensor = tensors.get(node.target)
        if tensor is not None and not is_continuous(tensor) and tensor.dtype != torch.bool:
            reads[node.target] = reads.get(node.target, True) and _is_converted(node)
    return frozenset(name for name, converted in reads.items() if converted)


def _is_converted(node: fx.Node) -> bool:
    """Whether each reader of integers makes floating-point numbers of them, at most after moving them."""
    readers = [user for user in node.users if not traits_of(user).metadata]
    return bool(readers) and all(
        any(bind(user).get(name) is node for name in traits_of(user).integers)
        or (
            passes_value_on(user)
            if is_continuous(user.meta.get("val"))
            else traits_of(user).moves and _is_converted(user)
        )
        for user in readers
    )
