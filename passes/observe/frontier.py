"""Run a graph up to one node after another on all batches, keeping only what is still needed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from graphprune.graph import state
from graphprune.stored import stored_calls

__all__ = ["Frontier"]


class Frontier:
    """The values between what has been run and what hasn't.

    A layer can be changed when everything before it has run, on every batch, with the changes
    made so far: one pass over the graph serves all layers. What is computed from stored tensors
    alone is computed when it is first wanted.

    Args:
        module: an unlifted graph; it isn't changed.
        batches: flat inputs.
        tensors: values to use in place of the stored ones. May be changed while it runs.
    """

    def __init__(self, module: fx.GraphModule, batches: Sequence[Sequence[Any]],
                 tensors: Mapping[str, torch.Tensor] | None = None) -> None:
        self.tensors: dict[str, torch.Tensor] = {
            name: tensor.detach() for name, tensor in state(module).items()} | dict(tensors or {})
        self._module = module
        self._nodes: list[fx.Node] = list(module.graph.nodes)
        self._number = {node: number for number, node in enumerate(self._nodes)}
        self._place = 0
        self._computed = stored_calls(module, larger=True)
        self._known: dict[fx.Node, Any] = {}
        self._last = {value: node for node in self._nodes for value in node.all_input_nodes}
        device = next((t.device for t in self.tensors.values()), torch.device("cpu"))
        inputs = module.graph.find_nodes(op="placeholder")
        self._values: list[dict[fx.Node, Any]] = [
            {node: x.to(device, copy=True) if isinstance(x, torch.Tensor) else x
             for node, x in zip(inputs, batch, strict=True)} for batch in batches]

    def advance(self, until: fx.Node | None = None) -> None:
        """Run up to a node, which isn't run; to the end if there is none.

        Batch by batch: values that aren't needed beyond the node are those of one batch at a time.
        """
        end = len(self._nodes) if until is None else max(self._place, self._number[until])
        with torch.no_grad():
            for values in self._values:
                for node in self._nodes[self._place : end]:
                    self._run(node, values)
        self._place = end

    def values(self, node: fx.Node) -> list[Any]:
        """A node's values, one for each batch. Only those that are still needed are there."""
        return [self._value(values, node) for values in self._values]

    def constant(self, node: fx.Node) -> Any:
        """The value of a stored tensor, or of a call that is computed from such alone."""
        if node.op == "get_attr":
            name = str(node.target)
            return self.tensors[name] if name in self.tensors else attrgetter(name)(self._module)
        if node not in self._known:
            with torch.no_grad():
                self._known[node] = self._called(node, self.constant)
        return self._known[node]

    def put(self, node: fx.Node, value: torch.Tensor) -> None:
        """Give such a node another value, which nothing that has run knows of."""
        if node.op == "get_attr":
            self.tensors[str(node.target)] = value
        else:
            self._known[node] = value

    def fork(self) -> Frontier:
        """A second frontier at the same place, which shares no memory with this one."""
        twin = copy.copy(self)
        twin.tensors, twin._known = dict(self.tensors), dict(self._known)
        twin._values = copy.deepcopy(self._values, {id(n): n for n in self._nodes})
        return twin

    def outputs(self) -> list[list[Any]]:
        """For each batch the flat outputs. To be called at the end."""
        self.advance()
        (result,) = self._nodes[-1].args
        return [pytree.tree_leaves(fx.map_arg(result, partial(self._value, values)))
                for values in self._values]

    def _run(self, node: fx.Node, values: dict[fx.Node, Any]) -> None:
        if node.op != "call_function" or node in self._computed:
            return
        values[node] = self._called(node, partial(self._value, values))
        for value in node.all_input_nodes:
            if self._last[value] is node:
                values.pop(value, None)

    def _value(self, values: dict[fx.Node, Any], node: fx.Node) -> Any:
        return values[node] if node in values else self.constant(node)

    def _called(self, node: fx.Node, value: Callable[[fx.Node], Any]) -> Any:
        args, kwargs = fx.map_arg((node.args, node.kwargs), value)
        return node.target(*args, **kwargs)  # type: ignore[operator]
