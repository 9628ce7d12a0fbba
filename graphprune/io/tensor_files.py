"""Read tensors by name from ``.npy``, ``.npz`` and ``.safetensors`` files. Nothing is unpickled."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from graphprune.errors import LoadError, first_line

__all__ = [
    "ARCHIVE_ERRORS",
    "MAX_BYTES",
    "ONLY",
    "SUFFIXES",
    "read_safetensors",
    "read_tensors",
]

ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    OSError,
    EOFError,
    ValueError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    LookupError,
)
"""Errors that the standard library raises for zip archives that are damaged or made to mislead."""

SUFFIXES = (".npy", ".npz", ".safetensors")

MAX_BYTES = 2**34
"""Most bytes that an archive may unpack to; an ``.npy`` file is only mapped."""

ONLY = "x"
"""Name of the tensor of an ``.npy`` file, which has none."""


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read all tensors of a file, by name.

    Args:
        path: ends with one of ``SUFFIXES``.

    Raises:
        LoadError: if there is no such file, or it can't be read.
    """
    if not path.is_file():
        raise LoadError(f"no such file: {path}")
    try:
        return _READERS[path.suffix.lower()](path)
    except (*ARCHIVE_ERRORS, TypeError, MemoryError, FloatingPointError) as error:
        raise LoadError(f"{path.name} can't be read: {first_line(error)}") from error


def _read_npy(path: Path) -> dict[str, torch.Tensor]:
    with np.errstate(over="raise"):  # of a size that the file states
        array = np.lib.format.open_memmap(path, mode="c")
    return {ONLY: torch.from_numpy(array)}


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    with zipfile.ZipFile(path) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > MAX_BYTES:
            raise ValueError(f"it unpacks to more than {MAX_BYTES >> 30} GiB")
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a ``.safetensors`` file by name.

    Raises:
        ValueError: if it isn't one.
        OSError: if it can't be read.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(first_line(error)) from error


_READERS = {".npy": _read_npy, ".npz": _read_npz, ".safetensors": read_safetensors}
