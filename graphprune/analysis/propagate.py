"""Propagate labels over a graph: apply the rule of every operator, in order, to the fixpoint.

Parameters own the labels; activations only borrow them.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import fx

from graphprune.axes.labels import Axis, Labels, unlabelled
from graphprune.axes.layout import Layout
from graphprune.errors import InternalError
from graphprune.ir.constant_calls import constant_calls, constant_integers
from graphprune.ir.data_sizes import DataSizes
from graphprune.ir.nodes import is_continuous
from graphprune.ir.private_torch import pytree
from graphprune.ir.program import state
from graphprune.ops import Call, Facts, find
from graphprune.ops.facts import Result, axes_of

from .integer_weights import integer_weights
from .quiet import Quiet
from .written_later import written_later

__all__ = ["Propagation"]

MAX_PASSES = 100
"""Passes over the graph before an analysis that doesn't settle is reported as a bug."""


class Propagation:
    """Labels and layouts of a graph, propagated to the fixpoint: until a pass over it changes nothing.

    Args:
        module: the graph.
        free_inputs: leave inputs and outputs free to be cut.
        allow_inexact: let axes be cut that inexact statistics run over.
        data_sizes: the sizes of the graph that depend on values.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        free_inputs: bool,
        allow_inexact: bool,
        data_sizes: DataSizes,
    ) -> None:
        self.module = module
        self.data_sizes = data_sizes
        self.free_inputs = free_inputs
        self.allow_inexact = allow_inexact
        self.labels = Labels()
        self.nodes = tuple(module.graph.nodes)
        self.tensors = dict(state(module))
        self.constant_calls = constant_calls(module)
        self._written_later = written_later(self.nodes)
        self.axes: dict[str, Layout] = {}
        self.facts: dict[fx.Node, Facts] = {}
        self.results: dict[fx.Node, Result] = {}
        self._caches: dict[fx.Node, dict[Any, Axis]] = {}
        self.quiet = Quiet(self.labels, self.facts, self.results, self.constant_calls)
        self._constants = {
            node: self.tensors[node.target]
            for node in self.nodes
            if node.op == "get_attr" and node.target in self.tensors
        } | constant_integers(module)
        self._label_tensors()

    def _label_tensors(self) -> None:
        owner: dict[int, str] = {}
        whole = integer_weights(self.module)
        # What no call reads, such as the weights of a loss, is for code that wasn't traced.
        read = {id(tensor) for node, tensor in self._constants.items() if node.users}
        for name, tensor in self.tensors.items():
            first = owner.setdefault(id(tensor), name)
            has_channels = id(tensor) in read and (is_continuous(tensor) or name in whole)
            self.axes[name] = self.axes.get(first) or tuple(
                self.labels.fresh(n) if n > 1 and has_channels else unlabelled(n)
                for n in tensor.shape
            )

    def to_fixpoint(self) -> None:
        """Pass over the graph until no link changes anything.

        Raises:
            InternalError: if that takes more than ``MAX_PASSES`` passes.
        """
        for _ in range(MAX_PASSES):
            before = self.labels.version
            for link, node in enumerate(self.nodes):
                self.results[node] = self._visit(link, node)
            if self.labels.version == before:
                return
        raise InternalError(
            f"the axis algebra did not settle in {MAX_PASSES} passes over the graph"
        )

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
        if not (self.free_inputs and is_continuous(value)):
            for axis in layout:
                self.labels.freeze(axis, link)
        return layout

    def _own(self, node: fx.Node, value: torch.Tensor, key: int = 0) -> Layout:
        """Label a value that no rule derives. Frozen labels still tell where they come from."""
        cache = self._caches.setdefault(node, {})
        for dim, size in enumerate(value.shape):
            if (key, dim) not in cache:
                n = self.data_sizes.of(size)
                cache[key, dim] = self.labels.fresh(n) if n > 1 else unlabelled(n)
        return tuple(cache[key, dim] for dim in range(value.ndim))

    def _call(self, link: int, node: fx.Node) -> Result:
        if node.op == "call_function" and node.target is operator.getitem:
            source, index = node.args
            results = self.results[source]  # type: ignore[index]
            return results[index] if isinstance(results, list) else None  # type: ignore[index]
        entry = find(node.target)
        if entry is None or not self._inputs_known(node):
            return self._unknown(link, node)
        if any(map(_is_empty, (node, *node.all_input_nodes))):
            return self._unknown(link, node, Facts(because="holds no elements"))
        call = Call(
            node,
            link,
            self.labels,
            self.results,
            self._caches.setdefault(node, {}),
            self._constants,
            quiet=self.quiet.holds,
            allow_inexact=self.allow_inexact,
            on_constants=node in self.constant_calls,
            data_sizes=self.data_sizes,
            written_later=node in self._written_later,
        )
        facts = call.facts
        facts.result = entry.apply(call) if _has_axes(node) else _scalars(node)
        if facts.loud is None and entry.quiet:
            facts.loud = self.quiet.moved(node, facts.result)
        self.quiet.heed_write(node, facts)
        self.facts[node] = facts
        return facts.result

    def _inputs_known(self, node: fx.Node) -> bool:
        return all(
            self.results[n] is not None
            for n in node.all_input_nodes
            if isinstance(n.meta.get("val"), torch.Tensor)
        )

    def _unknown(self, link: int, node: fx.Node, facts: Facts | None = None) -> Result:
        """Freeze all operands and results of a call without a rule, or of one without an element to follow."""
        self._freeze_all(link, node.all_input_nodes)
        value = node.meta.get("val")
        if any(_is_tensor(n.meta.get("val")) for n in (node, *node.all_input_nodes)):
            self.facts[node] = facts or Facts(known=False)
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

    def freeze_unseen(self) -> None:
        """Freeze labels that occur only inside computed weights: removing them would change nothing.

        These are labels of axes that a call on stored tensors needs whole and that no activation
        carries.
        """
        needed_whole = [
            (link, axis)
            for link, node in enumerate(self.nodes)
            if node in self.facts
            for axis in self.facts[node].needed_whole
        ]
        if not needed_whole:
            return
        visible_labels = [np.zeros(1, dtype=np.int64)]
        for node in self.nodes:
            if node.op != "get_attr" and node not in self.constant_calls:
                visible_labels += [
                    self.labels.resolve(axis).ravel()
                    for n in (node, *node.all_input_nodes)
                    for axis in self._axes_of(n)
                ]
        visible = np.unique(np.concatenate(visible_labels))
        for link, axis in needed_whole:
            rows = self.labels.resolve(axis)
            self.labels.freeze(rows[~np.isin(rows, visible)][:, None], link)

    def _axes_of(self, node: fx.Node) -> list[Axis]:
        """List the axes of all results of a node."""
        return axes_of(self.results.get(node))

    def _freeze_all(self, link: int, nodes: Iterable[fx.Node]) -> None:
        for source in nodes:
            for axis in self._axes_of(source):
                self.labels.freeze(axis, link)

    def distinct_axes(self) -> list[Axis]:
        """List the distinct axes of the program, resolved, in order of first occurrence."""
        raw = {id(axis): axis for axis in self._all_axes() if axis.shape[1]}
        distinct: dict[tuple[int, bytes], Axis] = {}
        for axis in raw.values():
            rows = self.labels.resolve(axis)
            if rows.shape[1]:
                distinct.setdefault((rows.shape[1], rows.tobytes()), rows)
        return list(distinct.values())

    def _all_axes(self) -> Iterator[Axis]:
        for layout in self.axes.values():
            yield from layout
        for node in self.results:
            yield from self._axes_of(node)
        for facts in self.facts.values():
            for term in facts.macs:
                yield from term.axes


def _is_empty(node: fx.Node) -> bool:
    """Whether a value is a tensor without elements, whatever the inputs are."""
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and any(type(n) is int and not n for n in value.shape)


def _has_axes(node: fx.Node) -> bool:
    """Whether a call reads or makes a tensor with a dimension; of scalars alone a rule has nothing to state."""
    values = [n.meta.get("val") for n in (node, *node.all_input_nodes)]
    return any(isinstance(v, torch.Tensor) and v.ndim for v in pytree.tree_leaves(values))


def _scalars(node: fx.Node) -> Result:
    """Lay out results that have no dimension."""
    value = node.meta.get("val")
    if isinstance(value, list | tuple):
        return [() for _ in value]
    return () if isinstance(value, torch.Tensor) else None


def _is_tensor(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return any(isinstance(v, torch.Tensor) for v in values)
