"""Write a checkpoint of the smaller model as a folder, each file in the form that it had."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from graphprune.io.files import saved, write_bytes, writing

from .cut_checkpoint import CutCheckpoint

__all__ = ["write_checkpoint_folder"]


def write_checkpoint_folder(done: CutCheckpoint, source: Path, folder: Path) -> None:
    """Write the files of which something was cut, and copy the others as they are.

    Args:
        done: what was cut, by the names of the files.
        source: folder of the checkpoint that was cut.
        folder: where the files are to be; it exists.

    Raises:
        OutputError: if they can't be written.
    """
    names = [path.name for path in source.iterdir()]
    changed = {_file_of(entry, names) for entry in done.cut}
    for path in sorted(source.iterdir()):
        target = folder / path.name
        if path.name not in changed:
            with writing(target):
                (shutil.copytree if path.is_dir() else shutil.copyfile)(path, target)
        elif path.suffix == ".safetensors":
            write_bytes(target, _safetensors(done.content[path.name], path))
        else:
            write_bytes(target, saved(done.content[path.name]))


def _file_of(entry: str, names: Sequence[str]) -> str:
    """Find the file that an entry is in, by its path: the file's name, which has dots itself, and what is in it."""
    return max((name for name in names if f"{entry}.".startswith(f"{name}.")), key=len)


def _safetensors(state: Mapping[str, Any], before: Path) -> bytes:
    """Return the bytes of a file of tensors, with the notes of the one before."""
    from safetensors import safe_open
    from safetensors.torch import save

    with safe_open(before, "pt") as file:
        notes = file.metadata()
    whole: dict[str, torch.Tensor] = {name: value.contiguous() for name, value in state.items()}
    return save(whole, notes)
