"""Outputs of an ONNX file that no program has, such as labels as text, with the nodes that make them.

They are set aside while the network is cut, and put back into the result as they were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
    """

    names: tuple[str, ...]
    nodes: tuple[bytes, ...] = field(repr=False)
    outputs: tuple[bytes, ...] = field(repr=False)
    tensors: tuple[bytes, ...] = field(repr=False)
    opsets: tuple[tuple[str, int], ...] = ()

    @property
    def note(self) -> str:
        """What the report says of it."""
        return (
            f"outputs that are no tensors of numbers, or depend on no input: {', '.join(self.names)}. They stay in "
            "the file, with the nodes that make them, and aren't compared"
        )

    def put_back(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Copy a model of the rest, with what was taken out."""
        import onnx

        whole = onnx.ModelProto.FromString(model.SerializeToString())
        graph = whole.graph
        stored = {tensor.name for tensor in graph.initializer}
        made = {name for node in graph.node for name in node.output}
        graph.node.extend(onnx.NodeProto.FromString(data) for data in self.nodes)
        tensors = [onnx.TensorProto.FromString(data) for data in self.tensors]
        graph.initializer.extend(t for t in tensors if t.name not in stored | made)
        del graph.output[:]
        graph.output.extend(onnx.ValueInfoProto.FromString(data) for data in self.outputs)
        domains = {each.domain for each in whole.opset_import}
        for domain, version in self.opsets:
            if domain not in domains:
                whole.opset_import.add(domain=domain, version=version)
        return whole
