"""Bytes of a network as functions of the widths: of its weights, and of the activations alive at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from graphprune.analysis.branch_costs import costs_left
from graphprune.axes.polynomial import Polynomial, total
from graphprune.ir.nodes import bind
from graphprune.ops import traits_of
from graphprune.ops.norm import BATCH_NORM
from graphprune.passes.latency.exported import ACTIVATIONS, Exported

if TYPE_CHECKING:
    from torch import fx

    from graphprune.analysis.analyse import Analysis
    from graphprune.analysis.emptied import Emptied

__all__ = ["folded_bytes", "peaks"]

Share = Callable[["fx.Node"], Polynomial]


def folded_bytes(
    analysis: Analysis, left: Emptied | None = None, *, depth: bool = False
) -> Polynomial:
    """Return the bytes of the weights after BatchNorm folding.

    Args:
        analysis: the analysis of the dense program.
        left: what is left of it, where branches are gone.
        depth: whether groups may go whole, so that a width may be 0.
    """
    exported = Exported(analysis, left)
    share = _shares(analysis, depth=depth)
    costs = analysis.branch_costs if depth else analysis.costs
    parts = [(costs if left is None else costs_left(analysis, left)).weight_bytes]
    biased: set[fx.Node] = set()
    for node in analysis.module.graph.nodes:
        if node.op == "get_attr" and not node.users:  # it isn't exported
            parts.append(exported.bytes(node).scaled(-1))
        site = exported.sites.of(node) if node.target is BATCH_NORM else None
        if site is None or not exported.runs(node):
            continue
        call = bind(node)
        vectors = [call[name] for name in ("weight", "bias", "running_mean", "running_var")]
        parts += [(exported.bytes(v) * share(node)).scaled(-1) for v in vectors if v is not None]
        for layer in site.layers:
            if bind(layer)["bias"] is None and layer not in biased:
                biased.add(layer)
                weight = bind(layer)["weight"]
                bias = exported.sizes(weight)[0].scaled(weight.meta["val"].element_size())
                parts.append(bias * share(layer))
    return total(parts)


def peaks(
    analysis: Analysis, left: Emptied | None = None, *, depth: bool = False
) -> tuple[Polynomial, ...]:
    """Return the bytes of activations alive during each call that may be the peak, per sample.

    A value is alive from the call that makes it to the last one that reads it. Views and
    element-wise operators computed in place need no memory of their own. Constants aren't
    counted, but where one is expanded to its full size; inputs are.

    Args:
        analysis: the analysis of the dense program.
        left: what is left of it, where branches are gone.
        depth: whether groups may go whole, so that a width may be 0.
    """
    exported = Exported(analysis, left)
    share = _shares(analysis, depth=depth)
    place: dict[fx.Node, fx.Node] = {}
    nodes = [
        n
        for n in analysis.module.graph.nodes
        if n.op in ("placeholder", "call_function")
        and (exported.runs(n) or (left is not None and n in left.spread))
        and n not in analysis.constant_calls
        and isinstance(analysis.layouts.get(n), tuple)
    ]
    for node in nodes:
        source = next((n for n in node.all_input_nodes if n in place), None)
        shared = source is not None and (
            exported.is_free(node)
            or (node.target in ACTIVATIONS and len(exported.readers(source)) == 1)
        )
        place[node] = place[source] if shared and source is not None else node
    order = {node: index for index, node in enumerate(nodes)}
    last = dict.fromkeys(place.values(), 0)
    for node in nodes:
        readers = [user for user in exported.readers(node) if not traits_of(user).metadata]
        end = max((order.get(user, len(nodes)) for user in readers), default=order[node])
        last[place[node]] = max(last[place[node]], end, order[node])
    batch = analysis.costs.batch
    sizes = {node: (exported.bytes(node) * share(node)).scaled(1 / batch) for node in last}
    found: list[Polynomial] = []
    for index, node in enumerate(nodes):
        if place[node] is node:
            alive = [n for n in last if order[n] <= index <= last[n]]
            found.append(total(sizes[n] for n in alive) * share(node))
    return _undominated(found)


def _shares(analysis: Analysis, *, depth: bool) -> Share:
    """Return, for a call, the polynomial that is 1 where a network without some branches makes it, else 0."""
    branches = analysis.removable.branches if depth else ()
    return lambda node: Polynomial.switch(
        b.lead for b in branches if b.takes(node) and node not in b.left.spread
    )


def _undominated(parts: Sequence[Polynomial]) -> tuple[Polynomial, ...]:
    """Leave out polynomials that are never the largest; no coefficient is negative."""
    kept: list[Polynomial] = []
    for part in sorted(parts, key=lambda p: -sum(p.terms.values())):
        if not any(
            all(other.terms.get(k, 0.0) >= v for k, v in part.terms.items()) for other in kept
        ):
            kept.append(part)
    return tuple(kept) or (Polynomial.constant(0),)
