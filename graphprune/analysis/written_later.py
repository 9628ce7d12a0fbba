"""Find values that later calls write into: a view among them must still be a view after a cut."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
from torch import fx

from graphprune.ir.memory import aliased, written_operands
from graphprune.ops import traits_of

__all__ = ["written_later"]


def written_later(nodes: Sequence[fx.Node]) -> frozenset[fx.Node]:
    """Find the values whose memory a call behind them writes into, through themselves or another view of it.

    Args:
        nodes: of a graph, in order.
    """
    writes = [(at, operand) for at, node in enumerate(nodes) for operand in written_operands(node)]
    if not writes:
        return frozenset()
    memory = nx.Graph()
    memory.add_nodes_from(nodes)
    memory.add_edges_from((node, each) for node in nodes for each in _sharing(node))
    owner = {node: i for i, part in enumerate(nx.connected_components(memory)) for node in part}
    last = {owner[operand]: at for at, operand in writes}  # in order: the last one stays
    return frozenset(node for at, node in enumerate(nodes) if last.get(owner[node], -1) > at)


def _sharing(node: fx.Node) -> list[fx.Node]:
    """List the operands whose memory a result may share, also by operators whose schemas don't say so."""
    traits = traits_of(node)
    passed = traits.identity or traits.view
    return [*aliased(node, stated=True), *(node.all_input_nodes[:1] if passed else ())]
