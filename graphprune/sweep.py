"""The sweep: apply the rule of every operator, in order, until nothing changes.

Parameters own the labels; activations only borrow them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import fx

from graphprune.errors import InternalError
from graphprune.graph import size_hint, state
from graphprune.labels import Axis, Labels, plain
from graphprune.layout import Layout
from graphprune.ops import RULES, Call, Facts
from graphprune.ops.registry import Result

__all__ = ["Sweep"]

MAX_SWEEPS = 100


class Sweep:
    """Labels and layouts of a graph, refined sweep by sweep until nothing changes.

    Args:
        module: the graph.
        free_inputs: leave inputs and outputs free to be cut.
    """

    def __init__(self, module: fx.GraphModule, free_inputs: bool) -> None:
        self.module = module
        self.free_inputs = free_inputs
        self.labels = Labels()
        self.nodes = tuple(module.graph.nodes)
        self.tensors = dict(state(module))
        self.axes: dict[str, Layout] = {}
        self.facts: dict[fx.Node, Facts] = {}
        self.results: dict[fx.Node, Result] = {}
        self._caches: dict[fx.Node, dict[Any, Axis]] = {}
        self._constants = {
            node: self.tensors[node.target]
            for node in self.nodes
            if node.op == "get_attr" and node.target in self.tensors
        }
        self._label_tensors()

    def _label_tensors(self) -> None:
        owner: dict[int, str] = {}
        for name, tensor in self.tensors.items():
            first = owner.setdefault(id(tensor), name)
            self.axes[name] = self.axes.get(first) or tuple(
                self.labels.fresh(n) if n > 1 and tensor.is_floating_point() else plain(n)
                for n in tensor.shape
            )

    def to_fixpoint(self) -> None:
        """Sweep until no link changes anything."""
        for _ in range(MAX_SWEEPS):
            before = self.labels.version
            for link, node in enumerate(self.nodes):
                self.results[node] = self._visit(link, node)
            if self.labels.version == before:
                return
        raise InternalError(f"the axis algebra did not settle in {MAX_SWEEPS} sweeps")

    def _visit(self, link: int, node: fx.Node) -> Result:
        match node.op:
            case "get_attr":
                return self.axes.get(str(node.target))
            case "placeholder":
                return self._input(link, node)
            case "output":
                if not self.free_inputs:
                    self._freeze_all(link, node.all_input_nodes)
                return None
            case _:
                return self._call(link, node)

    def _input(self, link: int, node: fx.Node) -> Result:
        value = node.meta.get("val")
        if not isinstance(value, torch.Tensor):
            return None
        layout = self._own(node, value)
        if not (self.free_inputs and value.is_floating_point()):
            for axis in layout:
                self.labels.freeze(axis, link)
        return layout

    def _own(self, node: fx.Node, value: torch.Tensor, key: int = 0) -> Layout:
        """Labels of a value that no rule derives. Frozen ones still tell where they come from."""
        cache = self._caches.setdefault(node, {})
        for dim, size in enumerate(value.shape):
            if (key, dim) not in cache:
                n = size_hint(size)
                cache[key, dim] = self.labels.fresh(n) if n > 1 else plain(n)
        return tuple(cache[key, dim] for dim in range(value.ndim))

    def _call(self, link: int, node: fx.Node) -> Result:
        if node.op == "call_function" and node.target is operator.getitem:
            source, index = node.args
            results = self.results[source]  # type: ignore[index]
            return results[index] if isinstance(results, list) else None  # type: ignore[index]
        entry = RULES.get(node.target)
        if entry is None or not self._inputs_known(node):
            return self._unknown(link, node)
        call = Call(node, link, self.labels, self.results,
                    self._caches.setdefault(node, {}), self._constants)
        call.facts.result = entry.apply(call)
        self.facts[node] = call.facts
        return call.facts.result

    def _inputs_known(self, node: fx.Node) -> bool:
        return all(
            self.results[n] is not None
            for n in node.all_input_nodes
            if isinstance(n.meta.get("val"), torch.Tensor)
        )

    def _unknown(self, link: int, node: fx.Node) -> Result:
        """No rule: nothing that goes in may change, and nothing that comes out."""
        self._freeze_all(link, node.all_input_nodes)
        value = node.meta.get("val")
        if any(_is_tensor(n.meta.get("val")) for n in (node, *node.all_input_nodes)):
            self.facts[node] = Facts(known=False)
        if isinstance(value, torch.Tensor):
            self.results[node] = self._own(node, value)
        elif isinstance(value, list | tuple):
            self.results[node] = [
                self._own(node, v, key) if isinstance(v, torch.Tensor) else ()
                for key, v in enumerate(value)
            ]
        else:
            self.results[node] = None
        self._freeze_all(link, [node])
        return self.results[node]

    def _freeze_all(self, link: int, nodes: Iterable[fx.Node]) -> None:
        for source in nodes:
            result = self.results.get(source)
            layouts = result if isinstance(result, list) else [result] if result else []
            for layout in layouts:
                for axis in layout:
                    self.labels.freeze(axis, link)

    def distinct_axes(self) -> list[Axis]:
        """Every different axis of the program, resolved, in order of first occurrence."""
        raw = {id(axis): axis for axis in self._all_axes() if axis.shape[1]}
        found: dict[tuple[int, bytes], Axis] = {}
        for axis in raw.values():
            rows = self.labels.resolve(axis)
            if rows.shape[1]:
                found.setdefault((rows.shape[1], rows.tobytes()), rows)
        return list(found.values())

    def _all_axes(self) -> Iterator[Axis]:
        for layout in self.axes.values():
            yield from layout
        for result in self.results.values():
            for layout in result if isinstance(result, list) else [result or ()]:
                yield from layout
        for facts in self.facts.values():
            for term in facts.macs:
                yield from term.axes


def _is_tensor(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(v, torch.Tensor) for v in values)
