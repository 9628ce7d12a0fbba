"""IONames: what a model is called from outside, where its file says more than a program holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["IONames"]


@dataclass(frozen=True)
class IONames:
    """Names of an ONNX model, to be kept when it leaves again.

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
