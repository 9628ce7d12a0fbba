"""Keep the sizes that an ONNX graph computes *with*, where a cut changes the values whose sizes they are.

``Shape`` gives the sizes of what is left. That is right where they lay something out, as in a ``Reshape``; but a scale of
``1 / sqrt(size)``, a sum that is divided by a size, or an output of the graph was one of the dense sizes. There the sizes that
went are added to what ``Shape`` gives. ``onnx`` is imported where it is needed.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from graphprune.export.node_reads import reads_in_bodies

from .stored_numbers import EditError

if TYPE_CHECKING:
    import onnx

__all__ = ["keep_sizes", "size_values"]

_LAYS_OUT = {
    "CenterCropPad": (1,), "ConstantOfShape": (0,), "Expand": (1,), "Gather": (1,), "OneHot": (1,), "Pad": (1, 3),
    "Range": (0, 1, 2), "Reshape": (1,), "Resize": (1, 2, 3), "Slice": (1, 2, 3, 4), "Split": (1,), "SplitToSequence": (1,),
    "Squeeze": (1,), "Tile": (1,), "TopK": (1,), "Unsqueeze": (1,), "Upsample": (1,),
}  # fmt: skip
"""Operators -> positions of the inputs that say how their result is laid out, not what it holds."""

_GIVES_SIZES = frozenset({"Shape", "Size"})

Sizes = Mapping[str, NDArray[Any]]
"""Results of ``Shape`` and ``Size`` by name."""


def size_values(
    model: onnx.ModelProto,
    known: Mapping[str, int],
    changed: Collection[str],
    *,
    every: bool = False,
) -> tuple[str, ...]:
    """List the numbers that the graph computes with or gives, and the sizes that they follow from.

    Args:
        model: without local functions.
        known: the names of the values that follow from sizes and stored numbers alone.
        changed: names of the values of which a cut may change the sizes.
        every: take numbers too that lay something out only.
    """
    nodes = [node for node in model.graph.node if node.op_type in _GIVES_SIZES]
    starts = [node.output[0] for node in nodes if node.input[0] in changed]
    flow = _Flow(model.graph, known, starts, every=every)
    used = [name for name in starts if name in flow.as_values]
    return tuple(dict.fromkeys((*used, *sorted(flow.ends))))


def keep_sizes(
    model: onnx.ModelProto,
    known: Mapping[str, int],
    dense: Sequence[Sizes],
    left: Sequence[Sizes],
    *,
    every: bool = False,
) -> None:
    """Let a cut graph compute with the sizes that the dense one has, in place.

    Args:
        model: the cut one, without local functions.
        known: as for ``size_values``.
        dense: what its numbers are in the dense model, once for each of some inputs.
        left: what they are in the cut one, on the same inputs.
        every: as for ``size_values``.

    Raises:
        EditError: if no number makes up for what went.
    """
    pairs = list(zip(dense, left, strict=True))
    flow = _Flow(model.graph, known, dense[0], every=every)
    changed = {n for n in flow.ends if any(not np.array_equal(a[n], b[n]) for a, b in pairs)}
    starts = flow.behind(model.graph, changed)
    steps = {name: _steps([(a[name], b[name]) for a, b in pairs]) for name in starts}
    needed = {name: each for name, each in steps.items() if each}
    if needed:
        _make_up(model.graph, _Flow(model.graph, known, needed, every=every), needed)


_Steps = Sequence[tuple[str, NDArray[Any]]]
"""Operators with their second operands, one after another."""


def _steps(pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]]) -> _Steps:
    """Find what makes dense sizes of those that are left: a sum, or a product where other sizes are open.

    Args:
        pairs: what is dense and what is left, once for each run.

    Raises:
        EditError: if neither does in all runs.
    """
    dense, left = pairs[0]
    if all(np.array_equal(a - b, dense - left) for a, b in pairs):
        return [("Add", dense - left)] if (dense != left).any() else []
    # A number of elements: the product of sizes, of which only some are smaller.
    if any(not np.array_equal(a * left, b * dense) for a, b in pairs) or not left.all():
        raise EditError("the graph computes with a number of elements, of which a part goes")
    common = np.gcd(dense, left)
    return [("Mul", dense // common), ("Div", left // common)]


def _make_up(graph: onnx.GraphProto, flow: _Flow, needed: Mapping[str, _Steps]) -> None:
    """Make dense sizes of those that are left, and lead sizes that lay something out past that."""
    from onnx import helper, numpy_helper

    if any(name in flow.reached for node in graph.node for name in reads_in_bodies(node)):
        raise EditError("a body reads the sizes of values around it")
    own: dict[str, str] = {}  # name of a value -> that of the one with the sizes that are left
    nodes: list[onnx.NodeProto] = []
    for old in graph.node:
        node = copy.deepcopy(old)
        made = [name for name in node.output if name in flow.reached]
        dense = [name for name in made if name in flow.as_values]
        for place, name in enumerate(node.input):
            if name in own and (not dense if made else flow.lays_out(node, place)):
                node.input[place] = own[name]
        nodes.append(node)
        if not dense:
            continue
        if node.output[0] in needed:
            name = node.output[0]
            own[name] = last = flow.new(name, "left")
            node.output[0] = last
            for i, (operator, number) in enumerate(steps := needed[name]):
                gone = flow.new(name, "gone")
                graph.initializer.append(numpy_helper.from_array(number, gone))
                result = flow.new(name, "part") if i + 1 < len(steps) else name
                nodes.append(helper.make_node(operator, [last, gone], [result]))
                last = result
        elif any(name in flow.as_layout for name in made):
            copied = copy.deepcopy(old)
            own |= {name: flow.new(name, "left") for name in copied.output if name}
            copied.input[:] = [own.get(name, name) for name in copied.input]
            copied.output[:] = [own.get(name, name) for name in copied.output]
            copied.name = copied.name and flow.new(copied.name, "left")
            nodes.append(copied)
    del graph.node[:]
    graph.node.extend(nodes)


class _Flow:
    """Where the sizes of values go in a graph.

    Attributes:
        reached: names of what is computed from sizes.
        as_values: those of which some reader computes with the numbers, or which the graph gives.
        as_layout: those that some reader lays something out by.
        ends: the last of what is computed from sizes alone: those that some other node computes with, and outputs.
    """

    def __init__(
        self,
        graph: onnx.GraphProto,
        known: Mapping[str, int],
        starts: Collection[str],
        *,
        every: bool = False,
    ) -> None:
        self._every = every
        self._taken = {name for node in graph.node for name in (*node.output, node.name)}
        self._taken |= {each.name for each in (*graph.input, *graph.initializer)}
        self.reached: set[str] = set()
        for node in graph.node:
            gives = node.op_type in _GIVES_SIZES and node.output[0] in starts
            if gives or self._hands_on(node, known):
                self.reached.update(name for name in node.output if name in known)
        values, layouts = {value.name for value in graph.output}, set[str]()
        self.ends = values & self.reached
        for node in reversed(graph.node):
            if node.op_type in _GIVES_SIZES:
                continue
            made = self.reached.intersection(node.output)
            for place, name in enumerate(node.input):
                if name not in self.reached:
                    continue
                if self.lays_out(node, place) or made & layouts:
                    layouts.add(name)
                if not (made or self.lays_out(node, place)):
                    self.ends.add(name)
                if made & values or name in self.ends:
                    values.add(name)
        self.as_values, self.as_layout = values & self.reached, layouts & self.reached

    def behind(self, graph: onnx.GraphProto, names: Collection[str]) -> list[str]:
        """List the results of ``Shape`` and ``Size`` that some numbers are computed from."""
        found, needed = list[str](), set(names)
        for node in reversed(graph.node):
            if needed.isdisjoint(node.output):
                continue
            if node.op_type in _GIVES_SIZES:
                found.append(node.output[0])
            else:
                needed.update(self.reached.intersection(node.input))
        return found

    def _hands_on(self, node: onnx.NodeProto, known: Mapping[str, int]) -> bool:
        """Whether a node computes numbers from sizes."""
        if node.op_type in _GIVES_SIZES or not any(name in known for name in node.output):
            return False
        pairs = enumerate(node.input)
        return any(n in self.reached and not self.lays_out(node, place) for place, n in pairs)

    def lays_out(self, node: onnx.NodeProto, place: int) -> bool:
        """Whether an input says how the result is laid out."""
        return not self._every and place in _LAYS_OUT.get(node.op_type, ())

    def new(self, name: str, what: str) -> str:
        """Choose a name that nothing has."""
        choices = (f"{name}/{what}" + (f"_{i}" if i else "") for i in range(len(self._taken) + 1))
        own = next(choice for choice in choices if choice not in self._taken)
        self._taken.add(own)
        return own
