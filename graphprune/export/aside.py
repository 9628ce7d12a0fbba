"""Outputs of an ONNX file that no program has, such as labels as text, with the nodes that make them.

They are set aside while the network is cut, and put back into the result as they were.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .onnx_model import rename_in_node

if TYPE_CHECKING:
    import onnx

__all__ = ["Aside"]


@dataclass(frozen=True)
class Aside:
    """What was taken out of an ONNX model, as serialised messages.

    Attributes:
        names: of the outputs that are set aside.
        nodes: that make them of what the network gives.
        outputs: all outputs of the file, in order.
        tensors: stored ones that these nodes read.
        opsets: operator sets of the file.
        apart: nodes that depend on no input and make some of these outputs. An edited file has them still.
    """

    names: tuple[str, ...]
    nodes: tuple[bytes, ...] = field(repr=False)
    outputs: tuple[bytes, ...] = field(repr=False)
    tensors: tuple[bytes, ...] = field(repr=False)
    opsets: tuple[tuple[str, int], ...] = ()
    apart: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def note(self) -> str:
        """What the report says of it."""
        return (
            f"outputs that are no tensors of numbers, or depend on no input: {', '.join(self.names)}. They stay in "
            "the file, with the nodes that make them, and aren't compared"
        )

    def put_back(self, model: onnx.ModelProto, *, anew: bool = False) -> onnx.ModelProto:
        """Copy a model of the rest, with what was taken out.

        Args:
            model: the rest.
            anew: whether it is an export, whose inner names mean something else than the file's.
        """
        import onnx

        whole = copy.deepcopy(model)
        graph = whole.graph
        stored = {tensor.name for tensor in graph.initializer}
        made = {name for node in graph.node for name in node.output}
        nodes = [onnx.NodeProto.FromString(d) for d in (self.apart if anew else ()) + self.nodes]
        tensors = [onnx.TensorProto.FromString(data) for data in self.tensors]
        outputs = [onnx.ValueInfoProto.FromString(data) for data in self.outputs]
        if anew:
            known = {v.name for v in (*graph.input, *graph.output, *outputs)}
            for node in nodes:
                rename_in_node(node, lambda name: _own(name, known))
            for tensor in tensors:
                tensor.name = _own(tensor.name, known)
        graph.node.extend(nodes)
        graph.initializer.extend(t for t in tensors if t.name not in stored | made)
        del graph.output[:]
        graph.output.extend(outputs)
        domains = {each.domain for each in whole.opset_import}
        for domain, version in self.opsets:
            if domain not in domains:
                whole.opset_import.add(domain=domain, version=version)
        return whole


def _own(name: str, known: Collection[str]) -> str:
    """Name a value that was set aside as no value of an export is called."""
    return f"graphprune.aside/{name}" if name and name not in known else name
