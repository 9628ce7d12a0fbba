"""Rewrite a graph for smaller tensors: size arguments, groups, factors, indices.

What changes in a call is stated by the rule of its operator (``ops/facts.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx

from graphprune.axes.kept import Kept
from graphprune.axes.labels import Axis
from graphprune.ir.nodes import bind
from graphprune.ir.private_torch import schema_of
from graphprune.ir.program import clone
from graphprune.ir.tensors import set_tensor
from graphprune.ops.facts import Facts

from .remove_calls import remove_calls

if TYPE_CHECKING:
    from .cut import Cut

__all__ = ["NewCall", "new_call", "rewrite_graph"]


def rewrite_graph(cut: Cut) -> tuple[fx.GraphModule, dict[fx.Node, fx.Node]]:
    """Copy the analysed graph with smaller tensors and the arguments that go with them.

    Shape metadata of the copy is stale; export it again, or propagate shapes, to refresh it.

    Args:
        cut: what is removed.

    Returns:
        The copy, and its node for each node of the dense graph whose value it computes.
    """
    analysis = cut.analysis
    module = clone(analysis.module)
    stored = {*cut.baked.values(), *cut.constants.values()}
    for name, tensor in cut.tensors.items():
        if name not in stored:
            set_tensor(module, name, tensor)
    copies = dict(zip(analysis.module.graph.nodes, list(module.graph.nodes), strict=True))
    for old, new in copies.items():
        if old in analysis.facts and cut.left.computed(old):
            _rewrite(module, analysis.facts[old], old, new, copies, cut.kept)
    if cut.baked:
        module = _store_baked(module, cut, copies)
    if cut.left.gone:
        module = remove_calls(module, cut, copies)
    module.graph.lint()
    module.recompile()
    return module, copies


def _store_baked(
    module: fx.GraphModule, cut: Cut, copies: dict[fx.Node, fx.Node]
) -> fx.GraphModule:
    """Replace calls by stored tensors; drop the calls and tensors these came from."""
    for old, name in cut.baked.items():
        set_tensor(module, name, cut.tensors[name])
        with module.graph.inserting_before(copies[old]):
            stored = module.graph.get_attr(name)
        copies[old].replace_all_uses_with(stored)
        module.graph.erase_node(copies[old])
        copies[old] = stored
    for old in reversed(cut.analysis.nodes):
        computed = old in cut.analysis.constant_calls or old.op == "get_attr"
        if computed and not copies[old].users:
            module.graph.erase_node(copies.pop(old))
    return fx.GraphModule(module, module.graph)  # takes along only the tensors that are read


@dataclass(frozen=True)
class NewCall:
    """What stands in the place of a call in a cut graph.

    Attributes:
        target: the operator.
        arguments: by name. Nodes are those of the dense graph; an array is an index to be stored.
        factors: what an argument, or the result (``""``), is multiplied by, where that isn't 1.
        changed: whether the operator or an argument is another one.
    """

    target: Any
    arguments: Mapping[str, Any]
    factors: Mapping[str, float]
    changed: bool


def new_call(node: fx.Node, facts: Facts, kept: Kept) -> NewCall:
    """Find what a cut makes of a call.

    Args:
        node: the call, in the dense graph.
        facts: what its rule said.
        kept: the rows that stay.
    """
    replacement = facts.replacement(kept) if facts.replacement is not None else None
    target, arguments = replacement if replacement is not None else (node.target, bind(node))
    new = {name: value(kept) for name, value in facts.rewrites.items()}
    factors = {name: factor(kept) for name, factor in facts.scales.items()}
    changed = replacement is not None or any(arguments[n] != value for n, value in new.items())
    return NewCall(target, arguments | new, {n: f for n, f in factors.items() if f != 1}, changed)


def _rewrite(
    module: fx.GraphModule,
    facts: Facts,
    old: fx.Node,
    new: fx.Node,
    copies: Mapping[fx.Node, fx.Node],
    kept: Kept,
) -> None:
    call = new_call(old, facts, kept)
    factors = dict(call.factors)
    after = factors.pop("", 1.0)
    if call.changed or factors:
        copied: dict[str, Any] = {}
        for name, value in call.arguments.items():
            if isinstance(value, np.ndarray):
                copied[name] = _index(module, new, value)
            else:
                copied[name] = fx.map_arg(value, lambda n: copies.get(n, n))
        for name, factor in factors.items():
            with module.graph.inserting_before(new):
                copied[name] = _times(module.graph, copied[name], factor)
        new.target = call.target
        new.args, new.kwargs = _by_schema(call.target, copied)
    if after != 1:
        with module.graph.inserting_after(new):
            scaled = _times(module.graph, new, after)
        new.replace_all_uses_with(scaled, lambda user: user is not scaled)


def _times(graph: fx.Graph, node: fx.Node, factor: float) -> fx.Node:
    return graph.call_function(torch.ops.aten.mul.Tensor, (node, factor))


def _by_schema(target: Any, arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    schema = schema_of(target).arguments
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
