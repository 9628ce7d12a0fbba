"""Leave outputs out of a program, and all that only they need."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from torch import fx
from torch.export import ExportedProgram

from graphprune.errors import InternalError

from .private_torch import OpOverload, pytree, schema_of, set_output_spec
from .program import unguarded
from .relift import relift

__all__ = ["keep_outputs"]


def keep_outputs(program: ExportedProgram, numbers: Collection[int]) -> ExportedProgram:
    """Make the part of a program that some of its outputs need.

    It takes the same inputs. A single output comes back as it is, several as a tuple, in the program's order.

    Args:
        program: isn't changed.
        numbers: which outputs stay, of the flat ones; at least one.

    Raises:
        TraceError: if torch can't export what is left.
    """
    module = unguarded(program)
    (output,) = module.graph.find_nodes(op="output")
    leaves = pytree.tree_leaves(output.args[0])
    kept = tuple(leaves[number] for number in sorted(numbers))
    if not kept:
        raise InternalError("a program without outputs was asked for")
    single = len(kept) == 1
    output.args = (kept,)
    set_output_spec(module.graph, pytree.tree_structure(kept[0] if single else tuple(kept)))
    _remove_dead_calls(module.graph)
    small = fx.GraphModule(module, module.graph)  # with the tensors that it reads alone
    return relift(small, program)


def _remove_dead_calls(graph: fx.Graph) -> None:
    """Remove what the outputs don't need; a call that writes is needed where what it writes into is read."""
    nodes = list(graph.nodes)
    needed = set[fx.Node]()
    memory = set[fx.Node]()
    grown = True
    while grown:
        grown = False
        for node in reversed(nodes):
            if node in needed or not (
                node.op in ("output", "placeholder")
                or any(user in needed for user in node.users)
                or any(
                    not memory.isdisjoint(own := _memory(value))
                    or any(each.op in ("placeholder", "get_attr") for each in own)
                    for value in _written(node)
                )
            ):
                continue
            needed.add(node)
            memory |= _memory(node)
            grown = True
    for node in reversed(nodes):
        if node not in needed:
            graph.erase_node(node)


def _written(node: fx.Node) -> list[fx.Node]:
    """List the values that a call writes into."""
    return list(_aliased(node, writes_only=True))


def _memory(node: fx.Node) -> set[fx.Node]:
    """List the earlier values that a value may share memory with, itself included."""
    found, todo = {node}, [node]
    while todo:
        new = set(_aliased(todo.pop())) - found
        found |= new
        todo += new
    return found


def _aliased(node: fx.Node, *, writes_only: bool = False) -> Iterable[fx.Node]:
    """List the operands whose memory a call's result may share, or that it writes into."""
    if node.op != "call_function":
        return [] if node.op in ("placeholder", "get_attr", "output") else node.all_input_nodes
    target: Any = node.target
    if not isinstance(target, OpOverload):  # an item of a list, or a call with subgraphs
        return [] if writes_only and not hasattr(target, "namespace") else node.all_input_nodes
    found: list[fx.Node] = []
    for place, argument in enumerate(schema_of(target).arguments):
        alias = argument.alias_info
        if alias is None or (writes_only and not alias.is_write):
            continue
        value = node.kwargs.get(argument.name, node.args[place] if place < len(node.args) else None)
        found += [each for each in pytree.tree_leaves(value) if isinstance(each, fx.Node)]
    return found
