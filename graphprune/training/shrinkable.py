"""Rows of parameters that mustn't become zero, as the model computes weights from them that would be NaN.

Weight normalisation divides by the norm of a row, weight standardisation by its deviation: what they compute doesn't
shrink with the row, and at zero it, or its gradient, isn't a number. Each is tried, with one row of zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn

from graphprune.analysis.analyse import Analysis
from graphprune.cut.baked_weights import baked_sources
from graphprune.ir.nodes import is_continuous

__all__ = ["unshrinkable"]


def unshrinkable(analysis: Analysis) -> frozenset[tuple[int, int]]:
    """Find axes of parameters, by ``id`` and dimension, of which a row of zeros makes a computed weight NaN."""
    stored = analysis.constant_calls
    last = [
        node
        for node in analysis.module.graph.nodes
        if node in stored and any(user not in stored for user in node.users)
    ]
    names = {name: analysis.tensors[name] for name in baked_sources(analysis, last)}
    found: set[tuple[int, int]] = set()
    for tensor in names.values():
        if isinstance(tensor, nn.Parameter) and is_continuous(tensor):
            axes = [dim for dim in range(tensor.ndim) if (id(tensor), dim) not in found]
            found |= {(id(tensor), dim) for dim in axes if not _stands(analysis, last, tensor, dim)}
    return frozenset(found)


def _stands(analysis: Analysis, last: list[fx.Node], tensor: Tensor, dim: int) -> bool:
    """Whether the computed weights and their gradients are finite if the first row of an axis is zero."""
    index = torch.zeros(1, dtype=torch.int64, device=tensor.device)
    leaf = tensor.detach().index_fill(dim, index, 0).requires_grad_()
    given = {name: leaf for name, own in analysis.tensors.items() if own is tensor}
    needed = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in analysis.module.graph.nodes:
        if node.op == "get_attr" or node in analysis.constant_calls:
            copies[node] = needed.node_copy(node, lambda n: copies[n])
    needed.output(tuple(copies[node] for node in last))
    with torch.enable_grad():
        values = [
            value
            for value in _Stored(fx.GraphModule(analysis.module, needed), given).run()
            if is_continuous(value) and value.requires_grad
        ]
        draw = torch.Generator().manual_seed(0)
        weights = [torch.randn(v.shape, generator=draw).to(v) for v in values]
        grads = torch.autograd.grad(values, [leaf], weights, allow_unused=True) if values else ()
    return all(bool(t.isfinite().all()) for t in (*values, *grads) if t is not None)


class _Stored(fx.Interpreter):
    """Runs calls on copies of stored tensors, some of which are given; gradients flow to these."""

    def __init__(self, module: fx.GraphModule, given: Mapping[str, Tensor]) -> None:
        super().__init__(module)
        self._given = given

    def get_attr(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Read a copy of a stored tensor, or the one given in its place."""
        if target in self._given:
            return self._given[target].clone()
        value = super().get_attr(target, args, kwargs)
        return value.detach().clone() if isinstance(value, Tensor) else value
