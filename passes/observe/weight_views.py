"""Views of stored tensors, and which calls read which elements of them.

Cross-attention splits one stored weight, and weights are transposed, sliced or reshaped. A part
that nothing else reads can be given other values through its views.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from operator import getitem
from typing import Any

import torch
from torch import Tensor, fx

from graphprune.ir.constant_calls import constant_calls
from graphprune.ir.nodes import evaluate
from graphprune.ir.program import state

__all__ = ["StoredTensors", "base_of", "part_of", "view_of"]


def base_of(node: fx.Node) -> fx.Node | None:
    """Return the stored tensor that a chain of views starts from; ``None`` if it starts elsewhere."""
    while (
        node.op == "call_function"
        and len(node.all_input_nodes) == 1
        and (node.target is getitem or getattr(node.target, "is_view", False))
    ):
        (node,) = node.all_input_nodes
    return node if node.op == "get_attr" else None


def part_of(tensor: Tensor, node: fx.Node) -> Tensor | None:
    """Apply a chain of views to a tensor, if the result is a view that holds each element once.

    Args:
        tensor: a tensor in place of the stored one.
        node: the last view of the chain, see ``base_of``.

    Returns:
        ``None`` if the result is a copy, has another type, or repeats elements.
    """
    with torch.no_grad():
        part = view_of(node, tensor)
    if not isinstance(part, Tensor) or part.dtype != tensor.dtype:
        return None
    shared = part.untyped_storage().data_ptr() == tensor.untyped_storage().data_ptr()
    repeated = any(
        step == 0 for step, size in zip(part.stride(), part.shape, strict=True) if size > 1
    )
    return part if shared and not repeated else None


def view_of(node: fx.Node, tensor: Tensor) -> Any:
    """Apply the views that lead to a node to a tensor in place of the stored one."""
    return tensor if node.op == "get_attr" else evaluate(node, partial(view_of, tensor=tensor))


class StoredTensors:
    """Stored tensors of a graph, and which calls read them.

    Args:
        module: the graph.
    """

    def __init__(self, module: fx.GraphModule) -> None:
        self._tensors = state(module)
        calls = constant_calls(module, larger=True)
        self._bases: dict[fx.Node, Tensor] = {}
        for node in module.graph.nodes:
            base = base_of(node) if node.op == "get_attr" or node in calls else None
            if base is not None and base.target in self._tensors:
                self._bases[node] = self._tensors[str(base.target)]
        self._readings: dict[int, list[fx.Node]] = defaultdict(list)
        for node, tensor in self._bases.items():
            self._readings[id(tensor)] += [node for user in node.users if user not in self._bases]
        self._counts: dict[int, Tensor] = {}

    def is_exclusive(self, node: Any, calls: int) -> bool:
        """Whether a node is a stored tensor, or a view of one, that ``calls`` calls read and no others."""
        if node not in self._bases:
            return False
        tensor = self._bases[node]
        if len(self._readings[id(tensor)]) == calls:
            return part_of(tensor, node) is not None
        part = part_of(self._count(tensor), node)
        return part is not None and bool((part == calls).all())

    def is_whole(self, node: Any) -> bool:
        """Whether a node is a stored tensor itself that one call reads and no other."""
        return self.is_exclusive(node, 1) and node.op == "get_attr"

    def _count(self, tensor: Tensor) -> Tensor:
        """Count how often each element is read; a view that copies or repeats counts for all elements."""
        if id(tensor) not in self._counts:
            counts = self._counts[id(tensor)] = torch.zeros_like(
                tensor, dtype=torch.int32, requires_grad=False
            )
            for each in self._readings[id(tensor)]:
                part = part_of(counts, each)
                (counts if part is None else part).add_(1)
        return self._counts[id(tensor)]
