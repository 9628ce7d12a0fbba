"""Read images from a folder or a zip archive, as the tensors that a program takes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from graphprune.errors import LoadError, OptionError, first_line
from graphprune.ir.program import user_inputs
from graphprune.loading.image_preparation import INTERPOLATIONS, ImagePreparation

from .calibration import Calibration, gather
from .class_folders import class_folders
from .classes import class_count
from .decode_image import BROKEN, MODES, SUFFIXES, decode, scaled
from .files import list_files, reader

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["Images", "images"]


@dataclass(frozen=True)
class Images:
    """Images of a folder, nested or not, or of a zip archive of one.

    The centre of an image is cropped and scaled to the size, pixels become 0 to 1, then
    ``(pixel - mean) / std``. Files that can't be read are skipped and counted, among them images
    of more pixels than Pillow's ``MAX_IMAGE_PIXELS`` and files larger than 64 MiB.

    Attributes:
        path: the folder or archive.
        mean: of each channel, or one for all.
        std: likewise.
        size: height and width; ``None``: those of the program's input.
        seed: draws which images are taken when not all are.
        crop: share of the height or width, whichever fits, that is used: 0.875 is a resize to 256
            before a crop of 224. ``None``: all of it.
        interpolation: filter that images are scaled with, one of ``INTERPOLATIONS``. ``None``: bilinear.
        suggested: what the model says; it counts where nothing else is given.
    """

    path: Path
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    size: tuple[int, int] | None = None
    seed: int = 0
    crop: float | None = None
    interpolation: str | None = None
    suggested: ImagePreparation | None = None

    def __post_init__(self) -> None:
        """Refuse invalid values.

        Raises:
            OptionError: with the option's name.
        """
        if not all(map(math.isfinite, (*self.mean, *self.std))) or 0 in self.std:
            raise OptionError(
                "mean and std must be finite, and std must not be 0", options=("mean", "std")
            )
        if self.size is not None and min(self.size) < 1:
            raise OptionError("an image has at least 1 pixel", options=("image_size",))
        if self.crop is not None and not 0 < self.crop <= 1:
            raise OptionError(
                f"crop must be above 0 and at most 1, not {self.crop:g}",
                hint="0.875 for a resize to 256 before a crop of 224",
                options=("crop",),
            )
        if self.interpolation is not None and self.interpolation not in INTERPOLATIONS:
            raise OptionError(
                f"no interpolation {self.interpolation!r}",
                hint=f"one of {', '.join(sorted(INTERPOLATIONS))}",
                options=("interpolation",),
            )

    def calibration(self, program: ExportedProgram, samples: int) -> Calibration:
        """Take as many images as asked for, drawn by the seed.

        Raises:
            LoadError: if there is no readable image, or the program doesn't take images.
        """
        names = self._names()
        order = np.random.default_rng(self.seed).permutation(len(names))
        skipped: list[str] = []
        items = (image for _, image in self._read([names[i] for i in order], program, skipped))
        found = gather(items, program, samples=samples)
        source = f"{found.samples} of {len(names)} images in {self.path.name}"
        notes = self._notes(_channels(program))
        return replace(found, source=source, skipped=len(skipped), notes=notes)

    def prepared(self, suggested: ImagePreparation | None) -> Images:
        """Copy these images with what a model says of their preparation, where it wasn't told before."""
        return self if self.suggested else replace(self, suggested=suggested)

    def _taken(self, channels: int) -> ImagePreparation:
        """Select what the model says and nobody else: of mean and std, if they fit the channels."""
        said = self.suggested or ImagePreparation("")
        normal = not (self.mean or self.std) and len(said.mean) in (1, channels)
        return ImagePreparation(
            said.origin,
            said.mean if normal else (),
            said.std if normal else (),
            said.crop if self.crop is None else None,
            said.interpolation if self.interpolation is None else None,
        )

    def _notes(self, channels: int) -> tuple[str, ...]:
        taken, name = self._taken(channels), self.path.name
        notes = (
            [f"images of {name} are prepared as {taken.origin} says: {taken.told()}"]
            if taken.told()
            else []
        )
        if not (self.mean or self.std or taken.mean):
            notes.append(f"pixels of {name} are 0 to 1: no mean and std given")
        return tuple(notes)

    def labels(self) -> dict[str, int]:
        """Map each file to its class: the number that its folder is called, or else its place in alphabetical order.

        Folders that hold all images are not classes.

        Raises:
            LoadError: if the images don't lie in at least two folders, or only some folders are numbers.
        """
        return class_folders(self._names(), self.path.name).labels

    def labelled(self, program: ExportedProgram) -> Iterator[tuple[Any, ...]]:
        """Iterate over every readable image ``[1, c, h, w]`` with its label ``[1]``.

        Raises:
            LoadError: if there aren't as many folders as the model has classes, or a folder's number isn't one of
                them. Classes may be missing where folders are numbers.
        """
        folders = class_folders(self._names(), self.path.name)
        folders.check(class_count(program))
        labels = folders.labels
        for name, image in self._read(list(labels), program, []):
            yield image, torch.tensor([labels[name]])

    def named(self, program: ExportedProgram) -> Iterator[tuple[str, torch.Tensor]]:
        """Iterate over the names of all readable files with their images ``[1, c, h, w]``.

        Raises:
            LoadError: if there is no readable image, or the program doesn't take images.
        """
        yield from self._read(self._names(), program, [])

    def _names(self) -> list[str]:
        names = list_files(self.path, SUFFIXES)
        if not names:
            raise LoadError(
                f"{self.path} has no images ({', '.join(SUFFIXES)})",
                hint="tensors are read from .npy, .npz and .safetensors files",
            )
        return names

    def _read(
        self, names: Sequence[str], program: ExportedProgram, skipped: list[str]
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """Iterate over names and images ``[1, c, h, w]``; unreadable names are added to ``skipped``."""
        example = _image_input(program)
        channels, height, width = example.shape[1:]
        taken = self._taken(channels)
        mean, std = (
            _per_channel(values, channels)
            for values in (self.mean or taken.mean or (0.0,), self.std or taken.std or (1.0,))
        )
        crop = self.crop or taken.crop or 1.0
        method = self.interpolation or taken.interpolation or "bilinear"
        reason = ""
        with reader(self.path) as read:
            for name in names:
                try:
                    pixels = scaled(
                        decode(read(name), MODES[channels]),
                        self.size or (height, width),
                        crop,
                        method,
                    )
                except BROKEN as error:
                    skipped.append(name)
                    reason = reason or f"{name}: {first_line(error)}"
                    continue
                image = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
                yield name, ((image - mean) / std).to(example.dtype)[None]
        if len(skipped) == len(names):
            raise LoadError(
                f"none of the {len(names)} images in {self.path.name} can be read ({reason})"
            )


def images(
    path: str | Path,
    *,
    mean: Sequence[float] = (),
    std: Sequence[float] = (),
    size: int | tuple[int, int] | None = None,
    seed: int = 0,
    crop: float | None = None,
    interpolation: str | None = None,
) -> Images:
    """Name a folder of calibration images, for ``compress(..., calibration=gp.images(...))``.

    Args:
        path: a folder of images, nested or not, or a zip archive of one.
        mean: of each channel, or one for all; pixels are 0 to 1. This and what follows is by default as a model of
            timm says itself.
        std: likewise.
        size: pixels, or height and width; by default those of the model's input.
        seed: draws which images are taken; the same seed draws the same ones.
        crop: share of the image that the cropped centre has: 0.875 where a network was trained on
            the 224 pixels in the middle of 256.
        interpolation: filter that images are scaled with: ``bilinear``, ``bicubic``, ``lanczos``,
            ``box``, ``hamming`` or ``nearest``.

    Raises:
        OptionError: if a value is invalid.
    """
    pair = (size, size) if isinstance(size, int) else size
    return Images(Path(path), tuple(mean), tuple(std), pair, seed, crop, interpolation)


def _channels(program: ExportedProgram) -> int:
    return _image_input(program).shape[1]


def _image_input(program: ExportedProgram) -> torch.Tensor:
    examples = user_inputs(program)
    if len(examples) == 1 and isinstance(x := examples[0], torch.Tensor):
        if x.ndim == 4 and x.is_floating_point() and x.shape[1] in MODES:
            return x
        shape = f"[{', '.join(map(str, x.shape))}], {x.dtype}"
    else:
        shape = f"{len(examples)} inputs"
    raise LoadError(
        f"images fit an input [n, 1, 3 or 4, h, w] of floats; the model takes {shape}",
        hint="give tensors: a file such as data.npz, or package.module:callable",
        options=("calibration",),
    )


def _per_channel(values: Sequence[float], channels: int) -> torch.Tensor:
    if len(values) not in {1, channels}:
        raise OptionError(
            f"{len(values)} values of mean or std for {channels} channels", options=("mean", "std")
        )
    return torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
