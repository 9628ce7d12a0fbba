"""Where a command reads its data from, and how images are prepared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from graphprune.errors import OptionError

from . import option_values
from .users_code import import_from_here

if TYPE_CHECKING:
    from graphprune.loading import Loaded

__all__ = ["SAMPLES", "Preparation", "as_the_model_says", "sources"]

SAMPLES = 1024
"""How many samples are taken, if it isn't said."""


@dataclass(frozen=True)
class Preparation:
    """How images are to be prepared, as the user wrote it.

    Attributes:
        mean: of each channel, such as ``0.5,0.4,0.3``.
        std: likewise.
        size: pixels, or height and width.
        crop: share of the image that the cropped centre has.
        interpolation: the filter that images are scaled with.
    """

    mean: str = ""
    std: str = ""
    size: str = ""
    crop: float | None = None
    interpolation: str = ""

    def values(self) -> dict[str, Any]:
        """Parse what was written, as keyword arguments of ``open_source``; what wasn't given is left out.

        Raises:
            OptionError: if an option can't be read.
        """
        sizes = option_values.numbers("--image-size", self.size) if self.size else []
        if len(sizes) > 2:
            raise OptionError(
                f"can't read --image-size {self.size!r}", hint="write 224, or 224,320"
            )
        found: dict[str, Any] = {
            "mean": _numbers("--mean", self.mean),
            "std": _numbers("--std", self.std),
            "size": (sizes[0], sizes[-1]) if sizes else None,
            "crop": self.crop,
            "interpolation": self.interpolation or None,
        }
        return {name: value for name, value in found.items() if value not in (None, ())}


def sources(
    data: str,
    val: str,
    preparation: Preparation,
    samples: int = SAMPLES,
    seed: int = 0,
    train: str = "",
) -> dict[str, Any]:
    """Find the calibration, validation and training data, as keyword arguments. None of it is read yet.

    Raises:
        LoadError: if there is no such data.
        OptionError: if an option can't be read, or is for data that isn't there.
    """
    how = preparation.values()
    if not (data or val or train) and (how or seed):
        raise OptionError(
            "--mean, --std, --image-size, --crop, --interpolation and --seed need --data, --val or --train"
        )
    if not (data or train) and samples != SAMPLES:
        raise OptionError("--samples needs --data or --train")
    from graphprune.data import open_source

    import_from_here()
    found: dict[str, Any] = {"val": open_source(val, **how, seed=seed)} if val else {}
    if train:
        found |= {"train": open_source(train, **how, seed=seed), "samples": samples}
    if data:
        found |= {"calibration": open_source(data, **how, seed=seed), "samples": samples}
    return found


def as_the_model_says(data: dict[str, Any], found: Loaded) -> dict[str, Any]:
    """Prepare the images among sources as a file beside the model says, where no option does."""
    from graphprune.data import prepared

    kinds = ("calibration", "val", "train")
    return {n: prepared(v, found.preparation) if n in kinds else v for n, v in data.items()}


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise OptionError(
            f"can't read {option} {text!r}", hint="write 0.5, or 0.5,0.4,0.3"
        ) from error
