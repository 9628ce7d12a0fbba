"""What a cut changes in the ATen calls of each ONNX node: the calls that stand there then, and their sizes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import fx

from graphprune.cut.cut import Cut
from graphprune.cut.rewrite_graph import NewCall, new_call
from graphprune.export.node_reads import graphs_of, inner_nodes, reads_of
from graphprune.ir.nodes import bind, source_line

from .stored_numbers import EditError

if TYPE_CHECKING:
    import onnx

__all__ = ["SIZES", "Change", "changed_values", "changes_by_node", "makes_tensors", "position"]

SIZES = frozenset({"shape", "size"})
"""Arguments of views and expansions."""


@dataclass(frozen=True)
class Change:
    """What a cut makes of one ATen call.

    Attributes:
        node: the call, in the dense graph.
        call: what stands there in the cut graph.
        dense_sizes: of its (first) result, on the example inputs.
        sizes: the same after the cut.
    """

    node: fx.Node
    call: NewCall
    dense_sizes: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def before(self) -> Mapping[str, Any]:
        """The arguments of the dense call, by name."""
        return bind(self.node)

    @property
    def of_sizes(self) -> bool:
        """Whether the call changes by nothing but lists of sizes, which the node's inputs have anyway."""
        before, after = self.before, self.call.arguments
        same = self.call.target is self.node.target and before.keys() == after.keys()
        return same and all(
            name in SIZES
            or before[name] is after[name]
            or np.array_equal(before[name], after[name])
            for name in before
        )

    def entries(self, name: str) -> dict[int, int]:
        """Find the numbers that change in a list argument, which a call without changes may lack.

        Raises:
            EditError: if a call changes that has no such argument.
        """
        if name not in self.before:
            if self.call.changed:
                raise EditError(f"a node is computed by {self.node.target}, which changes")
            return {}
        pairs = zip(self.before[name], self.call.arguments[name], strict=True)
        return {i: new for i, (old, new) in enumerate(pairs) if old is not new and old != new}

    def whole(self, name: str) -> list[int] | None:
        """List all numbers of a list argument, if no more than one depends on the inputs: -1."""
        listed = self.call.arguments.get(name)
        if listed is None:
            return None
        numbers = [-1 if isinstance(n, fx.Node) else n for n in listed]
        return numbers if numbers.count(-1) <= 1 else None


def changes_by_node(cut: Cut) -> dict[int, list[Change]]:
    """Group what the cut makes of calls by the position of the node that they compute."""
    found: dict[int, list[Change]] = defaultdict(list)
    for node, facts in cut.analysis.facts.items():
        # Arithmetic on sizes needs no edit, and what isn't copied went into a baked tensor.
        if makes_tensors(node) and node in cut.copies and cut.left.computed(node):
            new = new_call(node, facts, cut.kept)
            change = Change(node, new, *_sizes(node, cut))
            found[position(node)].append(change)
    return found


def changed_values(
    nodes: Sequence[onnx.NodeProto], found: Mapping[int, Sequence[Change]], stored: Collection[str]
) -> set[str]:
    """List the values whose sizes may change: also those of nodes that are no call, such as Identity.

    Args:
        nodes: of the file's graph, in its order, without those in bodies.
        found: see ``changes_by_node``.
        stored: names of the stored tensors that are sliced.
    """
    names = set(stored)
    every = [*nodes, *inner_nodes(nodes)]
    numbers = {id(node): number for number, node in enumerate(every)}
    for node in _bodies_first(nodes):
        changes = found.get(numbers[id(node)])
        if (
            not names.isdisjoint(reads_of(node))
            if changes is None
            else any(each.call.changed or each.sizes != each.dense_sizes for each in changes)
        ):
            names.update(node.output)
    return names


def _bodies_first(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    """Iterate over nodes, each after those of its bodies."""
    for node in nodes:
        for body in graphs_of(node):
            yield from _bodies_first(body.node)
        yield node


def _sizes(node: fx.Node, cut: Cut) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Compute the sizes of the (first) result of a call, before and after the cut."""
    layout = cut.analysis.layouts[node]
    first = (layout[0] if isinstance(layout, list) else layout) or ()
    left = tuple(int(cut.kept(axis).sum()) if axis.shape[1] else len(axis) for axis in first)
    return tuple(map(len, first)), left


def makes_tensors(node: fx.Node) -> bool:
    """Whether a call gives tensors, and no sizes."""
    return isinstance(node.meta.get("val"), torch.Tensor | list | tuple)


def position(node: fx.Node) -> int:
    """Return the position of the file's node that a call belongs to; those in bodies are counted on from the last one."""
    return int(source_line(node).rpartition(":")[2]) - 1
