"""Count the costs of a graph, as polynomials in the widths of its groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import sympy
import torch
from torch import fx

from graphprune.axes.labels import Labels
from graphprune.axes.layout import Layout
from graphprune.axes.polynomial import Costs, Polynomial, total
from graphprune.ir.sizes import size_hint

if TYPE_CHECKING:
    from graphprune.ops import Facts

    from .groups import Grouping

__all__ = ["batch_size", "count_costs", "macs"]

Share = Callable[[fx.Node], Polynomial]

_ONE = Polynomial.constant(1)


def macs(facts: Facts, labels: Labels, grouping: Grouping, batch: int) -> Polynomial:
    """Count the multiply-accumulates of a call per sample, as a polynomial in the widths."""
    parts = []
    for factor, axes in facts.macs:
        part = Polynomial.constant(factor / batch)
        for axis in axes:
            part *= grouping.size(labels.resolve(axis))
        parts.append(part)
    return total(parts)


def count_costs(
    module: fx.GraphModule,
    facts: Mapping[fx.Node, Facts],
    tensors: Mapping[str, torch.Tensor],
    axes: Mapping[str, Layout],
    labels: Labels,
    grouping: Grouping,
    *,
    calls: Share | None = None,
    stored: Callable[[str], Polynomial] | None = None,
) -> Costs:
    """Count the costs of a graph.

    Args:
        module: the graph.
        facts: of its calls.
        tensors: stored ones, by name.
        axes: their layouts.
        labels: the label store.
        grouping: the groups.
        calls: factor of a call's costs; by default 1.
        stored: factor of a stored tensor's size, by its name; by default 1.
    """
    batch = size_hint(batch_size(module))
    sizes: dict[int, Polynomial] = {}

    def volume(layout: Layout) -> Polynomial:
        out = _ONE
        for axis in layout:
            if id(axis) not in sizes:
                sizes[id(axis)] = grouping.size(labels.resolve(axis))
            out *= sizes[id(axis)]
        return out

    distinct = {id(t): name for name, t in reversed(dict(tensors).items())}
    volumes = {
        name: volume(axes[name]) * (_ONE if stored is None else stored(name))
        for name in distinct.values()
    }
    trainable = [n for n in volumes if isinstance(tensors[n], torch.nn.Parameter)]
    shares = {node: _ONE if calls is None else calls(node) for node in facts}
    results = [
        (volume(result) * shares[node]).scaled(node.meta["val"].element_size() / batch)
        for node, own in facts.items()
        if isinstance(result := own.result, tuple)
    ]
    return Costs(
        macs=total(
            macs(own, labels, grouping, batch) * shares[node] for node, own in facts.items()
        ),
        params=total(volumes[name] for name in trainable),
        weight_bytes=total(volumes[name].scaled(tensors[name].element_size()) for name in volumes),
        activation_bytes=total(results),
        batch=batch,
        symbols=tuple(
            sympy.Symbol(f"w[{g.id}]", integer=True, positive=True) for g in grouping.groups
        ),
    )


def batch_size(module: fx.GraphModule) -> int | torch.SymInt:
    """Return the number of samples in the inputs: the first symbolic leading dimension, or 1."""
    for node in module.graph.find_nodes(op="placeholder"):
        value = node.meta.get("val")
        leading = value.shape[:1] if isinstance(value, torch.Tensor) else ()
        if leading and isinstance(leading[0], torch.SymInt):
            return leading[0]
    return 1
