"""Read ``.pt2`` programs of torch.export without running the code that they may hold.

``torch.export.load`` unpickles what it can't read otherwise, evaluates expressions, and compiles
names into Python code. So a file is taken apart first, everything in it that could end up in code
is compared with a short list of what torch writes (``pt2_safety.py``), and a clean copy is what torch gets to read.
"""

from __future__ import annotations

import copy
import io
import json
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from graphprune.errors import LoadError, first_line
from graphprune.ir.private_torch import SpecViolationError
from graphprune.ir.trace import silence_torch

from .pt2_safety import is_harmless, members, reduce_metadata, strings
from .zip_archive import Archive, open_archive

__all__ = ["READ_ERRORS", "load_program", "unpickled"]

READ_ERRORS = (
    RuntimeError,
    EOFError,
    ValueError,
    OSError,
    AttributeError,
    ImportError,
    LookupError,
    TypeError,
    AssertionError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
    BufferError,
    SpecViolationError,
    struct.error,
    zipfile.BadZipFile,
)
"""Errors that torch raises for damaged files, apart from ``pickle.UnpicklingError``."""

_PARTS = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json"
    r"|data/(weights|constants)/(model\.pt|model_(weights|constants)_config\.json|(weight|tensor)_\d+)"
    r"|data/sample_inputs/model\.pt"
)
_IGNORED = re.compile(r"extra/.*")

_MOST_TIMES = 16
"""How many times as large as the file weights may be: several may be views of the same memory."""


def load_program(path: Path, *, trust_pickle: bool = False) -> ExportedProgram:
    """Read a ``.pt2`` program.

    Args:
        path: the file.
        trust_pickle: hand the file to torch as it is; reading it may run code.

    Raises:
        LoadError: if it isn't one, carries no example inputs, or holds what could run code.
    """
    if not path.is_file():
        raise LoadError(f"no such file: {path}")
    archive = open_archive(path)
    if archive is None or not archive.is_program:
        raise LoadError(
            f"{path.name} is not a readable exported program: torch.export.save didn't write it"
        )
    try:
        with silence_torch(), path.open("rb") if trust_pickle else _clean(archive) as file:
            program = torch.export.load(file)
            _try_out(program)
    except (*READ_ERRORS, pickle.UnpicklingError, SyntaxError) as error:
        raise LoadError(
            f"{path.name} is not a readable exported program: {first_line(error)}"
        ) from error
    if program.example_inputs is None:
        raise LoadError(
            f"{path.name} carries no example inputs",
            hint="export it again with torch.export.export and torch.export.save",
        )
    _tie(program.state_dict)
    distinct = {id(t): t for t in program.state_dict.values() if not t.is_meta}
    size = sum(t.numel() * t.element_size() for t in distinct.values())
    if size > _MOST_TIMES * path.stat().st_size:
        raise LoadError(f"{path.name} states weights larger than what it stores")
    return program


def _tie(tensors: dict[str, Any]) -> None:
    """Make tensors that share their memory one object again; a file keeps only the shared memory.

    On the meta device there is no memory to share.
    """
    found: dict[Any, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.numel() and not tensor.is_meta:
            place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            tensors[name] = found.setdefault(place, tensor)


def _try_out(program: ExportedProgram) -> None:
    """Run the program once: torch checks the parts of a program, not whether they fit together."""
    if program.example_inputs is not None:
        args, kwargs = program.example_inputs
        module = copy.deepcopy(program.module())  # it may write into its buffers
        with torch.no_grad():
            module(*copy.deepcopy(args), **copy.deepcopy(kwargs))


def unpickled(file: Path | io.BytesIO, *, trust_pickle: bool = False) -> Any:
    """Unpickle a file with ``torch.load`` on the CPU, weights only unless the file is trusted.

    Raises:
        UnpicklingError: if there is more in it than weights.
    """
    with warnings.catch_warnings():
        # What torch says of odd pickles is no help to a user; that they are refused is.
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=not trust_pickle)


def _clean(archive: Archive) -> io.BytesIO:
    """Copy an archive, with nothing in it that torch would unpickle, evaluate or compile unchecked."""
    names = sorted(name for name in archive.names if not _IGNORED.fullmatch(name))
    if unknown := [name for name in names if not _PARTS.fullmatch(name)]:
        raise _dangerous(archive, f"an entry {unknown[0]!a:.80}")
    parts = {name: archive.read(name) for name in names}
    for name, data in parts.items():
        if name.endswith(".pt"):
            _check_pickle(archive, name, data)
        elif name.endswith(".json"):
            parts[name] = json.dumps(_checked(archive, name, data)).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, data in parts.items():
            file.writestr(f"program/{name}", data)
    buffer.seek(0)
    return buffer


def _dangerous(archive: Archive, what: str) -> LoadError:
    return LoadError(
        f"{archive.path.name} holds {what}, and reading it could run code",
        hint="if you trust where it comes from, say so",
        options=("trust_pickle",),
    )


def _check_pickle(archive: Archive, name: str, data: bytes) -> None:
    try:
        unpickled(io.BytesIO(data))
    except (*READ_ERRORS, pickle.UnpicklingError) as error:
        raise _dangerous(archive, f"pickled Python objects in {name!a}") from error


def _checked(archive: Archive, name: str, data: bytes) -> Any:
    """Parse a JSON document of the archive and check every string in it."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LoadError(
            f"{archive.path.name} is not a readable exported program: {name} is not JSON"
        ) from error
    if name.startswith("models/") and isinstance(document, dict):
        document["guards_code"] = []  # Python code, which torch would run; nothing needs it
    reduce_metadata(document)
    for key, value in strings(document):
        if not is_harmless(key, value):
            raise _dangerous(archive, f"{key} {value!a:.80}")
    for key, value in members(document):
        if key == "use_pickle" and value:
            raise _dangerous(archive, "pickled weights")
        if key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", str(value)):
            raise _dangerous(archive, f"an object {value!a:.80}")
    return document
