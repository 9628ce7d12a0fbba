"""Give each reader of a stored vector its own copy, so that a cut may keep other rows of it for each.

Exporters and simplifiers store equal tensors once: biases of zero, initial states, scales. Layers that have nothing else in
common would lose the same channels for it. ``export/edit_onnx/join_copies.py`` puts equal copies together again.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from graphprune.export.node_reads import reads_in_bodies
from graphprune.export.onnx_model import numbered_name

if TYPE_CHECKING:
    import onnx

__all__ = ["separate_shared"]

_LEAST_ROOM = 1 << 20
"""Bytes that copies may take, however small the file is."""


def separate_shared(graph: onnx.GraphProto) -> dict[str, str]:
    """Copy the stored vectors that several nodes read, and tensors that are filled with one number, in place.

    Weights of more dimensions are left shared, since layers that share them are one layer that is called twice; so is
    what is read within bodies, given as an output, or may be overridden by an input. Copies take no more room than all
    stored tensors did before, or ``_LEAST_ROOM``; what is over that stays shared.

    Returns:
        Name of each copy -> name of the tensor that it is of.
    """
    readers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
    shared = {value.name for value in (*graph.input, *graph.output)}
    taken = {tensor.name for tensor in graph.initializer} | shared
    for node in graph.node:
        taken.update(node.output)
        shared.update(reads_in_bodies(node))
        for name in dict.fromkeys(node.input):
            readers[name].append(node)
    copies: dict[str, str] = {}
    room = max(_LEAST_ROOM, sum(tensor.ByteSize() for tensor in graph.initializer))
    for tensor in list(graph.initializer):
        several = readers[tensor.name][1:]
        if not several or tensor.name in shared or not _may_be_copied(tensor):
            continue
        room -= len(several) * tensor.ByteSize()
        if room < 0:
            break
        for node in several:
            name = numbered_name(tensor.name, taken)
            taken.add(name)
            copies[name] = tensor.name
            copy = graph.initializer.add()
            copy.CopyFrom(tensor)
            copy.name = name
            node.input[:] = [name if each == tensor.name else each for each in node.input]
    return copies


def _may_be_copied(tensor: onnx.TensorProto) -> bool:
    """Whether a tensor has rows, and each is a single number or all are the same; sizes and indices are no such tensors."""
    from onnx import TensorProto, numpy_helper

    size = int(np.prod(tensor.dims))
    if size < 2 or tensor.data_type in (TensorProto.INT64, TensorProto.BOOL, TensorProto.STRING):
        return False
    if max(tensor.dims) == size:
        return True
    values = numpy_helper.to_array(tensor)
    return bool((values == values.flat[0]).all())
