"""Write what a cut changes in ONNX normalisations: the epsilon and the weight, where a mean runs over fewer rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .changes import Change
from .editor import Editor
from .rewriters import rewriter
from .stored_numbers import EditError

if TYPE_CHECKING:
    import onnx

__all__ = ["scale_weight"]

_WEIGHTS = {
    "GroupNormalization": 1,
    "InstanceNormalization": 1,
    "LayerNormalization": 1,
    "RMSNormalization": 1,
    "SimplifiedLayerNormalization": 1,
    "SkipLayerNormalization": 2,
    "SkipSimplifiedLayerNormalization": 2,
}
"""Normalisations -> the position of the input that holds their weight."""


@rewriter(*_WEIGHTS)
def _normalisation(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write the epsilon and the number of groups, where they change."""
    for change in changes:
        after, before = change.call.arguments, change.before
        if before.get("eps") != after.get("eps"):
            editor.set_attribute(node, "epsilon", float(after["eps"]))
        if before.get("num_groups") != after.get("num_groups"):
            editor.set_attribute(node, "num_groups", int(after["num_groups"]))


def scale_weight(editor: Editor, node: onnx.NodeProto, factor: float) -> None:
    """Multiply the weight of a normalisation; other nodes that read the same tensor go on reading it as it is.

    Args:
        editor: holds the file, whose tensors are sliced already.
        node: to be scaled.
        factor: makes up for the rows that its mean has lost.

    Raises:
        EditError: if it is another operator, or its weight is computed.
    """
    place = _WEIGHTS.get(node.op_type)
    weight = None if place is None else editor.numbers(node.input[place])
    if place is None or weight is None:
        raise EditError(f"{node.op_type} node {node.name!a:.80} would need a factor inside")
    editor.put(node, place, np.asarray(weight * weight.dtype.type(factor), weight.dtype))
