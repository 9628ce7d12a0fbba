"""Read the folder of a training checkpoint, as accelerate's ``save_state`` writes it: a file for each thing that is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphprune.errors import LoadError

from .file_content import read_content, read_weights

__all__ = ["read_folder"]

_SAVED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Ends of the names of files that ``torch.save`` or ``pickle`` may have written."""


def read_folder(folder: Path, *, trust_pickle: bool) -> dict[str, Any]:
    """Read the files of a folder, by their names.

    Args:
        folder: of the files.
        trust_pickle: whether the files may run code when they are read.

    Returns:
        What each file holds. A file of another kind, a folder, or a pickle that isn't trusted, such as the states of
        random generators, stands there as its path.

    Raises:
        LoadError: if a file of tensors can't be read.
    """
    return {
        path.name: _content(path, trust_pickle=trust_pickle) for path in sorted(folder.iterdir())
    }


def _content(path: Path, *, trust_pickle: bool) -> Any:
    if path.suffix == ".safetensors":
        return read_weights(path)
    if path.suffix not in _SAVED or not path.is_file():
        return path
    try:
        return read_content(path, trust_pickle=trust_pickle)
    except LoadError as error:
        if "trust_pickle" in error.options or path.suffix == ".pkl":
            return path
        raise
