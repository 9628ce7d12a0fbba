"""Make a model of one node of an ONNX file, with the bodies that it runs."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.export.node_reads import every_node, graphs_of

from .element_types import DTYPES
from .values import Known

if TYPE_CHECKING:
    import onnx

__all__ = ["NodeSource", "numbers_of", "type_number"]

_NUMBERS = {dtype: number for number, dtype in DTYPES.items()}


def type_number(dtype: torch.dtype) -> int:
    """Give ONNX's number of an element type."""
    return _NUMBERS[dtype]


def numbers_of(value: Known) -> NDArray[Any]:
    """Convert known numbers to an array of their type."""
    from onnx import helper

    dtype = helper.tensor_dtype_to_np_dtype(type_number(value.dtype))
    return np.array(value.items.tolist(), dtype)


@dataclass(frozen=True)
class NodeSource:
    """The nodes of a model as its file has them, by their results.

    Attributes:
        model: the whole, without its graph.
        nodes: the nodes of the graph and of all bodies, by the names of their results.
        stored: sizes of the stored tensors, which operators may need to know before they run.
    """

    model: onnx.ModelProto
    nodes: Mapping[tuple[str, ...], onnx.NodeProto]
    stored: Mapping[str, tuple[int, ...]]

    @classmethod
    def of(cls, data: bytes) -> NodeSource:
        """Read the nodes of a serialised model.

        Args:
            data: the model, in which no name is given twice.
        """
        import onnx

        model = onnx.ModelProto.FromString(data)
        nodes = {tuple(node.output): node for node in every_node(model.graph.node)}
        empty = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import)
        return cls(empty, nodes, {t.name: tuple(t.dims) for t in model.graph.initializer})

    def reads(self, outputs: tuple[str, ...]) -> tuple[str, ...]:
        """List the names that a node reads, those that its bodies read around them included."""
        return tuple(dict.fromkeys(_free([self.nodes[outputs]])))

    def model_of(
        self,
        outputs: tuple[str, ...],
        inputs: Mapping[str, int],
        constants: Mapping[str, NDArray[Any]],
        types: Sequence[int] = (),
    ) -> onnx.ModelProto:
        """Make a model of one node.

        Args:
            outputs: names of the node's results, which tell the node.
            inputs: name of an input -> number of its element type.
            constants: numbers to be stored, by the names under which the node reads them.
            types: numbers of the results' element types, if they are known.
        """
        import onnx
        from onnx import helper, numpy_helper

        made = [name for name in outputs if name]
        model = copy.deepcopy(self.model)
        graph = model.graph
        graph.name = "node"
        graph.node.append(self.nodes[outputs])
        graph.input.extend(
            helper.make_tensor_value_info(n, t, self.stored.get(n)) for n, t in inputs.items()
        )
        stored = (numpy_helper.from_array(array, name) for name, array in constants.items())
        graph.initializer.extend(stored)
        if types:
            pairs = zip(made, types, strict=True)
            graph.output.extend(helper.make_tensor_value_info(n, t, None) for n, t in pairs)
        else:
            graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
        return model


def _free(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """List what nodes read and don't make themselves. No name is given twice in a model."""
    made: set[str] = set()
    for node in nodes:
        yield from (name for name in node.input if name and name not in made)
        for graph in graphs_of(node):
            own = {v.name for v in (*graph.input, *graph.initializer)}
            own |= {name for inner in graph.node for name in inner.output}
            read = (*_free(graph.node), *(v.name for v in graph.output))
            yield from (name for name in read if name not in own and name not in made)
        made.update(node.output)
