"""Run an ONNX graph as an ``nn.Module`` that calls ATen operators, one node after another."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from graphprune.errors import GraphpruneError, LoadError, first_line
from graphprune.ir.private_torch import FakeTensorMode, child_modules
from graphprune.loading.argument_names import distinct, named

from . import (
    control_flow,
    layers,
    pointwise,
    pooling,
    quantized,
    recurrent,
    reductions,
    resize,
    shapes,
)
from .bodies import all_nodes, bodies_of
from .operators import OPERATORS, Body, Node, OnnxOperator, refuse, unsupported
from .read_graph import Graph
from .values import MAX_ELEMENTS, MAX_KNOWN, Known, Value
from .whole_nodes import WholeNodes

__all__ = ["Network"]

# Importing these fills the table.
_FAMILIES = (
    control_flow,
    layers,
    pointwise,
    pooling,
    quantized,
    recurrent,
    reductions,
    resize,
    shapes,
)

MAX_COUNT = 1 << 20
"""Largest whole number among the attributes of a node that is tried: sizes, groups, counts of results."""

_BOUNDS = frozenset({"ends", "starts"})
"""Attributes of Slice, whose numbers may lie beyond any size."""

_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    AssertionError,
    AttributeError,
    LookupError,
    ArithmeticError,
    MemoryError,
)


class Network(nn.Module):
    """A module that computes what an ONNX graph computes.

    Floating-point weights are parameters, under their own names as far as these are possible
    in PyTorch, whether initialisers or ``Constant`` nodes hold them; statistics of
    BatchNormalization and integers are buffers.

    Args:
        graph: what to compute.
        title: name of the file, shown where a source line would be: the third call of the
            graph is ``title:3``.
        whole: the nodes that onnxruntime computes; by default none is known yet.
        leave_out: names of stored tensors that nothing reads.
    """

    def __init__(
        self,
        graph: Graph,
        title: str,
        whole: WholeNodes | None = None,
        leave_out: Container[str] = (),
    ) -> None:
        super().__init__()
        self.whole = whole or WholeNodes(graph.data)
        self._graph = graph
        self._outputs = graph.outputs
        self._known: dict[str, Known] = {}
        self._stored: dict[str, str] = {}
        self._read: set[str] = set()
        self._used = {name for node in all_nodes(graph.nodes) for name in node.inputs}
        self._used |= {
            n for node in all_nodes(graph.nodes) for b in bodies_of(node) for n in b.outputs
        }
        self._used = (self._used | set(graph.outputs)) - {""}
        self._store(graph, leave_out)
        lines = "\n".join(f"step({i})" for i in range(len(graph.nodes)))
        # torch.export keeps the lines of functions of this name as the origin of a call.
        self._lines = compile(lines, title, "exec").replace(co_name="forward")
        names = [each.name for each in graph.inputs]
        self.forward = named(self._run, names)  # type: ignore[method-assign]

    @property
    def paths(self) -> Mapping[str, str]:
        """Name of a stored tensor in the file -> qualified name of the module's."""
        return dict(self._stored)

    def counts(self, inputs: Sequence[torch.Tensor]) -> Mapping[str, int]:
        """Count the numbers in each list of known ones, by name, sizes of values among them."""
        with torch.no_grad():
            values = self._values(inputs)
        return {name: v.items.size for name, v in values.items() if isinstance(v, Known)}

    def try_nodes(self, inputs: Sequence[torch.Tensor]) -> None:
        """Run on real values, within ``whole.trial()``.

        What no entry of the table computes runs in onnxruntime, and is noted.

        Raises:
            LoadError: if onnxruntime can't run such a node either.
        """
        with torch.no_grad():
            self._values(inputs)

    def _run(self, *inputs: torch.Tensor) -> Any:
        values = self._values(inputs)
        results = [values[name] for name in self._outputs]
        if not all(isinstance(y, torch.Tensor) for y in results):
            raise LoadError("an output of the ONNX model doesn't depend on its inputs")
        return results[0] if len(results) == 1 else tuple(results)

    def _values(self, inputs: Sequence[torch.Tensor]) -> dict[str, Value]:
        """Run all nodes, and return every value by name."""
        values = _Values(self._read, self._used)
        values |= self._known
        for name, path in self._stored.items():
            # While torch.export runs, the module's tensors are others than those that were stored.
            tensor, number = _get(self, path), self._known.get(name)
            values[name] = tensor if number is None else replace(number, stored=tensor)
        values |= {each.name: x for each, x in zip(self._graph.inputs, inputs, strict=True)}
        # One line of code for each node, so that errors and reports can name it.
        exec(self._lines, {"step": lambda i: _step(self._graph.nodes[i], values, self.whole)})
        return values

    @property
    def unread(self) -> set[str]:
        """The stored tensors that were not read in any run so far, by their names in the file."""
        return {*self._stored} - self._read

    def _store(self, graph: Graph, leave_out: Container[str]) -> None:
        """Register weights as parameters and buffers, and small integers as known numbers."""
        nodes = list(all_nodes(graph.nodes))
        constants = {n.outputs[0]: _constant(n) for n in nodes if n.operator == "Constant"}
        as_tensor, fixed = _readers(nodes)
        names = [*graph.weights, *(n for n in constants if n not in graph.weights)]
        names = [name for name in names if name not in leave_out]
        paths = dict(zip(names, _paths(names), strict=True))
        for name, path in paths.items():
            array = graph.weights[name] if name in graph.weights else constants[name]
            single = array.size == 1 and (array.ndim == 0 or name not in graph.weights)
            number = _number(array, floats=single or name not in as_tensor)
            if number is not None:
                self._known[name] = number
                if number.items.size <= 1 or name not in as_tensor:
                    continue
            tensor = _tensor(array, name)
            learned = tensor.is_floating_point() and name not in fixed
            _register(self, path, nn.Parameter(tensor) if learned else tensor)
            self._stored[name] = path


class _Values(dict[str, "Value"]):
    """Values by name, which note the names that are read.

    Attributes:
        used: the names that some node reads, or the graph gives.
    """

    def __init__(self, read: set[str], used: set[str]) -> None:
        super().__init__()
        self._read, self.used = read, used

    def __getitem__(self, name: str) -> Value:
        self._read.add(name)
        return super().__getitem__(name)


def _step(node: Node, values: _Values, whole: WholeNodes) -> None:
    if node.operator == "Constant":
        return  # stored
    if whole.on_trial:
        _refuse_huge(node)
        _check_sizes(node, values, whole)
    elif node in whole:
        values.update(whole.call(node, values))
        return
    try:
        results = _computed(node, values, whole)
    except GraphpruneError as refusal:
        if not whole.on_trial:
            raise
        values.update(whole.try_(node, values, refusal))
        return
    pairs = zip(node.outputs, results, strict=False)
    values.update((name, result) for name, result in pairs if name)


def _computed(node: Node, values: _Values, whole: WholeNodes) -> tuple[Value, ...]:
    """Compute a node by its entry of the table."""
    if (entry := OPERATORS.get(node.operator)) is None:
        raise unsupported({node.operator: node.name})
    try:
        inputs = [values[name] if name else None for name in node.inputs]
        runner = [lambda body, given: _run_body(body, given, values, whole)] if entry.bodies else []
        found = entry.compute(node, *runner, *inputs)
    except GraphpruneError:
        raise
    except _ERRORS as error:
        raise LoadError(f"{node} fails: {first_line(error)}") from error
    results = found if isinstance(found, tuple) else (found,)
    if not values.used.isdisjoint(node.outputs[len(results) :]):
        raise refuse(node, f"a result beside the first {len(results)}")
    return results


def _refuse_huge(node: Node) -> None:
    """Refuse a count or size that no node has, before anything that would believe it runs."""
    stated = [value for name, value in node.attributes.items() if name not in _BOUNDS]
    lists = [value if isinstance(value, list) else [value] for value in stated]
    for number in (n for numbers in lists for n in numbers if isinstance(n, int)):
        if abs(number) > MAX_COUNT:
            raise LoadError(f"{node} states the number {number}")


def _check_sizes(node: Node, values: _Values, whole: WholeNodes) -> None:
    """Find the sizes of what a node makes, before it is computed: a hostile file states huge ones."""
    entry = OPERATORS.get(node.operator)
    if entry is None or entry.bodies:
        return
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            results = _computed(node, values, whole)
    except GraphpruneError:
        return
    for result in results:
        if isinstance(result, torch.Tensor) and result.numel() > MAX_ELEMENTS:
            raise LoadError(f"a result of {node} has {result.numel():.3g} elements")


def _run_body(
    body: Body, inputs: Sequence[Value], values: _Values, whole: WholeNodes
) -> list[Value]:
    values.update(zip(body.inputs, inputs, strict=True))
    for node in body.nodes:
        _step(node, values, whole)
    return [values[name] for name in body.outputs]


def _constant(node: Node) -> NDArray[Any]:
    for name, kind in (
        ("value", None),
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if name in node.attributes:
            return np.asarray(node.attributes[name], dtype=kind)
    raise LoadError(f"{node}: a constant of this kind is not supported")


def _readers(nodes: Sequence[Node]) -> tuple[set[str], set[str]]:
    """Find the names that are read as tensors, and those of which training leaves the values alone.

    Exporters store equal tensors once and hand them out by ``Identity``.
    """
    as_tensor: set[str] = set()
    fixed: set[str] = set()
    for node in reversed(nodes):
        entry = OPERATORS.get(node.operator, _NO_ENTRY)
        as_tensor |= {name for i, name in enumerate(node.inputs) if i not in entry.sizes}
        fixed |= {node.inputs[i] for i in entry.fixed if i < len(node.inputs)}
        if node.operator == "Identity" and node.outputs[0] in fixed:
            fixed.add(node.inputs[0])
    return as_tensor, fixed


_NO_ENTRY = OnnxOperator(lambda node: None)  # of a branch that isn't taken


def _number(array: NDArray[Any], *, floats: bool) -> Known | None:
    """Convert an array to known numbers, if it is made of integers, or of floats where these may be."""
    if array.size > MAX_KNOWN or array.dtype.kind not in ("iubf" if floats else "iub"):
        return None
    if array.size > 1 and array.dtype.itemsize == 1 and array.dtype.kind in "iu":
        return None  # a quantised tensor; sizes and axes have more bits
    items = np.empty(array.shape, dtype=object)
    items[...] = array.tolist()
    return Known(items, torch.from_numpy(np.empty(0, array.dtype)).dtype)


def _tensor(array: NDArray[Any], name: str) -> torch.Tensor:
    if array.dtype.name == "bfloat16":  # numpy has no such type of its own
        return torch.from_numpy(array.view(np.uint16).copy()).view(torch.bfloat16)
    try:
        return torch.from_numpy(array.copy())
    except TypeError as error:
        raise LoadError(
            f"tensor {name!a:.80} has elements of type {array.dtype}, which is not supported"
        ) from error


def _register(module: nn.Module, path: str, tensor: torch.Tensor) -> None:
    *owners, last = path.split(".")
    for owner in owners:
        if owner not in child_modules(module):
            module.add_module(owner, nn.Module())
        module = module.get_submodule(owner)
    if isinstance(tensor, nn.Parameter):
        module.register_parameter(last, tensor)
    else:
        module.register_buffer(last, tensor)


def _get(module: nn.Module, path: str) -> torch.Tensor:
    owner, _, last = path.rpartition(".")
    return getattr(module.get_submodule(owner), last)


def _paths(names: list[str]) -> list[str]:
    """Choose a path in a module for each name: dots stay where no other name is in the way."""
    parts = [
        [re.sub(r"\W", "_", part) or "_" for part in re.sub(r"^\W+", "", name).split(".")]
        for name in names
    ]
    inner = {tuple(p[:i]) for p in parts for i in range(1, len(p))}
    safe = [
        ".".join(_own(part) for part in p) if tuple(p) not in inner else "_".join(p) + "_value"
        for p in parts
    ]
    return distinct(safe)


def _own(part: str) -> str:
    """Change a name that is an attribute of every module, such as ``forward`` or ``training``."""
    return part + "_" if hasattr(nn.Module, part) or part in _RESERVED else part


_RESERVED = {
    *vars(nn.Module()), "forward", "unread", "whole", "_graph", "_outputs", "_known", "_stored", "_read", "_used",
    "_lines",
}  # fmt: skip
