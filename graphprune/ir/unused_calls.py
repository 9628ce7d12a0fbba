"""Drop calls whose results nothing uses, such as figures that a forward computes for debugging.

torch.export keeps them in its graph. There they would freeze what they read, as an ``argmax`` or a ``sort`` does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

__all__ = ["drop_unused_calls"]


def drop_unused_calls(module: fx.GraphModule) -> None:
    """Erase the calls from which no output and no written value follows, in place.

    A layer whose result is unused stays, with all that is computed from it: the user's code goes on calling it, so
    its weights have to follow a cut.

    Args:
        module: an unlifted graph. Its tensors stay, and so do numbers such as sizes.
    """
    unused = _unused(module)
    weights = {n for n in module.graph.find_nodes(op="get_attr") if n.users.keys() <= unused}
    layers: set[fx.Node] = set()
    for node in module.graph.nodes:
        if node in unused and not (weights | layers).isdisjoint(node.all_input_nodes):
            layers.add(node)
    for node in reversed(module.graph.nodes):
        if node in unused and node not in layers and _gives_tensors(node) and not node.users:
            module.graph.erase_node(node)


def _unused(module: fx.GraphModule) -> set[fx.Node]:
    """Find the calls that neither an output nor a call with an effect needs."""
    unused: set[fx.Node] = set()
    for node in reversed(module.graph.nodes):
        if node.op == "call_function" and node.users.keys() <= unused and not node.is_impure():
            unused.add(node)
    return unused


def _gives_tensors(node: fx.Node) -> bool:
    value: Any = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(each, torch.Tensor) for each in values)
