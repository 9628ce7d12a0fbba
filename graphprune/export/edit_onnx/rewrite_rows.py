"""Rewriters of nodes that take, part or add rows: ranges, parts, amounts and indices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .changes import Change
from .editor import Editor
from .ranges import Ranges
from .rewriters import rewriter
from .stored_numbers import EditError

if TYPE_CHECKING:
    import onnx

__all__: list[str] = []


@rewriter("Split")
def _split(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    for change in changes:
        if not change.call.changed:
            continue
        sizes = [int(n) for n in change.call.arguments["split_sizes"]]
        if editor.opset < 13:
            editor.set_attribute(node, "split", sizes)
        else:
            editor.set_attribute(node, "num_outputs", None)
            editor.put(node, 1, np.asarray(sizes, np.int64))


@rewriter("SplitToSequence")
def _split_to_sequence(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write the sizes of all parts, where one size was given for all."""
    for change in changes:
        if change.call.changed:
            sizes = [int(n) for n in change.call.arguments["split_sizes"]]
            if len(node.input) < 2:
                raise EditError(f"{node.op_type} node {node.name!a:.80} gives single rows")
            editor.put(node, 1, np.asarray(sizes, np.int64))


@rewriter("Pad")
def _pad(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write amounts, which ATen orders from the last axis on."""
    for change in changes:
        rank = len(change.sizes)
        axes = editor.numbers(node.input[3]) if len(node.input) > 3 and node.input[3] else None
        order = list(range(rank)) if axes is None else [int(a) % rank for a in axes.reshape(-1)]
        entries = {
            order.index(rank - 1 - i // 2) + (i % 2) * len(order): n
            for i, n in change.entries("pad").items()
        }
        if editor.opset < 11:
            amounts = list(editor.attribute(node, "pads", ()))
            editor.set_attribute(node, "pads", [entries.get(i, n) for i, n in enumerate(amounts)])
        else:
            editor.put_entries(node, 1, entries)


@rewriter("Slice")
def _slice(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write ranges; what is left of an axis in no regular order is gathered."""
    # A range backwards reads a list of rows first, which has one axis.
    ranges = Ranges.of(editor, node, len(changes[-1].sizes))
    for change in changes:
        if not change.call.changed:
            continue
        arguments = change.call.arguments
        if "index" not in arguments:
            ranges = ranges.replaced(arguments, pinned=editor.pinned)
        elif ranges.count > 1:
            raise EditError("rows in no regular order are taken of one of several axes")
        else:
            _gathered(editor, node, arguments["dim"] % ranges.rank, arguments["index"])
            return
    ranges.write(editor, node)


def _gathered(editor: Editor, node: onnx.NodeProto, axis: int, rows: NDArray[Any]) -> None:
    """Make a node take rows of an axis by their numbers."""
    del node.attribute[:]
    del node.input[2:]
    node.op_type = "Gather"
    editor.set_attribute(node, "axis", axis)
    editor.put(node, 1, np.asarray(rows, np.int64))


@rewriter("Gather")
def _gather(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write the new numbers of the rows that are taken."""
    for change in changes:
        if not change.call.changed:
            continue
        arguments = change.call.arguments
        old = editor.numbers(node.input[1])
        if "split_sizes" in arguments or old is None:
            raise EditError("rows are taken by computed numbers")
        rows = _rows(arguments)
        shaped = rows.reshape(old.shape) if rows.size == old.size else rows
        if shaped.ndim != old.ndim:
            raise EditError("rows are taken in a table of numbers")
        editor.put(node, 1, shaped.astype(old.dtype))


def _rows(arguments: Mapping[str, Any]) -> NDArray[Any]:
    """List the numbers of the rows that a call takes, by an index or by a range."""
    if isinstance(index := arguments.get("index"), np.ndarray | int):
        return np.asarray(index)
    return np.arange(arguments["start"], arguments["end"], arguments["step"])


@rewriter("Compress")
def _compress(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write which rows of what is left are taken; rows behind the end of the condition aren't."""
    for change in changes:
        if change.call.changed:
            rows = _rows(change.call.arguments)
            chosen = np.zeros(int(rows.max()) + 1, np.bool_)
            chosen[rows] = True
            editor.put(node, 1, chosen)
