"""Store equal copies of a tensor once, as the file did before its readers were separated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from graphprune.export.onnx_model import drop_initializers

if TYPE_CHECKING:
    import onnx

__all__ = ["join_copies"]


def join_copies(graph: onnx.GraphProto, copies: Mapping[str, str]) -> None:
    """Let nodes read the tensor that a copy is of, where the two are still equal, and drop the copy, in place.

    Args:
        graph: after a cut, with copies that ``loading/onnx/separate_shared.py`` made.
        copies: name of each copy -> name of the tensor that it is of.
    """
    from onnx import numpy_helper

    names = {*copies, *copies.values()}
    stored = {t.name: numpy_helper.to_array(t) for t in graph.initializer if t.name in names}
    joined: dict[str, str] = {}
    kept = {origin: [origin] for origin in copies.values()}
    for name, origin in copies.items():
        if name in stored:
            others = [other for other in kept[origin] if other in stored]
            equal = [other for other in others if np.array_equal(stored[other], stored[name])]
            if equal:
                joined[name] = equal[0]
            else:
                kept[origin].append(name)
    for node in graph.node:
        if not joined.keys().isdisjoint(node.input):
            node.input[:] = [joined.get(name, name) for name in node.input]
    drop_initializers(graph, joined)
