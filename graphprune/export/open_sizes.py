"""Sizes that an ONNX file leaves open and its program fixes: an edited file must still run at others.

The program says nothing about other sizes, so the edited file is run at some, beside the file it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from graphprune.errors import ExportError
from graphprune.verify.inputs import tiled

from .ort_session import session
from .run_onnx import run_session

__all__ = ["FixedSize", "check_other_sizes", "fixed_sizes_note"]


@dataclass(frozen=True)
class FixedSize:
    """An open size of a file that is fixed in its program.

    Attributes:
        input: number of the input.
        axis: of it.
        name: what the file calls it: ``"axis 2 of x"``, or its own name for the size.
        size: in the program.
    """

    input: int
    axis: int
    name: str
    size: int


def fixed_sizes_note(fixed: Sequence[FixedSize]) -> str:
    """Say which open sizes are fixed while the file is measured and checked."""
    listed = ", ".join(dict.fromkeys(f"{each.name} = {each.size}" for each in fixed))
    return (
        f"torch.export fixes sizes that the file leaves open: {listed}. Costs and checks hold for these; that the "
        "smaller file runs at others, with results of the right sizes, was tried where the dense one does"
    )


def check_other_sizes(
    dense: bytes, small: bytes, inputs: Sequence[Any], fixed: Sequence[FixedSize]
) -> None:
    """Run two files at other sizes than those that the program fixes.

    Args:
        dense: the file that came in.
        small: what is left of it.
        inputs: of the program.
        fixed: the sizes.

    Raises:
        ExportError: if the smaller file fails where the dense one runs, or gives other sizes.
    """
    if not fixed:
        return
    before, after = (session(model, exact=True) for model in (dense, small))
    for name in dict.fromkeys(each.name for each in fixed):
        places = [(each.input, each.axis) for each in fixed if each.name == name]
        for grow in _SIZES:
            tried = [_resized(x, i, places, grow) for i, x in enumerate(inputs)]
            try:
                expected = [y.shape for y in run_session(before, tried)]
            except ExportError:
                continue  # the network doesn't take this size
            got = [y.shape for y in run_session(after, tried)]
            if got != expected:
                raise ExportError(
                    f"the edited file gives results of other sizes where {name} isn't "
                    f"{next(each.size for each in fixed if each.name == name)}"
                )


_SIZES: tuple[Callable[[int], int], ...] = (lambda n: n + 1, lambda n: 2 * n, lambda n: 1)
"""Sizes that are tried in place of one that the program fixes."""


def _resized(
    x: Any, number: int, places: Sequence[tuple[int, int]], grow: Callable[[int], int]
) -> Any:
    """Repeat or leave out rows of some axes of an input."""
    if not isinstance(x, torch.Tensor):
        return x
    axes = {axis for each, axis in places if each == number}
    return tiled(x, [grow(n) if axis in axes else n for axis, n in enumerate(x.shape)])
