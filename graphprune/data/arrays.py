"""Read input tensors from ``.npy``, ``.npz`` and ``.safetensors`` files."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from graphprune.errors import LoadError
from graphprune.io.tensor_files import ONLY, read_tensors
from graphprune.ir.program import input_names, user_inputs

from .calibration import Calibration, gather

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["CHUNK", "Arrays", "cast_floats", "input_columns"]

LABELS = "y"
"""Name of the array of labels in a file of inputs with labels."""

CHUNK = 256
"""Samples that are passed on at a time."""


@dataclass(frozen=True)
class Arrays:
    """A file of input tensors, each ``[n, ...]``, named as the model's inputs are.

    One array alone, or one called ``x``, may be the input of a model that has one. Floats are
    cast to the type that the model takes.

    Attributes:
        path: the file.
        seed: draws which samples are taken when not all are.
    """

    path: Path
    seed: int = 0

    def calibration(self, program: ExportedProgram, samples: int) -> Calibration:
        """Take as many samples as asked for, drawn by the seed.

        Raises:
            LoadError: if the file can't be read, or doesn't hold the model's inputs.
        """
        columns = self._inputs(self._load(), program)
        count = _length(columns, self.path)
        order = torch.from_numpy(np.random.default_rng(self.seed).permutation(count)[:samples])
        rows = (tuple(c[i] for c in columns) for i in order.split(CHUNK))
        items = (cast_floats(row, program) for row in rows)
        source = f"{len(order)} of {count} samples in {self.path.name}"
        return gather(items, program, samples=samples, source=source)

    def labelled(self, program: ExportedProgram) -> Iterator[tuple[Any, ...]]:
        """Iterate over inputs and their labels ``[n]`` from the array ``y``, a few samples at a time.

        Raises:
            LoadError: if there are no labels, or not one for each sample.
        """
        arrays = self._load()
        labels = arrays.pop(LABELS, None)
        if labels is None or labels.ndim != 1 or labels.is_floating_point():
            raise LoadError(
                f"{self.path.name} has no integer array {LABELS!r} of labels [n]",
                hint=f"call the labels {LABELS!r}, and the inputs as the model's are called",
            )
        columns = (*self._inputs(arrays, program), labels)
        for i in torch.arange(_length(columns, self.path)).split(CHUNK):
            *inputs, label = (column[i] for column in columns)
            yield *cast_floats(tuple(inputs), program), label

    def _load(self) -> dict[str, torch.Tensor]:
        return read_tensors(self.path)

    def _inputs(
        self, arrays: dict[str, torch.Tensor], program: ExportedProgram
    ) -> tuple[torch.Tensor, ...]:
        return tuple(arrays[name] for name in input_columns(arrays, program, self.path.name))


def input_columns(
    available: Collection[str], program: ExportedProgram, source: str
) -> tuple[str, ...]:
    """Select the columns of some data that are the inputs of a program, in calling order.

    Args:
        available: names of the columns.
        program: names of its inputs are looked for. One column alone, or one called ``x``, may be its only input.
        source: what the columns are in, for messages.

    Raises:
        LoadError: if they aren't there.
    """
    names = input_names(program)
    if all(name in available for name in names):
        return tuple(names)
    if len(names) == 1 and (len(available) == 1 or ONLY in available):
        return (ONLY if ONLY in available else next(iter(available)),)
    raise LoadError(
        f"{source} has {', '.join(sorted(available)) or 'no arrays'}; the "
        f"model takes {', '.join(names)}",
        hint="call them as the model's inputs are called",
    )


def _length(columns: tuple[torch.Tensor, ...], path: Path) -> int:
    lengths = {len(column) if column.ndim else 0 for column in columns}
    if len(lengths) != 1:
        raise LoadError(
            f"the arrays in {path.name} have different numbers of samples: "
            f"{', '.join(map(str, sorted(lengths)))}"
        )
    return lengths.pop()


def cast_floats(
    row: tuple[torch.Tensor, ...], program: ExportedProgram
) -> tuple[torch.Tensor, ...]:
    """Cast floats to the type that the program takes; other types stay, so that nothing is lost silently."""
    wanted = [x.dtype if isinstance(x, torch.Tensor) else None for x in user_inputs(program)]
    return tuple(
        x.to(kind) if kind is not None and kind.is_floating_point and x.is_floating_point() else x
        for x, kind in zip(row, wanted, strict=True)
    )
