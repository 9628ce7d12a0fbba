"""Take out the calls that nothing needs once whole groups are gone, and put constants in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import fx

from graphprune.analysis.analyse import Analysis
from graphprune.analysis.emptied import Emptied
from graphprune.axes.kept import Kept
from graphprune.ir.nodes import bind, functional, set_argument, written_operands
from graphprune.ir.tensors import set_tensor
from graphprune.ops import traits_of

__all__ = ["remove_calls"]

aten = torch.ops.aten


def remove_calls(
    module: fx.GraphModule,
    analysis: Analysis,
    kept: Kept,
    left: Emptied,
    constants: Mapping[fx.Node, str],
    tensors: Mapping[str, torch.Tensor],
    copies: dict[fx.Node, fx.Node],
) -> fx.GraphModule:
    """Remove calls from a copy of the analysed graph whose other calls are rewritten already.

    Args:
        module: the copy.
        analysis: of the dense graph.
        kept: the rows that stay.
        left: what is left of it.
        constants: calls whose results are constant, with the names of the tensors that are stored for them.
        tensors: these among others, by name.
        copies: the node of the copy for each dense one; those that go are taken out.

    Returns:
        The smaller graph, with the tensors that it reads alone.
    """
    for old, name in constants.items():
        _set(module, name, tensors[name])
        with module.graph.inserting_before(copies[old]):
            made = module.graph.get_attr(name)
            if old in left.spread:
                made = _spread(module.graph, old, made, analysis, kept, left, copies)
        for user in list(copies[old].users):
            _make_functional(user, copies[old], spread=old in left.spread)
        copies[old].replace_all_uses_with(made)
        module.graph.erase_node(copies[old])
        copies[old] = made
    for old in analysis.nodes:
        if left.computed(old) and traits_of(old).concatenates:
            _leave_out(old, left, copies)
    for old in reversed(analysis.nodes):
        if (
            old in copies
            and old.op != "placeholder"
            and not left.computed(old)
            and old not in constants
        ) and not copies[old].users:
            module.graph.erase_node(copies.pop(old))
    return fx.GraphModule(module, module.graph)


def _set(module: fx.GraphModule, name: str, tensor: torch.Tensor) -> None:
    path = name.rpartition(".")[0]
    if path and not _has_submodule(module, path):
        module.add_submodule(path, torch.nn.Module())
    set_tensor(module, name, tensor)


def _has_submodule(module: fx.GraphModule, path: str) -> bool:
    return any(name == path for name, _ in module.named_modules())


def _spread(
    graph: fx.Graph,
    old: fx.Node,
    constant: fx.Node,
    analysis: Analysis,
    kept: Kept,
    left: Emptied,
    copies: Mapping[fx.Node, fx.Node],
) -> fx.Node:
    """Expand a constant to the size of the value that it stands for, in memory of its own."""
    sizes: list[Any] = []
    layout: Any = analysis.layouts[old]
    for size, axis, source in zip(old.meta["val"].shape, layout, left.spread[old], strict=True):
        if source is not None:
            sizes.append(graph.call_function(aten.sym_size.int, (copies[source.node], source.dim)))
        else:
            sizes.append(int(np.count_nonzero(kept(axis))) if axis.shape[1] else int(size))
    wide = graph.call_function(aten.expand.default, (constant, sizes))
    return graph.call_function(
        aten.clone.default, (wide,), {"memory_format": torch.contiguous_format}
    )


def _make_functional(user: fx.Node, constant: fx.Node, *, spread: bool) -> None:
    """Let a call that would write its result into a constant make a new tensor."""
    if not spread and constant in written_operands(user):
        user.target = functional(user)


def _leave_out(old: fx.Node, left: Emptied, copies: Mapping[fx.Node, fx.Node]) -> None:
    """Leave pieces without rows out of a concatenation."""
    pieces = bind(old)["tensors"]
    if isinstance(pieces, fx.Node) or not any(piece in left.empty for piece in pieces):
        return
    rest = [copies[piece] for piece in pieces if piece not in left.empty]
    set_argument(copies[old], "tensors", rest)  # type: ignore[arg-type]
