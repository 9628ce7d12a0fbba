"""Rewrite a graph for smaller tensors: size arguments, groups, factors, indices.

What changes in a call is stated by the rule of its operator (``ops/facts.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.axes.kept import Kept
from graphprune.axes.labels import Axis
from graphprune.ir.nodes import bind
from graphprune.ir.program import clone
from graphprune.ir.tensors import set_tensor
from graphprune.ops.facts import Facts

__all__ = ["rewrite_graph"]


def rewrite_graph(
    analysis: Analysis,
    kept: Kept,
    tensors: Mapping[str, torch.Tensor],
    baked: Mapping[fx.Node, str],
) -> tuple[fx.GraphModule, dict[fx.Node, fx.Node]]:
    """Copy the analysed graph with smaller tensors and the arguments that go with them.

    Shape metadata of the copy is stale; export it again, or propagate shapes, to refresh it.

    Args:
        analysis: of the dense graph.
        kept: the rows that stay.
        tensors: the tensors that change, by name, those of ``baked`` among them.
        baked: calls that are replaced by a stored tensor, with its name.

    Returns:
        The copy, and its node for each node of the dense graph whose value it computes.
    """
    module = clone(analysis.module)
    for name, tensor in tensors.items():
        if name not in baked.values():
            set_tensor(module, name, tensor)
    copies = dict(zip(analysis.module.graph.nodes, list(module.graph.nodes), strict=True))
    for old, new in copies.items():
        if old in analysis.facts:
            _rewrite(module, analysis.facts[old], old, new, copies, kept)
    if baked:
        module = _store(module, analysis, tensors, baked, copies)
    module.graph.lint()
    module.recompile()
    return module, copies


def _store(
    module: fx.GraphModule,
    analysis: Analysis,
    tensors: Mapping[str, torch.Tensor],
    baked: Mapping[fx.Node, str],
    copies: dict[fx.Node, fx.Node],
) -> fx.GraphModule:
    """Replace calls by stored tensors; drop the calls and tensors these came from."""
    for old, name in baked.items():
        set_tensor(module, name, tensors[name])
        with module.graph.inserting_before(copies[old]):
            stored = module.graph.get_attr(name)
        copies[old].replace_all_uses_with(stored)
        module.graph.erase_node(copies[old])
        copies[old] = stored
    for old in reversed(analysis.nodes):
        if (old in analysis.constant_calls or old.op == "get_attr") and not copies[old].users:
            module.graph.erase_node(copies.pop(old))
    return fx.GraphModule(module, module.graph)  # takes along only the tensors that are read


def _rewrite(
    module: fx.GraphModule,
    facts: Facts,
    old: fx.Node,
    new: fx.Node,
    copies: Mapping[fx.Node, fx.Node],
    kept: Kept,
) -> None:
    replacement = facts.replacement(kept) if facts.replacement is not None else None
    target, arguments = replacement if replacement is not None else (old.target, bind(old))
    changed = {name: value(kept) for name, value in facts.rewrites.items()}
    factors = {name: factor(kept) for name, factor in facts.scales.items()}
    after = factors.pop("", 1.0)
    if (
        replacement is not None
        or any(arguments[n] != value for n, value in changed.items())
        or any(factor != 1 for factor in factors.values())
    ):
        copied: dict[str, Any] = {}
        for name, value in (arguments | changed).items():
            if isinstance(value, np.ndarray):
                copied[name] = _index(module, new, value)
            else:
                copied[name] = fx.map_arg(value, lambda n: copies.get(n, n))
        for name, factor in factors.items():
            with module.graph.inserting_before(new):
                copied[name] = _times(module.graph, copied[name], factor)
        new.target = target
        new.args, new.kwargs = _by_schema(target, copied)
    if after != 1:
        with module.graph.inserting_after(new):
            scaled = _times(module.graph, new, after)
        new.replace_all_uses_with(scaled, lambda user: user is not scaled)


def _times(graph: fx.Graph, node: fx.Node, factor: float) -> fx.Node:
    return graph.call_function(torch.ops.aten.mul.Tensor, (node, factor))


def _by_schema(target: Any, arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    schema = target._schema.arguments
    args = [arguments.get(a.name, a.default_value) for a in schema if not a.kwarg_only]
    kwargs = {
        a.name: arguments[a.name]
        for a in schema
        if a.kwarg_only and a.name in arguments and arguments[a.name] != a.default_value
    }
    return tuple(args), kwargs


def _index(module: fx.GraphModule, before: fx.Node, rows: Axis) -> fx.Node:
    """Store an index tensor as a buffer of the module, read just before a node."""
    name = f"rows_of_{before.name}"
    module.register_buffer(name, torch.from_numpy(np.ascontiguousarray(rows)))
    with module.graph.inserting_before(before):
        return module.graph.get_attr(name)
