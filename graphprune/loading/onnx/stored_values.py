"""What an ONNX file stores: as tensors of a module under its own names, or as known numbers."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping, Sequence
from keyword import iskeyword
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from graphprune.errors import LoadError
from graphprune.export.few_bits import FEW_BITS
from graphprune.loading.argument_names import distinct

from .operators import OPERATORS, Node, OnnxOperator
from .values import MAX_KNOWN, Known

__all__ = [
    "constant",
    "known_number",
    "masks",
    "module_paths",
    "read_tensor",
    "readers",
]


def constant(node: Node) -> NDArray[Any]:
    """Return what a ``Constant`` node holds.

    Raises:
        LoadError: if it holds neither a tensor nor numbers.
    """
    for name, kind in (
        ("value", None),
        ("value_float", np.float32),
        ("value_floats", np.float32),
        ("value_int", np.int64),
        ("value_ints", np.int64),
    ):
        if name in node.attributes:
            return np.asarray(node.attributes[name], dtype=kind)
    raise LoadError(f"{node}: a constant of this kind is not supported")


def readers(nodes: Sequence[Node]) -> tuple[set[str], set[str]]:
    """Find the names that are read as tensors, and those of which training leaves the values alone.

    Exporters store equal tensors once and hand them out by ``Identity``.
    """
    as_tensor: set[str] = set()
    fixed: set[str] = set()
    for node in reversed(nodes):
        entry = OPERATORS.get(node.operator, _NO_ENTRY)
        as_tensor |= {name for i, name in enumerate(node.inputs) if i not in entry.sizes}
        fixed |= {node.inputs[i] for i in entry.fixed if i < len(node.inputs)}
        if node.operator == "Identity" and node.outputs[0] in fixed:
            fixed.add(node.inputs[0])
    return as_tensor, fixed


def masks(arrays: Mapping[str, NDArray[Any]], nodes: Sequence[Node]) -> set[str]:
    """Find the stored tensors that hold ``-inf`` to shut places out of an attention, as one row of a table does.

    Weights of layers and anything with NaN or ``+inf`` aren't among them: those were trained wrongly.
    """
    found = {
        name
        for name, array in arrays.items()
        if array.dtype.kind == "f" and array.size and np.min(array) == -np.inf
        and np.max(array) < np.inf
    }  # fmt: skip
    weighed = {name for node in nodes if node.operator not in _MASKED_BY for name in node.inputs}
    return found - weighed


_MASKED_BY = frozenset({
    "Add", "Cast", "Concat", "Expand", "Gather", "Identity", "Reshape", "Slice", "Sum", "Transpose",
    "Unsqueeze", "Where",
})  # fmt: skip
"""Operators that read a mask, or a table with one, as it is: no product makes NaN of it."""

_NO_ENTRY = OnnxOperator(lambda node: None)  # of a branch that isn't taken


_DIRECTIONS = 2
"""How many zero points of 8 bits the weights of a recurrent layer have."""


def known_number(array: NDArray[Any], *, floats: bool) -> Known | None:
    """Convert an array to known numbers, if it is made of integers, or of floats where these may be."""
    if array.size > MAX_KNOWN or array.dtype.kind not in ("iubf" if floats else "iub"):
        return None
    if array.size > _DIRECTIONS and array.dtype.itemsize == 1 and array.dtype.kind in "iu":
        return None  # a quantised tensor; sizes and axes have more bits
    items = np.empty(array.shape, dtype=object)
    items[...] = array.tolist()
    return Known(items, torch.from_numpy(np.empty(0, array.dtype)).dtype)


def read_tensor(array: NDArray[Any], name: str) -> torch.Tensor:
    """Copy an array into a tensor.

    Raises:
        LoadError: if PyTorch has no such type.
    """
    if array.dtype.name == "bfloat16":  # numpy has no such type of its own
        return torch.from_numpy(array.view(np.uint16).copy()).view(torch.bfloat16)
    if array.dtype.name in FEW_BITS:
        return torch.from_numpy(array.astype(FEW_BITS[array.dtype.name]))
    try:
        return torch.from_numpy(array.copy())
    except TypeError as error:
        raise LoadError(
            f"tensor {name!a:.80} has elements of type {array.dtype}, which is not supported"
        ) from error


def module_paths(names: Sequence[str], taken: Container[str]) -> list[str]:
    """Choose a path in a module for each name: dots stay where no other name is in the way, and no part is a word of Python.

    Args:
        names: in the file.
        taken: attributes of the module that no tensor may replace, such as ``forward``.
    """

    def own(part: str) -> str:
        return part + "_" if part in taken or iskeyword(part) else part

    parts = [
        [re.sub(r"\W", "_", part) or "_" for part in re.sub(r"^\W+", "", name).split(".")]
        for name in names
    ]
    inner = {tuple(p[:i]) for p in parts for i in range(1, len(p))}
    safe = [
        ".".join(own(part) for part in p) if tuple(p) not in inner else "_".join(p) + "_value"
        for p in parts
    ]
    return distinct(safe)
