"""Read and replace the numbers that an ONNX graph stores, for one reader of them or for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.errors import ExportError
from graphprune.export.few_bits import FEW_BITS
from graphprune.export.node_reads import inner_nodes, reads_of
from graphprune.export.onnx_model import opset_of

if TYPE_CHECKING:
    import onnx

__all__ = ["HANDS_ON", "EditError", "StoredNumbers"]

_VALUES = frozenset({"value_float", "value_floats", "value_int", "value_ints"})
"""Attributes in which a ``Constant`` node may hold numbers, beside the tensor ``value``."""

HANDS_ON = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators after which numbers are the same, in the same order."""


class EditError(ExportError):
    """A cut can't be expressed by editing the ONNX file; it can be exported anew.

    Attributes:
        places: positions of the nodes that it can't be written into, as far as they are known -> why.
    """

    places: Mapping[int, str] = MappingProxyType({})


class StoredNumbers:
    """The numbers that an ONNX graph stores, and who reads them.

    Args:
        model: changed in place.
        counts: how many numbers a list holds, by name.
    """

    def __init__(self, model: onnx.ModelProto, counts: Mapping[str, int]) -> None:
        self.model = model
        self._counts = counts
        self.graph = model.graph
        self.opset = opset_of(model)
        self._initialisers = {t.name: t for t in self.graph.initializer}
        self._makers = {name: node for node in self.graph.node for name in node.output if name}
        self._inner = {n.output[0]: n for n in inner_nodes(self.graph.node) if n.output}
        self._makers |= {n: each for n, each in self._inner.items() if each.op_type == "Constant"}
        self._reads = Counter(_read_by(self.graph))

    def numbers(self, name: str) -> NDArray[Any] | None:
        """Read a stored tensor; ``None`` if the value is computed."""
        from onnx import helper, numpy_helper

        if name in self._initialisers:
            return numpy_helper.to_array(self._initialisers[name])
        maker = self._makers.get(name)
        if maker is None or maker.op_type != "Constant":
            return None
        (attribute,) = maker.attribute
        if attribute.name == "value":
            return numpy_helper.to_array(attribute.t)
        if attribute.name not in _VALUES:
            return None
        kind = np.float32 if "float" in attribute.name else np.int64
        return np.asarray(helper.get_attribute_value(attribute), kind)

    def listed(self, name: str) -> NDArray[Any] | None:
        """Read a list of numbers that is stored, or handed on from where it is; ``None`` if it is computed."""
        maker = self._makers.get(name)
        if maker is not None and maker.op_type in HANDS_ON:
            found = self.listed(maker.input[0])
            return None if found is None else found.reshape(-1)
        return self.numbers(name)

    def store(self, name: str, tensor: torch.Tensor) -> None:
        """Replace the values of a stored tensor; its element type stays.

        Raises:
            EditError: if the types differ.
        """
        from onnx import TensorProto, helper, numpy_helper

        proto = self._tensor(name)
        data = tensor.detach().cpu().contiguous()
        kind = helper.tensor_dtype_to_np_dtype(proto.data_type)
        if kind.itemsize != data.element_size():
            raise EditError(f"the tensor {name!a:.80} would change its type")
        if kind.name in FEW_BITS:
            new = numpy_helper.from_array(data.numpy().astype(kind), proto.name)
        else:
            new = TensorProto(name=proto.name, data_type=proto.data_type, dims=tuple(data.shape))
            new.raw_data = data.reshape(-1).view(torch.uint8).numpy().tobytes()
        if new.dims == proto.dims and new.raw_data == proto.raw_data:
            return
        new.doc_string = proto.doc_string
        proto.CopyFrom(new)
        for value in self.graph.input:  # old files list stored tensors as inputs too
            if value.name == name:
                del value.type.tensor_type.shape.dim[:]
                for size in data.shape:
                    value.type.tensor_type.shape.dim.add().dim_value = size

    def _tensor(self, name: str) -> onnx.TensorProto:
        """Return the message that holds a stored tensor."""
        from onnx import helper, numpy_helper

        if name in self._initialisers:
            return self._initialisers[name]
        (attribute,) = self._makers[name].attribute
        if attribute.name != "value":
            array = self.numbers(name)
            if array is None:
                raise EditError(f"the constant {name!a:.80} holds no numbers")
            attribute.CopyFrom(helper.make_attribute("value", numpy_helper.from_array(array)))
        return attribute.t

    def add(self, name: str, array: NDArray[Any]) -> str:
        """Store a new tensor, and return its name, which may get a number."""
        from onnx import numpy_helper

        taken = self._names()
        own = next(
            n for i in range(len(taken) + 1) if (n := f"{name}_{i}" if i else name) not in taken
        )
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), own))
        self._initialisers[own] = self.graph.initializer[-1]
        return own

    def _names(self) -> set[str]:
        """List the names that values of the graph have."""
        return {
            *self._initialisers,
            *self._makers,
            *self._inner,
            *(v.name for v in self.graph.input),
        }

    def put(self, node: onnx.NodeProto, position: int, array: NDArray[Any]) -> None:
        """Let a node read these numbers; other nodes go on reading what they read.

        Args:
            node: the reader.
            position: of the input, which may be one that was left out.
            array: the numbers, of the type that is read there.
        """
        while len(node.input) <= position:
            node.input.append("")
        name = node.input[position]
        old = self.numbers(name) if name else None
        if old is not None and old.dtype == array.dtype:
            if old.shape == array.shape and np.array_equal(old, array):
                return
            if self._reads[name] == 1:
                self.store(name, torch.from_numpy(np.asarray(array, order="C")))
                return
        maker = self._makers.get(name)
        if maker is not None and maker.op_type in HANDS_ON and self._reads[name] == 1:
            handed = self.numbers(maker.input[0])
            if handed is not None and handed.size == array.size:
                self.put(maker, 0, array.reshape(handed.shape).astype(handed.dtype))
                return
        self._reads[name] -= 1
        node.input[position] = self.add(f"{node.name or node.output[0]}/{position}", array)
        self._reads[node.input[position]] += 1

    def computes(self, name: str, count: int) -> bool:
        """Whether the file computes so many known numbers under this name."""
        return self.numbers(name) is None and self._counts.get(name) == count

    def count(self, name: str) -> int | None:
        """Count the numbers of a list, stored or computed from sizes; ``None`` if that isn't known."""
        array = self.numbers(name)
        return self._counts.get(name) if array is None else array.size


def _read_by(graph: onnx.GraphProto) -> Iterator[str]:
    """List what the nodes of a graph read, those of inner graphs too, and its outputs."""
    for node in graph.node:
        yield from reads_of(node)
    yield from (value.name for value in graph.output)
