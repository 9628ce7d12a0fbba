"""Run an ONNX graph as an ``nn.Module`` that calls ATen operators, one node after another."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import torch
from torch import nn

from graphprune.errors import LoadError
from graphprune.ir.tensors import add_tensor
from graphprune.loading.argument_names import named

from . import (
    activations,
    attention,
    concat_slice,
    control_flow,
    create,
    cropping,
    deformed,
    element_types,
    few_bit_blocks,
    fused,
    grouped_attention,
    layers,
    pad,
    pointwise,
    pooling,
    quantized,
    quantized_recurrent,
    recurrent,
    reductions,
    resize,
    rotary,
    sampling,
    scatter,
    sequences,
    shapes,
    unpooling,
)
from .bodies import all_nodes, bodies_of, inner_nodes, live_nodes
from .read_graph import Graph
from .run_node import Values, output, run_node
from .stored_values import (
    constant,
    known_number,
    masks,
    module_paths,
    read_tensor,
    readers,
)
from .values import Known, Value
from .whole_nodes import WholeNodes

__all__ = ["Network"]

# Importing these fills the table.
_FAMILIES = (
    activations,
    attention,
    concat_slice,
    control_flow,
    create,
    element_types,
    cropping,
    deformed,
    few_bit_blocks,
    fused,
    grouped_attention,
    layers,
    pad,
    pointwise,
    pooling,
    quantized,
    quantized_recurrent,
    recurrent,
    reductions,
    resize,
    rotary,
    sampling,
    scatter,
    sequences,
    shapes,
    unpooling,
)


class Network(nn.Module):
    """A module that computes what an ONNX graph computes.

    Floating-point weights are parameters, under their own names as far as these are possible
    in PyTorch, whether initialisers or ``Constant`` nodes hold them; statistics of
    BatchNormalization and integers are buffers.

    Args:
        graph: what to compute.
        title: name of the file, shown where a source line would be: the third call of the
            graph is ``title:3``. Those within bodies are counted on from the last one.
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
        self._live = live_nodes(graph.nodes, graph.outputs)
        self._known: dict[str, Known] = {}
        self._stored: dict[str, str] = {}
        self._read: set[str] = set()
        self._used = {name for node in all_nodes(graph.nodes) for name in node.inputs}
        self._used |= {
            n for node in all_nodes(graph.nodes) for b in bodies_of(node) for n in b.outputs
        }
        self._used = (self._used | set(graph.outputs)) - {""}
        lines = "\n".join(f"step({i})" for i in range(len(graph.nodes)))
        # torch.export keeps the lines of functions of this name as the origin of a call.
        self._lines = compile(lines, title, "exec").replace(co_name="forward")
        step = compile("step()", title, "exec").replace(co_name="forward")
        inner = enumerate(inner_nodes(graph.nodes), len(graph.nodes) + 1)
        self._inner_lines = {
            node.outputs: step.replace(co_firstlineno=number) for number, node in inner
        }
        names = [each.name for each in graph.inputs]
        self.forward = named(self._run, names)  # type: ignore[method-assign]
        self._store(graph, leave_out)

    @property
    def paths(self) -> Mapping[str, str]:
        """Name of a stored tensor in the file -> qualified name of the module's."""
        return dict(self._stored)

    def counts(self, inputs: Sequence[torch.Tensor]) -> Mapping[str, int]:
        """Count the numbers in each list of known ones, by name, sizes of values among them."""
        with torch.no_grad():
            values, _ = self._values(inputs)
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
        values, made = self._values(inputs)
        results = [made.get(name, values[name]) for name in self._outputs]
        if not all(isinstance(y, torch.Tensor) for y in results):
            raise LoadError("an output of the ONNX model is a stored number")
        return results[0] if len(results) == 1 else tuple(results)

    def _values(
        self, inputs: Sequence[torch.Tensor]
    ) -> tuple[dict[str, Value], dict[str, torch.Tensor]]:
        """Run all nodes; return every value by name, and the outputs that are known numbers as tensors."""
        values = Values(self._read, self._used, self._inner_lines)
        values |= self._known
        for name, path in self._stored.items():
            # While torch.export runs, the module's tensors are others than those that were stored.
            tensor, number = attrgetter(path)(self), self._known.get(name)
            values[name] = tensor if number is None else replace(number, stored=tensor)
        values |= {each.name: x for each, x in zip(self._graph.inputs, inputs, strict=True)}
        results: dict[str, torch.Tensor] = {}

        def step(number: int) -> None:
            if number not in self._live:
                return
            node = self._graph.nodes[number]
            run_node(node, values, self.whole)
            for name in node.outputs:
                if name in self._outputs and isinstance(known := values.get(name), Known):
                    results[name] = output(node, known)

        # One line of code for each node, so that errors and reports can name it.
        exec(self._lines, {"step": step})
        return values, results

    @property
    def unread(self) -> set[str]:
        """The stored tensors that were not read in any run so far, by their names in the file."""
        return {*self._stored} - self._read

    def _store(self, graph: Graph, leave_out: Container[str]) -> None:
        """Register weights as parameters and buffers, and small integers as known numbers."""
        nodes = list(all_nodes(graph.nodes))
        constants = {n.outputs[0]: constant(n) for n in nodes if n.operator == "Constant"}
        as_tensor, fixed = readers(nodes)
        names = [*graph.weights, *(n for n in constants if n not in graph.weights)]
        names = [name for name in names if name not in leave_out]
        masked = masks({**constants, **graph.weights}, nodes)
        paths = dict(zip(names, module_paths(names, dir(self)), strict=True))
        for name, path in paths.items():
            array = graph.weights[name] if name in graph.weights else constants[name]
            single = array.size == 1 and (array.ndim == 0 or name not in graph.weights)
            number = known_number(array, floats=single or name not in as_tensor)
            if number is not None:
                self._known[name] = number
                if number.items.size <= 1 or name not in as_tensor:
                    continue
            tensor = read_tensor(array, name)
            learned = tensor.is_floating_point() and name not in fixed | masked
            add_tensor(self, path, nn.Parameter(tensor) if learned else tensor)
            self._stored[name] = path
