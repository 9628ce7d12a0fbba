"""Results that become constants when whole branches go, and the tensors that a cut stores for them.

A layer that sums over nothing gives its bias, wherever it is; BatchNorms and element-wise calls behind it give
one number for each channel too (``analysis/emptied.py``). The cut stores the last such result, which
broadcasts to the size of the value it stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from graphprune.errors import InternalError
from graphprune.ir.nodes import bind, is_continuous
from graphprune.ir.tensors import free_name
from graphprune.ops import Form, form_of
from graphprune.ops.float64 import Float64Interpreter, Tensors

from .slice_tensors import keep_rows

if TYPE_CHECKING:
    from graphprune.analysis.analyse import Analysis
    from graphprune.analysis.emptied import Emptied
    from graphprune.axes.kept import Kept

__all__ = ["constant_names", "constant_sources", "constant_values", "end_layer"]

aten = torch.ops.aten


def constant_names(analysis: Analysis, left: Emptied) -> dict[fx.Node, str]:
    """Name the tensors that a cut stores for constant results, after the layers that gave them."""
    names: dict[fx.Node, str] = {}
    for node in left.stored:
        if not any(left.computed(user) for user in node.users):
            continue
        layer = end_layer(node, left)
        weight = bind(layer)[_form(layer).weight]
        while weight.op != "get_attr":
            weight = weight.all_input_nodes[0]
        path = str(weight.target).rpartition(".")[0]
        base = f"{path}.constant" if path else "constant"
        names[node] = free_name(base, names.values(), analysis.tensors)
    return names


def end_layer(node: fx.Node, left: Emptied) -> fx.Node:
    """Find the layer without inputs that a constant result comes from; the last, if there are several."""
    seen: set[fx.Node] = set()
    stack = [node]
    while stack:
        each = stack.pop()
        if each not in seen:
            seen.add(each)
            stack += () if each in left.closed else each.all_input_nodes
    return max(each for each in seen if each in left.closed)


def _form(node: fx.Node) -> Form:
    form = form_of(node)
    if form is None:
        raise InternalError(f"{node} is no layer")
    return form


def constant_sources(analysis: Analysis, left: Emptied, nodes: Sequence[fx.Node]) -> list[str]:
    """List the names of the stored tensors that constant results are computed from."""
    graph, _ = _small_graph(analysis, left, nodes)
    return [
        str(n.target) for n in graph.nodes if n.op == "get_attr" and n.target in analysis.tensors
    ]


def constant_values(
    analysis: Analysis,
    left: Emptied,
    kept: Kept,
    names: Mapping[fx.Node, str],
    tensors: Tensors | None = None,
    dtype: torch.dtype | None = None,
) -> dict[str, torch.Tensor]:
    """Compute the constant results: in float64, rounded once, without the rows removed.

    Args:
        analysis: of the dense graph.
        left: what is left of it.
        kept: the rows that stay.
        names: see ``constant_names``.
        tensors: dense values to use in place of the stored ones, by name.
        dtype: of the constants; by default that of the values they stand for.

    Returns:
        The tensors by name, of size 1 along all axes but those of channels; a parameter where the result
        is computed from one that can be trained.
    """
    if not names:
        return {}
    graph, sources = _small_graph(analysis, left, list(names))
    with torch.no_grad():
        values: Sequence[torch.Tensor] = Float64Interpreter(
            fx.GraphModule(analysis.module, graph), tensors
        ).run()
    found: dict[str, torch.Tensor] = {}
    for (node, name), value in zip(names.items(), values, strict=True):
        layout: Any = analysis.layouts[node]
        small = keep_rows(value, layout, kept).to(dtype or node.meta["val"].dtype)
        trained = [analysis.tensors[s] for s in sources[node]]
        trained = [t for t in trained if isinstance(t, torch.nn.Parameter)]
        is_parameter = is_continuous(small) and bool(trained or not sources[node])
        free = any(t.requires_grad for t in trained) or not trained
        found[name] = torch.nn.Parameter(small, free) if is_parameter else small
    return found


def _small_graph(
    analysis: Analysis, left: Emptied, nodes: Sequence[fx.Node]
) -> tuple[fx.Graph, dict[fx.Node, set[str]]]:
    """Make a graph that computes constant results, and list what stored tensors each is made of."""
    graph, copies = fx.Graph(), dict[fx.Node, fx.Node]()
    sources: dict[fx.Node, set[str]] = {}

    def copy(node: fx.Node) -> fx.Node:
        if node in copies:
            return copies[node]
        if node in left.closed:
            made, operands = _bias_alone(graph, node, copy)
        else:
            operands = node.all_input_nodes
            for each in operands:
                copy(each)
            made = graph.node_copy(node, copies.__getitem__)
            made.meta = {}
        copies[node] = made
        sources[node] = set().union(*(sources[n] for n in operands))
        if node.op == "get_attr":
            sources[node].add(str(node.target))
        return made

    graph.output(tuple(copy(node) for node in nodes))
    return graph, sources


def _bias_alone(
    graph: fx.Graph, node: fx.Node, copy: Callable[[fx.Node], fx.Node]
) -> tuple[fx.Node, list[fx.Node]]:
    """Make the result of a layer without inputs: its bias, of size 1 along all other axes.

    Args:
        graph: where it is made.
        node: the layer.
        copy: gives the node of ``graph`` that computes a node of the dense graph.

    Returns:
        The result, and the nodes of the dense graph that it is made of.
    """
    form, call, value = _form(node), bind(node), node.meta["val"]
    channel = form.channel % value.ndim
    size = [1] * value.ndim
    size[channel] = int(value.shape[channel])
    bias = call[form.bias] if form.bias else None
    if bias is None:
        return graph.call_function(aten.zeros.default, (size,), {"dtype": value.dtype}), []
    made = copy(bias)
    if form.is_layer:
        made = graph.call_function(aten.reshape.default, (made, size))
    else:
        own = bias.meta["val"].shape
        lead = [1] * (value.ndim - len(own))
        made = graph.call_function(aten.reshape.default, (made, [*lead, *own]))
    if call.get("beta", 1) != 1:
        made = graph.call_function(aten.mul.Scalar, (made, call["beta"]))
    return made, [bias]
