"""Sort the nodes of an ONNX graph, which some tools write in another order than they can run in."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from graphprune.export.node_reads import reads_of

if TYPE_CHECKING:
    import onnx

__all__ = ["sort_nodes"]


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Put every node of a graph behind those that it reads, in place; the order stays otherwise.

    A circle stays one, which the checker refuses.
    """
    nodes = list(graph.node)
    makers = {name: place for place, node in enumerate(nodes) for name in node.output if name}
    reads = [[makers[n] for n in reads_of(node) if n in makers] for node in nodes]
    if all(made < place for place, needed in enumerate(reads) for made in needed):
        return
    order: list[int] = []
    state = [0] * len(nodes)  # 1: begun, 2: placed
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            place = stack[-1]
            waiting = [n for n in reads[place] if state[n] == 0] if state[place] == 0 else []
            state[place] = max(state[place], 1)
            if waiting:
                stack.extend(reversed(waiting))
                continue
            stack.pop()
            if state[place] == 1:
                state[place] = 2
                order.append(place)
    copies = [copy.deepcopy(nodes[place]) for place in order]
    del graph.node[:]
    graph.node.extend(copies)
