"""Take branches that are gone whole out of an ONNX file: their constants are stored, their nodes go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import fx

from graphprune.cut.cut import Cut
from graphprune.ir.nodes import bind
from graphprune.ops import traits_of

from .changes import makes_tensors, position
from .editor import Editor
from .stored_numbers import EditError

if TYPE_CHECKING:
    import onnx

__all__ = ["drop_branches"]


def drop_branches(
    editor: Editor,
    nodes: Sequence[onnx.NodeProto],
    cut: Cut,
    values: Mapping[str, torch.Tensor],
) -> None:
    """Store what is left of removed branches, and leave pieces without channels out of concatenations.

    The nodes of the branches are read by nobody then, and go with the other unread ones.

    Args:
        editor: changed in place.
        nodes: of the file, in its order.
        cut: what was removed.
        values: tensors of the cut program, by name.

    Raises:
        EditError: if a constant is read in full size, or lies within a node.
    """
    if cut.left.spread:
        raise EditError("what is left of a branch is read in full size")
    last = {position(node): node for node in cut.analysis.facts if makes_tensors(node)}
    for node, name in cut.constants.items():
        place = nodes[position(node)]
        if last[position(node)] is not node or len(place.output) > 1:
            raise EditError(f"{place.op_type} node {place.name!a:.80} would be stored in part")
        editor.replace_by_tensor(place, values[name])
    for node in cut.analysis.facts:
        if traits_of(node).concatenates and cut.left.computed(node):
            _leave_out(editor, nodes[position(node)], node, cut)


def _leave_out(editor: Editor, place: onnx.NodeProto, node: fx.Node, cut: Cut) -> None:
    """Leave pieces without channels out of a concatenation."""
    pieces = bind(node)["tensors"]
    gone = [i for i, piece in enumerate(pieces) if piece in cut.left.empty]
    if not gone:
        return
    if place.op_type != "Concat" or len(place.input) != len(pieces):
        raise EditError(f"{place.op_type} node {place.name!a:.80} can't leave out what is gone")
    editor.leave_out(place, gone)
