"""Load the weights that an ONNX file keeps in other files, which must lie in its folder or below."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from graphprune.errors import LoadError, first_line
from graphprune.export.few_bits import PER_BYTE
from graphprune.export.node_reads import graphs_of, nodes_of
from graphprune.export.onnx_model import MAX_BYTES

if TYPE_CHECKING:
    import onnx

__all__ = ["byte_size", "load_external"]


def load_external(model: onnx.ModelProto, path: Path) -> None:
    """Load weights that are stored outside the file into the model.

    Args:
        model: changed in place.
        path: the file, in whose folder or below they must lie.

    Raises:
        LoadError: if one lies elsewhere, doesn't fit what its file holds, or all are too large.
    """
    import onnx

    left = MAX_BYTES - path.stat().st_size
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        size = byte_size(tensor)
        left -= size
        if left < 0:
            raise LoadError(f"the weights of {path.name} are larger than 2 GiB")
        tensor.raw_data = _external(tensor, size, path)
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]


def _tensors(model: onnx.ModelProto) -> Iterable[onnx.TensorProto]:
    yield from model.graph.initializer
    for node in nodes_of(model):
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
        for body in graphs_of(node):
            yield from body.initializer


def byte_size(tensor: onnx.TensorProto) -> int:
    """Compute how many bytes the elements of a stored tensor take.

    Raises:
        LoadError: if its type is unknown or a size is negative.
    """
    from onnx import helper

    try:
        kind = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except KeyError as error:
        raise LoadError(f"tensor {tensor.name!a:.80} has no known type") from error
    if any(n < 0 for n in tensor.dims):
        raise LoadError(f"tensor {tensor.name!a:.80} has a negative size")
    return -(-math.prod(tensor.dims) * kind.itemsize // PER_BYTE.get(kind.name, 1))


def _external(tensor: onnx.TensorProto, size: int, path: Path) -> bytes:
    """Read the bytes of one tensor from a file in the model's folder."""
    name = f"tensor {tensor.name!a:.80}"
    entries = {entry.key: entry.value for entry in tensor.external_data}
    place = PurePosixPath(entries.get("location", "").replace("\\", "/"))
    if not place.parts or place.is_absolute() or ".." in place.parts or ":" in place.parts[0]:
        raise LoadError(f"{name} is stored outside the folder of {path.name}")
    folder = path.parent.resolve()
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        file = (folder / place).resolve()
        if not file.is_relative_to(folder):
            raise LoadError(f"{name} is stored outside the folder of {path.name}")
        with open(file, "rb", opener=_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            fits = offset >= 0 and length == size and offset + size <= status.st_size
            if not stat.S_ISREG(status.st_mode) or not fits:
                raise LoadError(f"{name} doesn't fit what {place} holds")
            stream.seek(offset)
            data = stream.read(size)
    except (OSError, ValueError) as error:
        raise LoadError(f"{name}: can't read {place}: {first_line(error)}") from error
    if len(data) != size:
        raise LoadError(f"{name} doesn't fit what {place} holds")
    return data


def _without_waiting(path: str, flags: int) -> int:
    # A named pipe would block until somebody writes to it.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
