"""Find inputs where the user says they are: a folder, a file, an archive, a callable, memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch

from graphprune.errors import LoadError, OptionError, first_line
from graphprune.io.tensor_files import SUFFIXES
from graphprune.ir.private_torch import pytree
from graphprune.loading.factories import resolve, users_code
from graphprune.loading.image_preparation import ImagePreparation

from .arrays import Arrays
from .calibration import Calibration, gather
from .dataset_folder import DatasetFolder, is_dataset_folder
from .images import Images

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["Code", "Source", "calibrate", "open_source", "prepared"]


@runtime_checkable
class Source(Protocol):
    """A source of inputs for a program, and of labels for them if it has any."""

    def calibration(self, program: ExportedProgram, samples: int) -> Calibration:
        """Take inputs for a program, as many as asked for or as there are."""
        ...

    def labelled(self, program: ExportedProgram) -> Iterator[tuple[Any, ...]]:
        """Iterate over flat inputs and, last, their labels ``[n]``, from the beginning at each call."""
        ...


@dataclass(frozen=True)
class Code:
    """A callable of the user's own that yields inputs.

    Attributes:
        name: ``package.module:callable``; called without arguments, it returns an iterable.
    """

    name: str

    def calibration(self, program: ExportedProgram, samples: int) -> Calibration:
        """Take the first samples that the code yields.

        Raises:
            LoadError: if the code fails, or yields something else than the model's inputs.
        """
        return gather(self._items(), program, samples=samples, source=self.name)

    def labelled(self, program: ExportedProgram) -> Iterator[tuple[Any, ...]]:
        """Iterate over all inputs and labels; each item is ``(inputs, labels)``.

        Raises:
            LoadError: if the code fails, or yields something else.
        """
        _ = program
        for item in self._items():
            if not isinstance(item, Sequence) or len(item) != 2:
                raise LoadError(f"{self.name} must yield pairs of inputs and labels")
            inputs, labels = item
            yield *pytree.tree_leaves(inputs), self._tensor(labels)

    def _tensor(self, labels: Any) -> torch.Tensor:
        try:
            return torch.as_tensor(labels)
        except (TypeError, ValueError, RuntimeError) as error:
            raise LoadError(
                f"{self.name} yields labels that are no numbers: {first_line(error)}"
            ) from error

    def _items(self) -> Iterator[Any]:
        make = resolve(self.name)
        with users_code(self.name):
            yield from make()


def open_source(
    text: str | Path,
    *,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    size: tuple[int, int] | None = None,
    seed: int = 0,
    crop: float | None = None,
    interpolation: str | None = None,
) -> Source:
    """Open the data source that a user named.

    Args:
        text: a folder of images or a zip archive of one; a file of tensors (``.npy``, ``.npz``,
            ``.safetensors``); a folder that the ``datasets`` library saved; or
            ``package.module:callable``.
        mean: for images: of each channel.
        std: for images: of each channel.
        size: for images: height and width.
        seed: draws the samples.
        crop: for images: share of the image that the cropped centre has; by default as the model says, or all of it.
        interpolation: for images: filter that they are scaled with; by default as the model says, or bilinear.

    Raises:
        LoadError: if there is no such thing.
        OptionError: if options for images are given and it holds none.
    """
    path = Path(text)
    saved = is_dataset_folder(path)
    if (
        not saved
        and path.suffix.lower() not in SUFFIXES
        and (path.exists() or ":" not in str(text))
    ):
        if not path.exists():
            raise LoadError(f"no such file: {text}")
        return Images(path, tuple(mean), tuple(std), size, seed, crop, interpolation)
    if mean or std or size or crop is not None or interpolation is not None:
        raise OptionError(
            "mean, std, image size, crop and interpolation are for images",
            options=("mean", "std", "image_size", "crop", "interpolation"),
        )
    if saved:
        return DatasetFolder(path, seed)
    return Arrays(path, seed) if path.suffix.lower() in SUFFIXES else Code(str(text))


def prepared(data: Any, suggested: ImagePreparation | None) -> Any:
    """Prepare images as a model says, where the user says nothing else; other data stay as they are."""
    data = open_source(data) if isinstance(data, str | Path) else data
    return data.prepared(suggested) if isinstance(data, Images) else data


def calibrate(
    data: Calibration | Source | Iterable[Any] | str | Path, program: ExportedProgram, samples: int
) -> Calibration:
    """Collect calibration inputs for a program, from whatever the user gave.

    Args:
        data: as in ``open_source``, or an iterable of inputs, or what an earlier call returned.
        program: the dense program.
        samples: how many to take at most; of a ``Calibration``, all are taken.

    Raises:
        LoadError: if there is none, or it isn't what the program accepts.
        OptionError: if ``samples`` isn't positive.
    """
    if samples < 1:
        raise OptionError("samples must be at least 1", options=("samples",))
    if isinstance(data, Calibration):
        found = gather(data.batches, program, samples=data.samples)
        return replace(data, batches=found.batches, whole=found.whole, divisible=found.divisible)
    if isinstance(data, str | Path):
        data = open_source(data)
    if isinstance(data, Source):
        return data.calibration(program, samples)
    if isinstance(data, torch.Tensor | Mapping):  # one item, not an iterable of them
        data = [data]
    return gather(data, program, samples=samples)
