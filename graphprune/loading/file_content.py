"""Read what stands in a file of weights: whatever ``torch.save`` wrote, or the tensors of a safetensors file.

Nothing is unpickled and no code of the file is run unless the user says so: ``torch.load`` runs
with ``weights_only=True`` everywhere but behind ``trust_pickle``.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from graphprune.errors import LoadError, first_line
from graphprune.io.tensor_files import read_safetensors

from .pt2 import READ_ERRORS, unpickled
from .zip_archive import Archive, open_archive

__all__ = ["read_checkpoint", "read_content", "read_weights", "unpickled_content"]


def read_content(path: Path, *, trust_pickle: bool) -> Any:
    """Read whatever ``torch.save`` wrote into a file, or the tensors of a safetensors file.

    Args:
        path: the file.
        trust_pickle: whether the file may run code when it is read.

    Raises:
        LoadError: if there is no such file, or it can't be read, or only by running code.
    """
    if not path.is_file():
        raise LoadError(f"no such file: {path}")
    if path.suffix == ".safetensors":
        return read_weights(path)
    return unpickled_content(path, open_archive(path), trust_pickle=trust_pickle)


def read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Read tensors and plain values that ``io.files.write_checkpoint`` stored.

    Returns:
        The content; ``None`` if there is no such file.

    Raises:
        LoadError: if the file holds something else.
    """
    if not path.is_file():
        return None
    found = unpickled_content(path, open_archive(path), trust_pickle=False)
    if not isinstance(found, dict):
        raise LoadError(f"{path.name} holds a {type(found).__name__}, not a checkpoint")
    return found


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a ``.safetensors`` file by name.

    Raises:
        LoadError: if it isn't one, or can't be read.
    """
    try:
        return read_safetensors(path)
    except READ_ERRORS as error:
        raise LoadError(f"{path.name} is not a safetensors file: {first_line(error)}") from error


def unpickled_content(path: Path, archive: Archive | None, *, trust_pickle: bool) -> Any:
    """Read what ``torch.save`` wrote into a file, which may be an archive or a plain pickle.

    Args:
        path: the file.
        archive: what ``open_archive`` found in it.
        trust_pickle: whether the file may run code when it is read.

    Raises:
        LoadError: if it can't be read, or only by running code.
    """
    if archive is None:
        _check_pickle(path)
    try:
        return unpickled(path, trust_pickle=trust_pickle)
    except pickle.UnpicklingError as error:
        raise LoadError(
            f"{path.name} holds pickled Python objects, and reading them runs code",
            hint="if you trust where it comes from, say so; safer: save a state dict and name the "
            "architecture, or save a .pt2 with torch.export.save",
            options=("trust_pickle", "arch"),
        ) from error
    except (*READ_ERRORS, RecursionError) as error:
        raise LoadError(
            f"{path.name} can't be read as a model: {first_line(error)}",
            hint="is the file complete? compare its size with that of the original",
        ) from error


def _check_pickle(path: Path) -> None:
    """Refuse what isn't a pickle by its first byte, the mark of the protocols that torch writes, nor part of an archive."""
    with path.open("rb") as file:
        first = file.read(2)
    if not first:
        raise LoadError(f"{path.name} is empty")
    if first[:1] != pickle.PROTO and first != b"PK":
        raise LoadError(
            f"{path.name} is not a model: it is neither a zip archive nor a pickle",
            hint="models are .pt2, .onnx and .safetensors files, and what torch.save writes",
        )
