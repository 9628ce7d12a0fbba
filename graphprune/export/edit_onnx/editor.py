"""Edit the nodes of an ONNX graph: the sizes that they read, their attributes, what they compute."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.export.node_reads import reads_of
from graphprune.export.onnx_model import numbered_name

from .stored_numbers import HANDS_ON, EditError, StoredNumbers

if TYPE_CHECKING:
    import onnx

__all__ = ["Editor"]

_ARRANGES = HANDS_ON | {"Concat", "Where"}
"""Operators that make a list of numbers from others."""

_INITIALISERS_ALONE = 4
"""Version of the format from which on a stored tensor need not be an input."""


class Editor(StoredNumbers):
    """An ONNX model under edit: its stored numbers, computed sizes, attributes and nodes.

    Args:
        model: changed in place.
        counts: how many numbers a list holds, by name.
        pinned: store sizes that were computed; else they are taken to follow the cut.
    """

    def __init__(
        self, model: onnx.ModelProto, counts: Mapping[str, int], *, pinned: bool = False
    ) -> None:
        super().__init__(model, counts)
        self.pinned = pinned
        self._has_constants = any(node.op_type == "Constant" for node in self.graph.node)
        self._results: list[str] = []

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
        copied = copy.deepcopy(self._makers[name])
        own = numbered_name(name, self._names())
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
        """Multiply the only result of a node by a number, under the name that it has.

        Raises:
            EditError: if the node lies within a body.
        """
        from onnx import helper

        if node.output[0] in self._inner:
            raise EditError(f"{node.op_type} node {node.name!a:.80} lies within a body")

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
        self._reads.subtract(reads_of(node))
        value = numpy_helper.from_array(array, name)
        constant = helper.make_node("Constant", [], [name], name=node.name, value=value)
        node.CopyFrom(constant)
        self._results.append(name)

    def hold_results(self) -> None:
        """Hold stored results as the file holds all its tensors, if no node of it does.

        Before version 4 of the format, such tensors would be inputs too.
        """
        names = set(self._results).difference(value.name for value in self.graph.output)
        if self._has_constants or self.model.ir_version < _INITIALISERS_ALONE:
            return
        kept = [copy.deepcopy(n) for n in self.graph.node if n.output[0] not in names]
        for node in self.graph.node:
            if node.output[0] in names:
                self.graph.initializer.append(node.attribute[0].t)
        self.graph.ClearField("node")
        self.graph.node.extend(kept)

    def drop_unread(self) -> None:
        """Remove what nobody reads any more, but somebody did before."""
        gone: set[str] = set()
        while new := {n for n, count in self._reads.items() if count <= 0} - gone:
            gone |= new
            for name in new:
                maker = self._makers.get(name)
                if maker is not None and {n for n in maker.output if n} <= gone:
                    self._reads.subtract(reads_of(maker))
        if not gone:
            return
        initialisers = [t for t in self.graph.initializer if t.name not in gone]
        nodes = [n for n in self.graph.node if not ({o for o in n.output if o} <= gone)]
        inputs = [
            v for v in self.graph.input if not (v.name in gone and v.name in self._initialisers)
        ]
        for field, values in (("initializer", initialisers), ("node", nodes), ("input", inputs)):
            kept = [copy.deepcopy(value) for value in values]
            self.graph.ClearField(field)
            getattr(self.graph, field).extend(kept)
