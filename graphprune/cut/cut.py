"""Cut: remove the channels a plan doesn't keep, physically.

Parameters and buffers are sliced; arguments that hold sizes are rewritten as the operator rules
say, and factors are inserted where they say that too. The graph that is cut is a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from graphprune.axes.labels import Axis
from graphprune.axes.layout import Layout
from graphprune.ir.nodes import bind
from graphprune.ir.program import clone, fingerprint, relift
from graphprune.ir.tensors import set_tensor
from graphprune.ops.facts import Facts

from .baked_weights import baked_calls, baked_values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch.export import ExportedProgram

    from graphprune.analysis.analyse import Analysis, Kept
    from graphprune.plan.plan import Plan

__all__ = [
    "cut", "cut_module", "cut_nodes", "slice_tensors", "spread_tensors",
]  # fmt: skip


def cut(program: ExportedProgram, analysis: Analysis, plan: Plan) -> ExportedProgram:
    """The program without the channels that the plan removes.

    Args:
        program: the dense program.
        analysis: its analysis.
        plan: made for this architecture; the weights may be others.

    Raises:
        MismatchError: if the plan was made for another architecture.
    """
    plan.check(
        fingerprint(analysis.module),
        {g.id: g.width for g in analysis.groups},
        allow_inexact=analysis.allow_inexact,
    )
    return relift(cut_module(analysis, analysis.kept(plan.keep)), program)


def cut_module(analysis: Analysis, kept: Kept) -> fx.GraphModule:
    """The analysed graph with its tensors sliced and its arguments rewritten.

    Shape metadata of the copy is stale; export it again, or propagate shapes, to refresh it.
    """
    return cut_nodes(analysis, kept)[0]


def cut_nodes(analysis: Analysis, kept: Kept) -> tuple[fx.GraphModule, dict[fx.Node, fx.Node]]:
    """``cut_module``, and its node for each node of the analysed graph whose value it computes."""
    module = clone(analysis.module)
    for name, tensor in slice_tensors(analysis.tensors, analysis.axes, kept).items():
        set_tensor(module, name, tensor)
    pairs = zip(analysis.module.graph.nodes, list(module.graph.nodes), strict=True)
    copies = dict(pairs)
    for old, new in copies.items():
        if old in analysis.facts:
            _rewrite(module, analysis.facts[old], old, new, copies, kept)
    module = _baked(module, analysis, kept, copies)
    module.graph.lint()
    module.recompile()
    return module, copies


def _baked(
    module: fx.GraphModule, analysis: Analysis, kept: Kept, copies: dict[fx.Node, fx.Node]
) -> fx.GraphModule:
    """Computed weights stored, and the calls and tensors that computed them left out."""
    values = baked_values(analysis, kept)
    if not values:
        return module
    for old, name in baked_calls(analysis, kept).items():
        set_tensor(module, name, values[name])
        with module.graph.inserting_before(copies[old]):
            stored = module.graph.get_attr(name)
        copies[old].replace_all_uses_with(stored)
        module.graph.erase_node(copies[old])
        copies[old] = stored
    for old in reversed(analysis.nodes):
        if (old in analysis.stored or old.op == "get_attr") and not copies[old].users:
            module.graph.erase_node(copies.pop(old))
    return fx.GraphModule(module, module.graph)  # takes along only the tensors that are read


def slice_tensors(
    tensors: Mapping[str, torch.Tensor], axes: Mapping[str, Layout], kept: Kept
) -> dict[str, torch.Tensor]:
    """The tensors that shrink, by name. Tensors that were one object stay one object."""
    done: dict[int, torch.Tensor] = {}
    out: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if id(tensor) not in done:
            done[id(tensor)] = _sliced(tensor, axes[name], kept)
        if done[id(tensor)] is not tensor:
            out[name] = done[id(tensor)]
    return out


def spread_tensors(
    tensors: Mapping[str, torch.Tensor],
    axes: Mapping[str, Layout],
    kept: Kept,
    values: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """The opposite of ``slice_tensors``: dense tensors with other values in the rows that are kept.

    Args:
        tensors: the dense ones.
        axes: their layouts.
        kept: the rows that stay.
        values: tensors of the cut network; those of other names or shapes are left out.
    """
    done: dict[int, torch.Tensor] = {}
    out: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if name not in values:
            continue
        if id(tensor) not in done:
            rows = [
                kept(axis) if axis.shape[1] else np.ones(len(axis), bool) for axis in axes[name]
            ]
            value = values[name].detach()
            if value.shape != tuple(map(np.count_nonzero, rows)):
                continue
            done[id(tensor)] = _spread(tensor, rows, value)
        out[name] = done[id(tensor)]
    return out


def _spread(
    tensor: torch.Tensor, rows: Sequence[NDArray[np.bool_]], value: torch.Tensor
) -> torch.Tensor:
    if not rows:
        return value
    indices = tuple(torch.from_numpy(index) for index in np.ix_(*map(np.flatnonzero, rows)))
    return tensor.detach().to(value).index_put(indices, value)


def _sliced(tensor: torch.Tensor, layout: Layout, kept: Kept) -> torch.Tensor:
    out = tensor.detach()
    for dim, axis in enumerate(layout):
        if axis.shape[1] and not (rows := kept(axis)).all():
            index = torch.from_numpy(np.flatnonzero(rows)).to(out.device)
            out = out.index_select(dim, index)
    if out.shape == tensor.shape:
        return tensor
    if isinstance(tensor, torch.nn.Parameter):
        return torch.nn.Parameter(out, requires_grad=tensor.requires_grad)
    return out


def _rewrite(
    module: fx.GraphModule,
    facts: Facts,
    old: fx.Node,
    new: fx.Node,
    copies: Mapping[fx.Node, fx.Node],
    kept: Kept,
) -> None:
    found = facts.replacement(kept) if facts.replacement is not None else None
    target, arguments = found if found is not None else (old.target, bind(old))
    changed = {name: value(kept) for name, value in facts.rewrites.items()}
    factors = {name: factor(kept) for name, factor in facts.scales.items()}
    after = factors.pop("", 1.0)
    if (
        found is not None
        or any(arguments[n] != value for n, value in changed.items())
        or any(factor != 1 for factor in factors.values())
    ):
        copied: dict[str, Any] = {}
        for name, value in (arguments | changed).items():
            if isinstance(value, np.ndarray):
                copied[name] = _stored(module, new, value)
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


def _stored(module: fx.GraphModule, before: fx.Node, rows: Axis) -> fx.Node:
    """An index tensor as a buffer of the module, read just before a node."""
    name = f"rows_of_{before.name}"
    module.register_buffer(name, torch.from_numpy(np.ascontiguousarray(rows)))
    with module.graph.inserting_before(before):
        return module.graph.get_attr(name)
