"""Read and replace what the nodes of an ONNX graph read: stored tensors, numbers, attributes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.errors import ExportError
from graphprune.export.few_bits import FEW_BITS
from graphprune.export.node_reads import reads_of

if TYPE_CHECKING:
    import onnx

__all__ = ["EditError", "Editor"]

_VALUES = frozenset({"value_float", "value_floats", "value_int", "value_ints"})
"""Attributes in which a ``Constant`` node may hold numbers, beside the tensor ``value``."""

_HANDS_ON = frozenset({"Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators after which numbers are the same, in the same order."""

_ARRANGES = _HANDS_ON | {"Concat", "Where"}
"""Operators that make a list of numbers from others."""


class EditError(ExportError):
    """A cut can't be expressed by editing the ONNX file; it can be exported anew."""


class Editor:
    """An ONNX model under edit.

    Args:
        model: changed in place.
        counts: how many numbers a list holds, by name.
        pinned: store sizes that were computed; else they are taken to follow the cut.
    """

    def __init__(
        self, model: onnx.ModelProto, counts: Mapping[str, int], *, pinned: bool = False
    ) -> None:
        self.model = model
        self.pinned = pinned
        self._counts = counts
        self.graph = model.graph
        self.opset = next((o.version for o in model.opset_import if o.domain in {"", "ai.onnx"}), 0)
        self._initialisers = {t.name: t for t in self.graph.initializer}
        self._makers = {name: node for node in self.graph.node for name in node.output if name}
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
        if maker is not None and maker.op_type in _HANDS_ON:
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

        taken = {*self._initialisers, *self._makers, *(v.name for v in self.graph.input)}
        own = next(
            n for i in range(len(taken) + 1) if (n := f"{name}_{i}" if i else name) not in taken
        )
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(array, order="C"), own))
        self._initialisers[own] = self.graph.initializer[-1]
        return own

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
        if maker is not None and maker.op_type in _HANDS_ON and self._reads[name] == 1:
            handed = self.numbers(maker.input[0])
            if handed is not None and handed.size == array.size:
                self.put(maker, 0, array.reshape(handed.shape).astype(handed.dtype))
                return
        self._reads[name] -= 1
        node.input[position] = self.add(f"{node.name or node.output[0]}/{position}", array)
        self._reads[node.input[position]] += 1

    def put_entries(
        self,
        node: onnx.NodeProto,
        position: int,
        entries: Mapping[int, int],
        *,
        keep: Sequence[int] = (),
        whole: Sequence[int] | None = None,
    ) -> None:
        """Change some of the whole numbers that a node reads, where they are stored.

        Args:
            node: the reader.
            position: of the input.
            entries: index -> new number.
            keep: numbers with a meaning of their own, such as -1 for "what is left", that stay.
            whole: all numbers, to pin them where they are computed.
        """
        name = node.input[position]
        array = self.numbers(name)
        if array is None and self.pinned and entries:
            every = entries.keys() == set(range(self.count(name) or 0))
            known = [entries[i] for i in sorted(entries)] if every else whole
            if known is not None:
                self.put(node, position, np.asarray(known, np.int64))
                return
        if array is not None:
            flat = array.reshape(-1).copy()
            for i, number in entries.items():
                if int(flat[i]) not in keep:
                    flat[i] = number
            self.put(node, position, flat.reshape(array.shape))
            return
        maker = self._arranges(node, position)
        if maker is not None and maker.op_type == "Concat":
            self._put_parts(maker, entries, keep)
        elif maker is not None:
            for source in (1, 2) if maker.op_type == "Where" else (0,):
                self.put_entries(maker, source, entries, keep=keep)

    def _arranges(self, node: onnx.NodeProto, position: int) -> onnx.NodeProto | None:
        """Find what makes one of a node's inputs from other lists.

        Where sizes are pinned, and others read that list too, it is a copy that only this node reads.
        """
        name = node.input[position]
        maker = self._makers.get(name)
        if maker is None or maker.op_type not in _ARRANGES:
            return None
        return self._own_copy(node, position) if self.pinned and self._reads[name] > 1 else maker

    def _own_copy(self, node: onnx.NodeProto, position: int) -> onnx.NodeProto:
        """Let a node read a copy of what makes one of its inputs."""
        name = node.input[position]
        copied = type(node).FromString(self._makers[name].SerializeToString())
        taken = {*self._initialisers, *self._makers, *(v.name for v in self.graph.input)}
        own = next(n for i in range(len(taken) + 1) if (n := f"{name}/{i}") not in taken)
        copied.output[:] = [own]
        copied.name = copied.name and own
        place = next(i for i, each in enumerate(self.graph.node) if each is node)
        self.graph.node.insert(place, copied)
        made = self.graph.node[place]
        node.input[position] = own
        self._makers[own] = made
        self._reads[name] -= 1
        self._reads.update((own, *made.input))
        return made

    def resize_constant(self, name: str, before: Sequence[int], after: Sequence[int]) -> bool:
        """Change the sizes of a value, if a node fills them with one number.

        Args:
            name: of the value.
            before: its sizes.
            after: what they are to be.
        """
        maker = self._makers.get(name)
        if maker is None or maker.op_type != "ConstantOfShape" or len(before) != len(after):
            return False
        pairs = enumerate(zip(before, after, strict=True))
        self.put_entries(maker, 0, {i: n for i, (old, n) in pairs if n != old})
        return True

    def _put_parts(
        self, node: onnx.NodeProto, entries: Mapping[int, int], keep: Sequence[int]
    ) -> None:
        """Change numbers in the lists that a node concatenates."""
        start = 0
        for position, name in enumerate(node.input):
            size = self.count(name)
            if size is None:
                return
            part = {i - start: n for i, n in entries.items() if start <= i < start + size}
            if part:
                self.put_entries(node, position, part, keep=keep)
            start += size

    def computes(self, name: str, count: int) -> bool:
        """Whether the file computes so many known numbers under this name."""
        return self.numbers(name) is None and self._counts.get(name) == count

    def count(self, name: str) -> int | None:
        """Count the numbers of a list, stored or computed from sizes; ``None`` if that isn't known."""
        array = self.numbers(name)
        return self._counts.get(name) if array is None else array.size

    def attribute(self, node: onnx.NodeProto, name: str, default: Any = None) -> Any:
        """Read an attribute of a node."""
        from onnx import helper

        found = [a for a in node.attribute if a.name == name]
        return helper.get_attribute_value(found[0]) if found else default

    def set_attribute(self, node: onnx.NodeProto, name: str, value: Any) -> None:
        """Replace an attribute of a node; ``None`` removes it."""
        from onnx import helper

        kept = [a for a in node.attribute if a.name != name]
        new = [] if value is None else [helper.make_attribute(name, value)]
        del node.attribute[:]
        node.attribute.extend([*kept, *new])

    def multiply(self, node: onnx.NodeProto, factor: NDArray[Any]) -> None:
        """Multiply the only result of a node by a number, under the name that it has."""
        from onnx import helper

        name = node.output[0]
        inner = f"{name}/unscaled"
        factor_name = self.add(f"{name}/factor", factor)
        position = next(i for i, each in enumerate(self.graph.node) if each is node)
        node.output[0] = inner
        self.graph.node.insert(position + 1, helper.make_node("Mul", [inner, factor_name], [name]))
        self._reads.update((inner, factor_name))

    def leave_out(self, node: onnx.NodeProto, positions: Sequence[int]) -> None:
        """Let a node read its inputs at some positions no more."""
        self._reads.subtract(node.input[i] for i in positions)
        node.input[:] = [name for i, name in enumerate(node.input) if i not in positions]

    def replace_by_tensor(self, node: onnx.NodeProto, tensor: torch.Tensor) -> None:
        """Store the only result of a node, which is computed no more."""
        from onnx import helper, numpy_helper

        (name,) = node.output
        array = tensor.detach().cpu().numpy()
        self._reads.subtract(node.input)
        value = numpy_helper.from_array(array, name)
        constant = helper.make_node("Constant", [], [name], name=node.name, value=value)
        node.CopyFrom(constant)

    def drop_unread(self) -> None:
        """Remove what nobody reads any more, but somebody did before."""
        gone: set[str] = set()
        while new := {n for n, count in self._reads.items() if count <= 0} - gone:
            gone |= new
            for name in new:
                maker = self._makers.get(name)
                if maker is not None and {n for n in maker.output if n} <= gone:
                    self._reads.subtract(maker.input)
        if not gone:
            return
        initialisers = [t for t in self.graph.initializer if t.name not in gone]
        nodes = [n for n in self.graph.node if not ({o for o in n.output if o} <= gone)]
        inputs = [
            v for v in self.graph.input if not (v.name in gone and v.name in self._initialisers)
        ]
        for field, values in (("initializer", initialisers), ("node", nodes), ("input", inputs)):
            kept = [type(value).FromString(value.SerializeToString()) for value in values]
            self.graph.ClearField(field)
            getattr(self.graph, field).extend(kept)


def _read_by(graph: onnx.GraphProto) -> Iterator[str]:
    """List what the nodes of a graph read, those of inner graphs too, and its outputs."""
    for node in graph.node:
        yield from reads_of(node)
    yield from (value.name for value in graph.output)
