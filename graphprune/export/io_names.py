"""Names of an ONNX model's inputs, outputs and dynamic axes, which a program can't hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["IONames"]


@dataclass(frozen=True)
class IONames:
    """Names and opset of an ONNX model, to be kept when it is exported again.

    Attributes:
        inputs: names, in order.
        outputs: names, in order.
        dims: (input, axis) -> name of a dynamic dimension.
        opset: version of the operator set.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    dims: Mapping[tuple[int, int], str] = field(default_factory=dict)
    opset: int | None = None
