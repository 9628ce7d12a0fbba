"""Leave outputs out of a program, and all that only they need."""

from __future__ import annotations

from collections.abc import Collection

from torch import fx
from torch.export import ExportedProgram

from graphprune.errors import InternalError

from .memory import shared_memory, written_operands
from .private_torch import HigherOrderOperator, pytree, set_output_spec
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
            if node not in needed and _is_needed(node, needed, memory):
                needed.add(node)
                memory |= shared_memory(node, stated=True)
                grown = True
    for node in reversed(nodes):
        if node not in needed:
            graph.erase_node(node)


def _is_needed(node: fx.Node, needed: set[fx.Node], memory: set[fx.Node]) -> bool:
    """Whether a node is needed, as far as others are known to be, which hold some values' memory."""
    if node.op in ("output", "placeholder") or not needed.isdisjoint(node.users):
        return True
    written = [shared_memory(value, stated=True) for value in _written(node)]
    lasting = any(each.op in ("placeholder", "get_attr") for own in written for each in own)
    return lasting or any(not memory.isdisjoint(own) for own in written)


def _written(node: fx.Node) -> list[fx.Node]:
    """List the values that a call writes into; one with subgraphs may write into all that it takes."""
    if isinstance(node.target, HigherOrderOperator):
        return node.all_input_nodes
    return written_operands(node)
