"""Turn the text of arguments and options into models, data, plans, tables and numbers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphprune.errors import GraphpruneError, LoadError, OptionError, PlanError

if TYPE_CHECKING:
    import torch

    from graphprune.loading import Loaded
    from graphprune.loading.training_checkpoint import TrainingCheckpoint
    from graphprune.passes.allocate.rounding import Rounding
    from graphprune.plan.latency_table import LatencyTable
    from graphprune.plan.plan import Plan

__all__ = [
    "ModelSource",
    "budgets",
    "callable_of",
    "device",
    "latency_table",
    "numbers",
    "own_code",
    "patterns",
    "plan",
    "rounding",
    "sizes",
    "sources",
    "users_code",
]

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Names of the file with the weights in a folder, as accelerate writes it; the safer form first."""


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from, as the user wrote it.

    Attributes:
        path: the file, or an output folder, or a folder of the transformers library.
        arch: ``package.module:factory``, or ``""``.
        inputs: shapes.
        trust_pickle: whether reading the file may run code.
        ignore_extra_keys: whether a state dict may hold more than the module.
        outputs: names of those to keep; all, if there are none.
    """

    path: Path
    arch: str
    inputs: tuple[str, ...]
    trust_pickle: bool
    ignore_extra_keys: bool = False
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Take ``hf:DIR`` in place of a path for the folder with its architecture."""
        library, colon, folder = str(self.path).partition(":")
        if colon and library == "hf" and not self.arch:
            object.__setattr__(self, "path", Path(folder))
            object.__setattr__(self, "arch", "hf")

    @property
    def file(self) -> Path:
        """The file to read, or the folder of a transformers model; with an architecture, the weights in a folder.

        Raises:
            LoadError: if there is none. Torch isn't imported to find out.
        """
        if not self.path.exists():
            raise LoadError(f"no such file: {self.path}")
        if not self.path.is_dir() or self.arch in ("hf", f"hf:{self.path}"):
            return self.path
        weights = [self.path / name for name in _WEIGHTS] if self.arch else []
        return next(filter(Path.is_file, weights), self.path / "model.pt2")

    @property
    def bytes(self) -> int:
        """Size of the file, or of the weights in the folder."""
        if not self.file.is_dir():
            return self.file.stat().st_size
        return sum(each.stat().st_size for each in self.file.glob("*.safetensors"))

    def keeps_config(self, asked: bool | None) -> bool:
        """Whether widths are chosen by what a config can state: as asked, or else for a folder with one."""
        return (
            (self.path / "config.json").is_file() and self.file.is_dir() if asked is None else asked
        )

    @property
    def content(self) -> bytes:
        """What the file holds, or all files of the folder that make the model."""
        if not self.file.is_dir():
            return self.file.read_bytes()
        files = (*self.file.glob("*.json"), *self.file.glob("*.safetensors"))
        return b"".join(each.read_bytes() for each in sorted(files))

    def read(self) -> Loaded:
        """Read what the file holds.

        Raises:
            LoadError: if it can't be read.
        """
        from graphprune.loading import load

        with self._users_code():
            return load(
                self.file,
                arch=self.arch,
                inputs=self.inputs,
                trust_pickle=self.trust_pickle,
                ignore_extra_keys=self.ignore_extra_keys,
                outputs=self.outputs,
            )

    def name_of(self, found: Loaded) -> str:
        """Return the name to show of what was read: the module's class, or the file of a program."""
        return self.file.name if found.program else type(found.model).__name__

    def read_checkpoint(self) -> TrainingCheckpoint:
        """Read the file as a checkpoint of a training run.

        Raises:
            LoadError: if it can't be read.
        """
        from graphprune.loading.training_checkpoint import load_training_checkpoint

        with self._users_code():
            return load_training_checkpoint(
                self.path, arch=self.arch, inputs=self.inputs, trust_pickle=self.trust_pickle
            )

    def _users_code(self) -> AbstractContextManager[None]:
        return own_code(self.arch, str(self.path), trust_pickle=self.trust_pickle)


@contextmanager
def own_code(arch: str, file: str, *, trust_pickle: bool) -> Generator[None]:
    """Find the user's own modules, and turn whatever their code raises into an error that names it.

    Args:
        arch: what builds the model, or ``""``.
        file: what is read.
        trust_pickle: whether reading it may run code.
    """
    if arch or trust_pickle:
        _import_from_here()
    with users_code(arch or file, "check --arch"):
        yield


@contextmanager
def users_code(name: str, hint: str) -> Generator[None]:
    """Turn whatever the user's own code raises into a ``LoadError``.

    Args:
        name: what is run.
        hint: what to do about it.
    """
    from graphprune.errors import first_line
    from graphprune.ir.trace import FORWARD_ERRORS, user_line

    try:
        yield
    except (*FORWARD_ERRORS, OSError, SystemExit) as error:
        raise LoadError(
            f"{name} fails: {type(error).__name__}: {first_line(error)}",
            where=user_line(error),
            hint=hint,
        ) from error


def callable_of(option: str, name: str) -> Callable[..., Any]:
    """Find the user's function that ``package.module:callable`` names.

    Args:
        option: the flag, for errors of its code.
        name: of the function.

    Returns:
        The function; whatever it raises is a ``LoadError``.

    Raises:
        LoadError: if there is no such thing.
    """
    from graphprune.loading.factories import resolve

    _import_from_here()
    with users_code(name, f"check {option}"):
        function = resolve(name)

    def called(*args: Any) -> Any:
        with users_code(name, f"check {option}"):
            return function(*args)

    return called


def budgets(**amounts: str) -> dict[str, Any]:
    """Select the budgets that were given, as keyword arguments.

    Raises:
        OptionError: unless there is one, and all can be read.
    """
    from graphprune.plan.budget import budgets as parse

    parse(amounts)
    return {name: amount for name, amount in amounts.items() if amount}


def rounding(text: str) -> Rounding:
    """Parse the value of ``--round-to``.

    Raises:
        OptionError: if it can't be read.
    """
    if text in ("fast", "auto"):
        return text
    if not text.lstrip("-").isdecimal():
        raise OptionError(f"can't read --round-to {text!r}", hint="write 8, fast or auto")
    return int(text)


def patterns(entries: list[str] | None) -> tuple[tuple[str, ...], ...]:
    """Split entries of patterns at their commas."""
    return tuple(tuple(entry.split(",")) for entry in entries or ())


def latency_table(path: Path | None) -> LatencyTable | None:
    """Read a latency table, if one is named.

    Raises:
        LoadError: if it can't be read, or isn't one.
    """
    from graphprune.plan.latency_table import MAX_BYTES, LatencyTable

    return None if path is None else LatencyTable.from_json(_text(path, MAX_BYTES, LoadError))


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
        sizes = [int(value) for value in _numbers("--image-size", self.size)]
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
    data: str, val: str, preparation: Preparation, samples: int, seed: int, train: str = ""
) -> dict[str, Any]:
    """Find the calibration, validation and training data, as keyword arguments. None of it is read yet.

    Raises:
        LoadError: if there is no such data.
        OptionError: if an option can't be read, or is for data that isn't there.
    """
    how = preparation.values()
    if not (data or val or train) and how:
        raise OptionError(
            "--mean, --std, --image-size, --crop and --interpolation need --data, --val or --train"
        )
    from graphprune.data import open_source

    _import_from_here()
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


def device(text: str) -> torch.device | None:
    """Find the device that is named, if one is.

    Raises:
        OptionError: if there is no such device here.
    """
    if not text:
        return None
    from graphprune.ir.devices import find_device

    return find_device(text)


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise OptionError(
            f"can't read {option} {text!r}", hint="write 0.5, or 0.5,0.4,0.3"
        ) from error


def numbers(option: str, text: str, least: int = 1) -> list[int]:
    """Parse a list of numbers, such as ``1,8``.

    Raises:
        OptionError: unless there are some, all large enough.
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise OptionError(f"can't read {option} {text!r}", hint="write 1, or 1,8") from error
    if min(found) < least:
        raise OptionError(f"{option} must be at least {least}")
    return found


def sizes(option: str, pairs: list[str]) -> dict[str, int]:
    """Parse pairs ``NAME=N`` into a table.

    Raises:
        OptionError: if one can't be read.
    """
    found: dict[str, int] = {}
    for pair in pairs:
        name, equals, number = pair.rpartition("=")
        if not equals or not name:
            raise OptionError(f"can't read {option} {pair!r}", hint="write NAME=128")
        (found[name],) = numbers(option, number)
    return found


def _import_from_here() -> None:
    """Find the user's own modules; at the end, so that nothing installed is shadowed."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def plan(path: Path) -> Plan:
    """Read a plan from its file.

    Raises:
        PlanError: if it can't be read, or isn't one.
    """
    from graphprune.plan.plan import MAX_BYTES, Plan

    return Plan.from_json(_text(path, MAX_BYTES, PlanError))


def _text(path: Path, limit: int, kind: type[GraphpruneError]) -> str:
    """Read a text file that may be read whole.

    Raises:
        GraphpruneError: of that kind.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would block, a device never end
            raise kind(f"can't read {path}: not a file")
        with path.open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise kind(f"{path} is too large")
        return data.decode("utf-8")
    except OSError as error:
        raise kind(f"can't read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise kind(f"{path} is not text") from error
