"""Read input tensors from a folder that the ``datasets`` library saved, such as tokenised text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from graphprune.errors import LoadError, first_line
from graphprune.ir.program import user_inputs

from .arrays import CHUNK, cast_floats, input_columns
from .calibration import Calibration, gather

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["DatasetFolder", "is_dataset_folder"]

LABELS = ("label", "labels")
"""Names that a column of classes may have; there is one of them."""

_FILES = ("state.json", "dataset_info.json")
_SPLITS = "dataset_dict.json"
_READ_ERRORS = (OSError, ValueError, TypeError, LookupError, RuntimeError, NotImplementedError)


def is_dataset_folder(path: Path) -> bool:
    """Whether a folder was written by ``save_to_disk`` of a dataset, or of a dictionary of them."""
    return (path / _SPLITS).is_file() or all((path / name).is_file() for name in _FILES)


@dataclass(frozen=True)
class DatasetFolder:
    """A folder that ``Dataset.save_to_disk`` wrote, with a column for each input of the model.

    Columns have the names of the model's inputs; others are not read. Integers are cast to the type that the model
    takes, if that changes no value, and floats as in files of tensors.

    Attributes:
        path: the folder.
        seed: draws which samples are taken when not all are.
    """

    path: Path
    seed: int = 0

    def calibration(self, program: ExportedProgram, samples: int) -> Calibration:
        """Take as many samples as asked for, drawn by the seed.

        Raises:
            LoadError: if the library isn't installed, or the folder can't be read or lacks an input of the model.
        """
        data = self._open()
        columns = input_columns(data.column_names, program, self.path.name)
        order = np.random.default_rng(self.seed).permutation(len(data))[:samples].tolist()
        rows = self._rows(data, columns, order, program) if order else ()
        source = f"{len(order)} of {len(data)} samples in {self.path.name}"
        return gather([rows] if order else [], program, samples=samples, source=source)

    def labelled(self, program: ExportedProgram) -> Iterator[tuple[Any, ...]]:
        """Iterate over inputs and their classes ``[n]`` from the column ``label`` or ``labels``, a few samples at a time.

        Raises:
            LoadError: if there is not one such column of integers.
        """
        data = self._open()
        found = [name for name in LABELS if name in data.column_names]
        if len(found) != 1:
            raise LoadError(
                f"{self.path.name} has {'both' if found else 'neither'} of the columns {' and '.join(LABELS)}",
                hint="keep the one that holds the classes",
                options=("val", "train"),
            )
        others = [name for name in data.column_names if name not in LABELS]
        columns = input_columns(others, program, self.path.name)
        shapes: set[tuple[torch.Size, ...]] = set()
        for start in range(0, len(data), CHUNK):
            numbers = range(start, min(start + CHUNK, len(data)))
            rows = self._rows(data, columns, numbers, program)
            label = self._column(data, found[0], numbers)
            if label.ndim != 1 or label.is_floating_point():
                raise LoadError(f"column {found[0]} of {self.path.name} isn't one integer a sample")
            shapes.add(tuple(row.shape[1:] for row in rows))
            if len(shapes) > 1:
                raise self._ragged(columns)
            yield *rows, label

    def _open(self) -> Any:
        if (self.path / _SPLITS).is_file():
            raise LoadError(
                f"{self.path.name} holds several datasets",
                hint=f"name the folder of one of them, such as {self.path / 'train'}",
            )
        try:
            library: Any = import_module("datasets")
        except ImportError as error:
            raise LoadError(
                f"{self.path.name} was saved by the datasets library, which can't be imported: {first_line(error)}",
                hint="pip install datasets, or save the columns as an .npz file",
            ) from error
        try:
            return library.load_from_disk(str(self.path))
        except _READ_ERRORS as error:
            raise LoadError(f"{self.path.name} can't be read: {first_line(error)}") from error

    def _rows(
        self, data: Any, columns: Sequence[str], numbers: Sequence[int], program: ExportedProgram
    ) -> tuple[torch.Tensor, ...]:
        """Read the inputs of some samples, in calling order and in the types that the program takes."""
        found = tuple(self._column(data, name, numbers) for name in columns)
        examples = zip(columns, found, user_inputs(program), strict=True)
        return cast_floats(tuple(self._as_integers(*each) for each in examples), program)

    def _column(self, data: Any, name: str, numbers: Sequence[int]) -> torch.Tensor:
        try:
            values: Any = data.with_format("numpy", columns=[name])[list(numbers)][name]
            values = np.asarray(values)
        except _READ_ERRORS as error:
            raise LoadError(
                f"column {name} of {self.path.name} can't be read: {first_line(error)}"
            ) from error
        if values.dtype == object:
            raise self._ragged((name,))
        if values.dtype.kind not in "biuf":
            raise LoadError(
                f"column {name} of {self.path.name} holds no numbers",
                hint="save the dataset after its text was tokenised",
            )
        return torch.from_numpy(values)

    def _ragged(self, columns: Sequence[str]) -> LoadError:
        return LoadError(
            f"the samples in column {' or '.join(columns)} of {self.path.name} have different sizes",
            hint="pad and cut all of them to the length of the model's example inputs when they are tokenised",
        )

    def _as_integers(self, name: str, got: torch.Tensor, want: Any) -> torch.Tensor:
        """Cast integers, and truth values, to those that the model takes."""
        kinds = [got.dtype, *([want.dtype] if isinstance(want, torch.Tensor) else [])]
        if len(kinds) < 2 or any(kind.is_floating_point or kind.is_complex for kind in kinds):
            return got
        cast = got.to(kinds[1])
        if not torch.equal(cast.to(got.dtype), got):
            raise LoadError(
                f"column {name} of {self.path.name} has values that aren't of the type {kinds[1]}, which the model takes"
            )
        return cast
