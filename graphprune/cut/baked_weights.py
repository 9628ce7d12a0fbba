"""Weights that a model computes from its parameters, and how they are cut.

Standardised, normalised and other re-parametrised layers compute a weight from stored tensors
alone. Their operators obey the same rules as on activations, with one difference: where an
operator takes statistics over an axis, or needs it whole, the axis isn't frozen but *needed whole*. If a
plan removes rows of an axis that is needed whole, the weight is *baked*: its dense value, with the rows removed,
is stored in the place of the calls that computed it. See ``docs/adr/0010-baked-weights.md``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.ir.nodes import is_continuous
from graphprune.ir.tensors import free_name
from graphprune.ops.float64 import Float64Interpreter, Tensors

from .slice_tensors import keep_rows

if TYPE_CHECKING:
    from graphprune.analysis.analyse import Analysis
    from graphprune.axes.kept import Kept

__all__ = ["baked_calls", "baked_results", "baked_sources", "baked_values"]


def baked_calls(analysis: Analysis, kept: Kept) -> dict[fx.Node, str]:
    """Find the calls whose results a cut has to store, with the names of the tensors to store them in.

    These are the last ones of the calls on stored tensors: an activation reads their result.
    """
    stored = analysis.constant_calls
    broken: set[fx.Node] = set()
    for node in analysis.module.graph.nodes:
        needed_whole = analysis.facts[node].needed_whole if node in analysis.facts else ()
        if node in stored and (
            any(not kept(axis).all() for axis in needed_whole)
            or not broken.isdisjoint(node.all_input_nodes)
        ):
            broken.add(node)
    names: dict[fx.Node, str] = {}
    for node in analysis.module.graph.nodes:
        if node in broken and any(user not in stored for user in node.users):
            names[node] = _name(analysis, node, set(names.values()))
    return names


def _name(analysis: Analysis, node: fx.Node, taken: set[str]) -> str:
    sources = baked_sources(analysis, [node])
    alike = (s for s in sources if analysis.tensors[s].shape == node.meta["val"].shape)
    return free_name(f"{next(alike, sources[0])}_baked", taken, analysis.tensors)


def baked_sources(analysis: Analysis, calls: Iterable[fx.Node]) -> list[str]:
    """List the names of the stored tensors that some calls are computed from, in graph order."""
    needed = _ancestors(calls)
    return [
        str(n.target)
        for n in analysis.module.graph.nodes
        if n in needed and n.target in analysis.tensors
    ]


def _ancestors(calls: Iterable[fx.Node]) -> set[fx.Node]:
    needed: set[fx.Node] = set()
    stack = list(calls)
    while stack:
        node = stack.pop()
        if node not in needed:
            needed.add(node)
            stack.extend(node.all_input_nodes)
    return needed


def baked_values(
    analysis: Analysis,
    kept: Kept,
    calls: Mapping[fx.Node, str],
    tensors: Tensors | None = None,
) -> dict[str, torch.Tensor]:
    """Compute the tensors that a cut stores: in float64, rounded once, without the rows removed.

    Args:
        analysis: of the dense graph.
        kept: the rows that stay.
        calls: see ``baked_calls``.
        tensors: dense values to use in place of the stored ones, by name.

    Returns:
        The tensors by name; a parameter where it is computed from one that can be trained.
    """
    if not calls:
        return {}
    values: dict[str, torch.Tensor] = {}
    alike: dict[tuple[str, ...], list[torch.Tensor]] = {}
    for (node, name), dense in zip(
        calls.items(), baked_results(analysis, calls, tensors), strict=True
    ):
        sources = tuple(baked_sources(analysis, [node]))
        value = _stored(analysis, node, kept, dense, sources)
        # One weight in two places, as in a layer that is called twice, stays one.
        twins = alike.setdefault(sources, [])
        twins.append(next((v for v in twins if torch.equal(v, value)), value))
        values[name] = twins[-1]
    return values


def _stored(
    analysis: Analysis, node: fx.Node, kept: Kept, dense: torch.Tensor, sources: Sequence[str]
) -> torch.Tensor:
    layout: Any = analysis.layouts[node]
    value = keep_rows(dense, layout, kept).to(node.meta["val"].dtype)
    tensors = [analysis.tensors[source] for source in sources]
    trained = [t for t in tensors if isinstance(t, torch.nn.Parameter)]
    if trained and is_continuous(value):
        return torch.nn.Parameter(value, any(t.requires_grad for t in trained))
    return value


def baked_results(
    analysis: Analysis, calls: Mapping[fx.Node, str], tensors: Tensors | None
) -> tuple[torch.Tensor, ...]:
    """Compute the dense results of calls on stored tensors, in float64."""
    graph, copies = fx.Graph(), {}
    needed = _ancestors(calls)
    for node in analysis.module.graph.nodes:
        if node in needed:
            copies[node] = graph.node_copy(node, lambda n: copies[n])
    graph.output(tuple(copies[node] for node in calls))
    with torch.no_grad():
        values: tuple[torch.Tensor, ...] = Float64Interpreter(
            fx.GraphModule(analysis.module, graph), tensors
        ).run()
    return values
