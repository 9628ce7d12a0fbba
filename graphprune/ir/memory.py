"""Which values of a graph share memory, and what a call writes into."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from .nodes import bind
from .private_torch import OpOverload, is_composite, pytree, schema_of

__all__ = [
    "aliased",
    "shared_memory",
    "writes",
    "writes_into_shared",
    "written_nodes",
    "written_operands",
]


def writes(node: fx.Node) -> bool:
    """Whether a call writes into one of its operands; ``detach_``, as behind ``torch.tensor``, changes no value."""
    return (
        isinstance(node.target, OpOverload)
        and schema_of(node.target).is_mutable
        and node.target is not torch.ops.aten.detach_.default
    )


def written_operands(node: fx.Node) -> list[fx.Node]:
    """List the operands that a call writes into, as its schema states them."""
    if not writes(node):
        return []
    target: Any = node.target
    written = [a for a in schema_of(target).arguments if a.alias_info and a.alias_info.is_write]
    return _nodes_in([bind(node)[argument.name] for argument in written])


def writes_into_shared(node: fx.Node) -> bool:
    """Whether a call writes into a value that others may read: another call does, or it may be a view."""
    return any(len(each.users) > 1 or not _is_own(each) for each in written_operands(node))


def _is_own(node: fx.Node) -> bool:
    """Whether a value shares no memory with what it is computed from, by its call's schema."""
    if not isinstance(node.target, OpOverload):
        return False
    schema = schema_of(node.target)
    return all(each.alias_info is None for each in (*schema.arguments, *schema.returns))


def written_nodes(module: fx.GraphModule) -> set[fx.Node]:
    """Find nodes whose values a call may write into: its operands, and what shares their memory; stored tensors too."""
    operands = [operand for node in module.graph.nodes for operand in written_operands(node)]
    return set().union(*map(shared_memory, operands))


def shared_memory(node: fx.Node, *, stated: bool = False) -> set[fx.Node]:
    """Find the earlier values that a value may share memory with, itself included.

    Args:
        node: the value.
        stated: look only for what schemas state. They don't say that ``type_as`` may return its operand as it is; but
            that can't be told from ``linear``, which never does.
    """
    found, todo = {node}, [node]
    while todo:
        new = set(aliased(todo.pop(), stated=stated)) - found
        found |= new
        todo += new
    return found


def aliased(node: fx.Node, *, stated: bool) -> list[fx.Node]:
    """List the operands whose memory a call's result may share."""
    if not isinstance(node.target, OpOverload):  # an item of a list, or a call with subgraphs
        return [] if node.op == "output" else node.all_input_nodes
    shared = [a.name for a in schema_of(node.target).arguments if a.alias_info is not None]
    if not (shared or stated) and is_composite(node.target):
        return _nodes_in(node.args[:1])
    return _nodes_in([bind(node)[name] for name in shared])


def _nodes_in(value: Any) -> list[fx.Node]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, fx.Node)]
