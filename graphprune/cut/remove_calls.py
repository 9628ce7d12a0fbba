"""Take out the calls that nothing needs once whole groups are gone, and put constants in their place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx

from graphprune.analysis.emptied import Emptied
from graphprune.ir.memory import written_operands
from graphprune.ir.nodes import bind, functional, set_argument
from graphprune.ir.tensors import add_tensor
from graphprune.ops import traits_of

if TYPE_CHECKING:
    from .cut import Cut

__all__ = ["remove_calls"]

aten = torch.ops.aten


def remove_calls(
    module: fx.GraphModule, cut: Cut, copies: dict[fx.Node, fx.Node]
) -> fx.GraphModule:
    """Remove calls from a copy of the analysed graph whose other calls are rewritten already.

    Args:
        module: the copy.
        cut: what is removed.
        copies: the node of the copy for each dense one; those that go are taken out.

    Returns:
        The smaller graph, with the tensors that it reads alone.
    """
    left = cut.left
    for old, name in cut.constants.items():
        add_tensor(module, name, cut.tensors[name])
        with module.graph.inserting_before(copies[old]):
            made = module.graph.get_attr(name)
            if old in left.spread:
                made = _spread(module.graph, old, made, cut, copies)
        for user in list(copies[old].users):
            _make_functional(user, copies[old], spread=old in left.spread)
        copies[old].replace_all_uses_with(made)
        module.graph.erase_node(copies[old])
        copies[old] = made
    for old in cut.analysis.nodes:
        if left.computed(old) and traits_of(old).concatenates:
            _leave_out(old, left, copies)
    for old in reversed(cut.analysis.nodes):
        if old.op == "placeholder" or left.computed(old) or old in cut.constants:
            continue
        if old in copies and not copies[old].users:
            module.graph.erase_node(copies.pop(old))
    return fx.GraphModule(module, module.graph)


def _spread(
    graph: fx.Graph, old: fx.Node, constant: fx.Node, cut: Cut, copies: Mapping[fx.Node, fx.Node]
) -> fx.Node:
    """Expand a constant to the size of the value that it stands for, in memory of its own."""
    sizes: list[Any] = []
    shape, layout, sources = old.meta["val"].shape, cut.analysis.layouts[old], cut.left.spread[old]
    for size, axis, source in zip(shape, layout, sources, strict=True):  # type: ignore[arg-type]
        if source is not None:
            sizes.append(graph.call_function(aten.sym_size.int, (copies[source.node], source.dim)))
        else:
            sizes.append(int(np.count_nonzero(cut.kept(axis))) if axis.shape[1] else int(size))
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
