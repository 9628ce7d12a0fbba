"""The table of what a cut changes in an ONNX node beside its weights: sizes, ranges, groups, indices.

A rewriter takes what the cut makes of the ATen calls of a node and writes it in the node's own form.
An operator without one keeps its attributes and inputs; where its calls change by more than the sizes that
they are told, the file can't be edited. The edited file is compared with the cut program in any case.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import fx

from .changes import SIZES, Change
from .editor import Editor
from .stored_numbers import EditError

if TYPE_CHECKING:
    import onnx

__all__ = ["REWRITERS", "Rewriter", "rewriter"]


Rewriter = Callable[[Editor, "onnx.NodeProto", Sequence[Change]], None]

REWRITERS: dict[str, Rewriter] = {}

SQUEEZE_READS_AXES = 13
"""Version of the operator set from which on the axes of a Squeeze are an input."""


def rewriter(*names: str) -> Callable[[Rewriter], Rewriter]:
    """Enter a function into the table, for one or several operators."""

    def enter(rewrite: Rewriter) -> Rewriter:
        REWRITERS.update(dict.fromkeys(names, rewrite))
        return rewrite

    return enter


@rewriter("Flatten", "GatherBlockQuantized", "Unsqueeze")
def _nothing(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Change nothing: the node has no sizes of its own."""


@rewriter("Squeeze")
def _squeeze(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """State the axes where all of size 1 are meant, and another one is of size 1 after the cut."""
    if len(node.input) > 1 or editor.attribute(node, "axes") is not None:
        return
    axes = changes[0].before["dim"]
    if 1 not in changes[0].sizes:
        return
    if not axes:  # no axes are all axes
        node.op_type = "Identity"
    elif editor.opset < SQUEEZE_READS_AXES:
        editor.set_attribute(node, "axes", axes)
    else:
        editor.put(node, 1, np.array(axes, np.int64))


@rewriter("Reshape")
def _reshape(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    for change in changes:
        name = "shape" if "shape" in change.before else "size"
        editor.put_entries(node, 1, change.entries(name), keep=(0, -1), whole=change.whole(name))


@rewriter("Expand")
def _expand(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    count = editor.count(node.input[1])
    for change in changes:
        rank = len(change.sizes)
        shift = 0 if count is None else rank - count
        entries = {i - shift: n for i, n in change.entries("size").items() if i >= shift}
        listed = change.call.arguments.get("size", ())
        sizes = [n for n in listed if not isinstance(n, fx.Node)]
        whole = sizes if len(sizes) == rank and -1 not in sizes else None
        editor.put_entries(node, 1, entries, keep=(1,), whole=whole)


@rewriter("Tile")
def _tile(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    for change in changes:
        editor.put_entries(node, 1, change.entries("repeats"))


@rewriter("ConstantOfShape")
def _constant_of_shape(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    for change in changes:
        whole = change.whole("size")
        known = whole if whole is not None and -1 not in whole else None
        editor.put_entries(node, 0, change.entries("size"), whole=known)


@rewriter("Conv", "ConvTranspose", "FusedConv")
def _convolution(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    for change in changes:
        if "groups" in change.before and change.call.changed:
            editor.set_attribute(node, "group", int(change.call.arguments["groups"]))


@rewriter("DeformConv")
def _deformed(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write the numbers of groups, of the weights and of the offsets."""
    _convolution(editor, node, changes)
    groups = next(change.sizes[1] for change in changes if "sizes" in change.before)
    if editor.attribute(node, "offset_group", 1) != groups:
        editor.set_attribute(node, "offset_group", groups)


@rewriter("MaxUnpool")
def _max_unpool(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write the number of channels where the sizes of the result are given."""
    if len(node.input) > 2:
        editor.put_entries(node, 2, {1: changes[-1].sizes[1]})


@rewriter("DequantizeLinear")
def _dequantize(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write how many rows a block has, where an axis is parted into blocks."""
    if not editor.attribute(node, "block_size", 0):
        return
    rank = len(changes[-1].sizes)
    axis = editor.attribute(node, "axis", 1) % rank
    parted = [change.sizes for change in changes if len(change.sizes) == rank + 1]
    editor.set_attribute(node, "block_size", parted[-1][axis + 1])


@rewriter("MatMulNBits")
def _few_bits(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write the sizes of the weight, whose last block need not be full."""
    for change in changes:
        if change.node.target is torch.ops.aten.linear.default:
            weight = change.before["weight"]
            sizes = next(each.sizes for each in changes if each.node is weight)
            for name, size in zip("NK", sizes, strict=True):
                editor.set_attribute(node, name, size)


_HEADS = {
    "Attention": ("num_heads",),
    "GroupQueryAttention": ("num_heads", "kv_num_heads"),
    "MultiHeadAttention": ("num_heads",),
}
"""onnxruntime's operators -> attributes with the numbers of heads, those of the queries first."""


@rewriter("Attention", "GroupQueryAttention", "MultiHeadAttention")
def _attention(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Pin the scale, whose default depends on the width of a head; write the numbers of heads, and widths."""
    heads: list[int] = []
    for change in changes:
        if "scale" in change.before:
            editor.set_attribute(node, "scale", float(change.call.arguments["scale"]))
        elif "split_sizes" in change.before and node.op_type == "Attention":
            sizes = [int(n) for n in change.call.arguments["split_sizes"]]
            editor.set_attribute(node, "qkv_hidden_sizes", sizes)
        elif len(change.sizes) == 4 and not SIZES.isdisjoint(change.before):
            heads.append(change.sizes[2])
    names = ("q_num_heads", "kv_num_heads")  # of ONNX's own
    if node.domain == "com.microsoft":
        names = _HEADS[node.op_type]
    for name, number in zip(names, heads, strict=False):
        editor.set_attribute(node, name, number)


@rewriter("RotaryEmbedding")
def _rotary(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write the number of heads, and how many channels of each are turned: two for each column of the tables."""
    if editor.attribute(node, "rotary_embedding_dim", 0):
        table = editor.numbers(node.input[2 if node.domain else 1])
        if table is None:
            raise EditError(f"{node.op_type} node {node.name!a:.80} reads computed tables")
        editor.set_attribute(node, "rotary_embedding_dim", 2 * table.shape[-1])
    parted = [change.sizes[2] for change in changes if "sizes" in change.before]
    if editor.attribute(node, "num_heads", 0) and parted:
        editor.set_attribute(node, "num_heads", parted[0])


@rewriter("Resize")
def _resize(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write the number of channels where sizes are given for all axes."""
    count = editor.count(node.input[3]) if len(node.input) > 3 else None
    if count == len(changes[-1].sizes):
        editor.put_entries(node, 3, {1: changes[-1].sizes[1]})


@rewriter("DynamicQuantizeLSTM", "GRU", "LSTM", "RNN")
def _recurrent(editor: Editor, node: onnx.NodeProto, changes: Sequence[Change]) -> None:
    """Write the hidden size; weights are sliced gate by gate, and states follow them."""
    recurrence = editor.numbers(node.input[2])
    if recurrence is None:
        raise EditError(f"{node.op_type} node {node.name!a:.80} reads computed weights")
    axis = 1 if node.op_type == "DynamicQuantizeLSTM" else 2  # its weights are transposed
    editor.set_attribute(node, "hidden_size", int(recurrence.shape[axis]))
