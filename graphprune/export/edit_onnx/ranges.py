"""The ranges of an ONNX ``Slice``: inputs since opset 10, attributes before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .editor import Editor
from .stored_numbers import EditError

if TYPE_CHECKING:
    import onnx

__all__ = ["Ranges"]

_NAMES = ("starts", "ends", "axes", "steps")
_INPUTS_SINCE = 10

Numbers = tuple[int, ...]


@dataclass(frozen=True)
class Ranges:
    """Where a slice starts and ends on each of its axes.

    Attributes:
        rank: of the value that is sliced.
        count: how many axes are.
        starts: first rows; ``None``, as of all four, where the file computes them or leaves them out.
        ends: the rows after the last.
        axes: by default the first ones.
        steps: by default 1.
    """

    rank: int
    count: int
    starts: Numbers | None
    ends: Numbers | None
    axes: Numbers | None
    steps: Numbers | None

    @classmethod
    def of(cls, editor: Editor, node: onnx.NodeProto, rank: int) -> Ranges:
        """Read what is stored.

        Args:
            editor: of the model.
            node: the slice.
            rank: of the value that is sliced.
        """
        read = [_read(editor, node, place, name) for place, name in enumerate(_NAMES)]
        count = next((len(numbers) for numbers in read if numbers is not None), 1)
        return cls(rank, count, *read)

    def replaced(self, arguments: Mapping[str, Any], *, pinned: bool) -> Ranges:
        """Replace the range on one axis.

        Args:
            arguments: of ``aten.slice``, with whole numbers.
            pinned: replace computed bounds as well, where there is but one axis.

        Raises:
            EditError: if it isn't known which of the ranges it is.
        """
        axis = arguments["dim"] % self.rank
        order = range(self.count) if self.axes is None else [a % self.rank for a in self.axes]
        if axis in order:
            place = list(order).index(axis)
        elif self.count == 1:  # the file computes which axis it is
            place, order = 0, [axis]
        else:
            raise EditError("one of several ranges changes, on axes that the file computes")
        empty = (0,) if pinned and self.count == 1 else None
        starts, ends = self.starts or empty, self.ends or empty
        axes, steps = self.axes, self.steps
        if steps is None and arguments["step"] != 1:
            axes, steps = self.axes or tuple(order), (1,) * self.count
        return Ranges(
            self.rank,
            self.count,
            _with(starts, place, arguments["start"]),
            _with(ends, place, arguments["end"]),
            axes,
            _with(steps, place, arguments["step"]),
        )

    def write(self, editor: Editor, node: onnx.NodeProto) -> None:
        """Store the ranges where the node reads them.

        Args:
            editor: of the model.
            node: the slice.
        """
        for place, (name, numbers) in enumerate(
            zip(_NAMES, (self.starts, self.ends, self.axes, self.steps), strict=True)
        ):
            if numbers is None:
                continue
            if editor.opset < _INPUTS_SINCE:
                editor.set_attribute(node, name, list(numbers))
            else:
                editor.put(node, place + 1, np.asarray(numbers, _type(editor, node)))


def _read(editor: Editor, node: onnx.NodeProto, place: int, name: str) -> Numbers | None:
    if editor.opset < _INPUTS_SINCE:
        found = editor.attribute(node, name)
        return None if found is None else tuple(found)
    given = node.input[place + 1] if len(node.input) > place + 1 else ""
    numbers = editor.listed(given) if given else None
    return None if numbers is None else tuple(int(n) for n in numbers.reshape(-1))


def _with(numbers: Numbers | None, place: int, number: int) -> Numbers | None:
    if numbers is None:
        return None
    return (*numbers[:place], int(number), *numbers[place + 1 :])


def _type(editor: Editor, node: onnx.NodeProto) -> Any:
    """Find the type of the numbers that are stored: 32 or 64 bits, the same for all."""
    stored = [editor.listed(name) for name in node.input[1:] if name]
    return next((array.dtype for array in stored if array is not None), np.int64)
