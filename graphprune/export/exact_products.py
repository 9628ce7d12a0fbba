"""Ask for exact products with weights of few bits, in a copy of an ONNX model."""

from __future__ import annotations

from pathlib import Path

from .node_reads import nodes_of
from .onnx_model import read_model

__all__ = ["with_exact_products"]

_ATTRIBUTE = "accuracy_level"
"""Of onnxruntime's MatMulNBits: 4 lets it round what is multiplied with to 8 bits, 1 is float32."""


def with_exact_products(model: bytes | str | Path) -> bytes | str:
    """Let nodes that may round their inputs to 8 bits multiply in float32.

    Args:
        model: a serialised model, or the path of one.

    Returns:
        A serialised copy, or what was given if there are no such nodes.
    """
    given = model if isinstance(model, bytes) else str(model)
    if not isinstance(model, bytes) and not Path(model).is_file():
        return given  # onnxruntime says what is wrong
    data = model if isinstance(model, bytes) else Path(model).read_bytes()
    if _ATTRIBUTE.encode() not in data:
        return given
    copy = read_model(model)
    for node in nodes_of(copy):
        for attribute in node.attribute:
            if attribute.name == _ATTRIBUTE:
                attribute.i = 1
    return copy.SerializeToString()
