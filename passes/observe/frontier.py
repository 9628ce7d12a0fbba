"""Run a graph node by node on all batches at once, keeping only what is still needed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import fx
from torch.utils import _pytree as pytree

from graphprune.graph import state

__all__ = ["Frontier"]


class Frontier:
    """The values between what has been run and what hasn't.

    A layer can be changed when everything before it has run, on every batch, with the changes
    made so far: one pass over the graph serves all layers.

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
        self._place = 0
        self._values: dict[fx.Node, list[Any]] = {}
        self._count = len(batches)
        self._last = {value: node for node in self._nodes for value in node.all_input_nodes}
        device = next((t.device for t in self.tensors.values()), torch.device("cpu"))
        inputs = module.graph.find_nodes(op="placeholder")
        columns = list(zip(*batches, strict=True)) or [()] * len(inputs)
        for node, values in zip(inputs, columns, strict=True):
            self._values[node] = [
                x.to(device, copy=True) if isinstance(x, torch.Tensor) else x for x in values]

    def advance(self, until: fx.Node | None = None) -> None:
        """Run up to a node, which isn't run; to the end if there is none."""
        with torch.no_grad():
            while self._place < len(self._nodes) and self._nodes[self._place] is not until:
                self._run(self._nodes[self._place])
                self._place += 1

    def values(self, node: fx.Node) -> list[Any]:
        """A node's values, one for each batch. Only those that are still needed are there."""
        return self._values[node]

    def fork(self) -> Frontier:
        """A second frontier at the same place, which shares no memory with this one."""
        twin = copy.copy(self)
        twin.tensors = dict(self.tensors)
        twin._values = copy.deepcopy(self._values, {id(n): n for n in self._nodes})
        return twin

    def outputs(self) -> list[list[Any]]:
        """For each batch the flat outputs. To be called at the end."""
        self.advance()
        (result,) = self._nodes[-1].args
        return [pytree.tree_leaves(fx.map_arg(result, partial(self._value, b)))
                for b in range(self._count)]

    def _run(self, node: fx.Node) -> None:
        if node.op in {"placeholder", "output"}:
            return
        if node.op == "get_attr":
            if node.target not in self.tensors:
                value: Any = self._module
                for part in str(node.target).split("."):
                    value = getattr(value, part)
                self._values[node] = [value] * self._count
            return
        self._values[node] = [self._call(node, b) for b in range(self._count)]
        for value in node.all_input_nodes:
            if self._last[value] is node:
                self._values.pop(value, None)

    def _call(self, node: fx.Node, batch: int) -> Any:
        value = partial(self._value, batch)
        args, kwargs = fx.map_arg(node.args, value), fx.map_arg(node.kwargs, value)
        return node.target(*args, **kwargs)  # type: ignore[operator]

    def _value(self, batch: int, node: fx.Node) -> Any:
        found = self._values.get(node)
        return self.tensors[str(node.target)] if found is None else found[batch]
