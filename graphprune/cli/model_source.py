"""Where a command reads its model from."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from graphprune.errors import LoadError

from .users_code import own_code

if TYPE_CHECKING:
    from graphprune.loading import Loaded
    from graphprune.loading.training_checkpoint import TrainingCheckpoint

__all__ = ["ModelSource"]

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
        file = next(filter(Path.is_file, weights), self.path / "model.pt2")
        if not file.exists():
            raise LoadError(
                f"{self.path} is a folder without {file.name}",
                hint="give a file, or a folder that compress wrote; one of transformers is hf:DIR",
            )
        return file

    def check(self) -> None:
        """Check that there is a file to read, before anything that takes long.

        Raises:
            LoadError: if there is none.
        """
        _ = self.file

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
