"""Run a graph in stages, up to one node after another, on all batches, keeping only values still needed."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import fx

from graphprune.ir.memory import writes, writes_into_shared, written_nodes
from graphprune.ir.private_torch import pytree
from graphprune.ir.run_on_device import evaluate_on

from .stored_values import StoredValues

__all__ = ["ROOM", "StagedRun"]

ROOM = 2**28
"""Bytes of values inside the network that are held between the stages of a run on many samples: 256 MiB."""

MOST_LATE = 16
"""Most calls whose values are computed anew each time in place of being held."""


class StagedRun(StoredValues):
    """A graph that is run in stages on all batches, and holds the values that the rest still needs.

    A layer can be changed when everything before it has run, on every batch, with the changes
    made so far, so that one pass over the graph serves all layers.

    Args:
        module: an unlifted graph; it isn't changed.
        batches: flat inputs of each batch.
        tensors: values in place of the stored tensors, by name. May be changed between stages.
        room: bytes of values to hold. What would take more, and more than what it is computed from, is
            computed anew whenever it is asked for, by a few calls at most.
        device: where it runs, by default where the stored tensors are. They are moved there, and ``stored``
            returns them where they were.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        batches: Sequence[Sequence[Any]],
        tensors: Mapping[str, torch.Tensor] | None = None,
        room: float = math.inf,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(module, tensors, device)
        self._nodes: list[fx.Node] = list(module.graph.nodes)
        self._number = {node: number for number, node in enumerate(self._nodes)}
        self._done: set[fx.Node] = set()
        self._room = room
        self._late: list[fx.Node] = []
        inputs, written = module.graph.find_nodes(op="placeholder"), written_nodes(module)
        self._values: list[dict[fx.Node, Any]] = [
            {
                node: x.to(self._device, copy=node in written) if isinstance(x, torch.Tensor) else x
                for node, x in zip(inputs, batch, strict=True)
            }
            for batch in batches
        ]

    def advance(self, until: fx.Node | None = None) -> None:
        """Run all calls before a node; all calls, if none is given.

        Batch by batch: values that aren't needed beyond the node are those of one batch at a time.
        """
        end = None if until is None else self._number[until]
        self._run([node for node in self._nodes[:end] if node not in self._done])

    def reach(self, nodes: Sequence[fx.Node], unless: Collection[fx.Node]) -> bool:
        """Run only the calls that some nodes' values depend on, past calls that they don't depend on.

        Args:
            nodes: nodes whose values are wanted.
            unless: calls that mustn't be run yet.

        Returns:
            Whether that was possible; otherwise nothing is run.
        """
        needed: set[fx.Node] = set()
        stack = list(nodes)
        while stack:
            node = stack.pop()
            if node not in self._done and node not in needed:
                needed.add(node)
                stack += node.all_input_nodes
        end = 1 + max((self._number[node] for node in needed), default=-1)
        between = [node for node in self._nodes[:end] if node not in self._done]
        if not needed.isdisjoint(unless) or any(map(writes_into_shared, between)):
            return False
        self._run([node for node in between if node in needed])
        return True

    def values(self, node: fx.Node) -> Iterator[Any]:
        """Iterate over a node's value in each batch. Only values that are still needed are there."""
        return (self.at(place, [node])[0] for place in range(len(self._values)))

    def at(self, place: int, nodes: Sequence[fx.Node]) -> list[Any]:
        """Return the values of nodes in the batch at one place. Only values that are still needed are there."""
        values = self._values[place]
        if any(node not in values for node in nodes) and self._late:
            values = self._with_late(values, self._late)
        return [self._value(values, node) for node in nodes]

    def fork(self) -> StagedRun:
        """Return a second run at the same stage, which shares no memory with this one."""
        self._settle()
        twin = copy.copy(self)
        twin.tensors, twin._known, twin._done = (
            dict(self.tensors),
            dict(self._known),
            set(self._done),
        )
        twin._values = copy.deepcopy(self._values, {id(n): n for n in self._nodes})
        return twin

    def moved(self, module: fx.GraphModule, copies: Mapping[fx.Node, fx.Node]) -> StagedRun:
        """Return a second run at the same stage of another graph, in which the calls run so far are the same.

        Args:
            module: the other graph.
            copies: node of this graph -> node of the other graph with the same value.
        """
        twin = StagedRun(module, [], room=self._room, device=self._device)
        values = self.fork()._values
        twin._done = {copies[node] for node in self._done if node in copies}
        twin._values = [
            {copies[node]: value for node, value in each.items() if node in copies}
            for each in values
        ]
        return twin

    def narrow(self, places: Sequence[int]) -> None:
        """Go on with the batches at some places alone, in that order."""
        self._values = [self._values[place] for place in places]

    def outputs(self) -> list[list[Any]]:
        """Run the rest, and return the flat outputs of each batch."""
        self.advance()
        self._settle()
        (result,) = self._nodes[-1].args
        return [
            pytree.tree_leaves(fx.map_arg(result, partial(self._value, values)))
            for values in self._values
        ]

    def _run(self, nodes: Sequence[fx.Node]) -> None:
        """Run nodes on all batches, and drop values that no other node needs any more; or leave it for later."""
        calls = [n for n in nodes if n.op == "call_function" and n not in self._computed]
        self._done.update(n for n in nodes if n.op != "output")
        self._late = [*self._late, *calls]
        if not self._is_too_much():
            self._settle()

    def _is_too_much(self) -> bool:
        """Whether the values after the late calls would take more room than there is, and than those before."""
        if math.isinf(self._room) or not 0 < len(self._late) <= MOST_LATE or not self._values:
            return False
        if any(map(writes, self._late)):  # done twice, it would be another value
            return False
        before = self._values[0]
        size = _bytes(self._with_late(before, self._late))
        return size * len(self._values) > self._room and size > _bytes(before)

    def _settle(self) -> None:
        """Run the late calls on all batches, and hold their values."""
        late, self._late = self._late, []
        if late:
            for place, values in enumerate(self._values):
                self._values[place] = self._with_late(values, late)

    def _with_late(
        self, values: dict[fx.Node, Any], calls: Sequence[fx.Node]
    ) -> dict[fx.Node, Any]:
        """Return the values of a batch after some calls, without those that no other node needs any more."""
        values = dict(values)
        last = {value: node for node in calls for value in node.all_input_nodes}
        over: dict[fx.Node, list[fx.Node]] = {}
        for value, node in last.items():
            if all(user in self._done for user in value.users):
                over.setdefault(node, []).append(value)
        with torch.no_grad():
            for node in calls:
                values[node] = evaluate_on(node, partial(self._value, values), self._device)
                for value in over.get(node, ()):
                    values.pop(value, None)
        return values

    def _value(self, values: dict[fx.Node, Any], node: fx.Node) -> Any:
        return values[node] if node in values else self.constant(node)


def _bytes(values: Mapping[fx.Node, Any]) -> int:
    """Return the bytes that the tensors among some values take."""
    return sum(
        x.nbytes for x in pytree.tree_leaves(list(values.values())) if isinstance(x, torch.Tensor)
    )
