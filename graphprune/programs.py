"""Programs: ``.pt2`` files of torch.export, read without running what they hold.

``torch.export.load`` unpickles what it can't read otherwise, evaluates expressions, and compiles
names into Python code. So a file is taken apart first, everything in it that could end up in code
is held against a short list of what torch writes, and a clean copy is what torch gets to read.
"""

from __future__ import annotations

import ast
import copy
import io
import json
import pickle
import re
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch._export.verifier import SpecViolationError
from torch.export import ExportedProgram

from graphprune.archives import Archive, open_archive
from graphprune.errors import LoadError, first_line
from graphprune.tracing import quiet

__all__ = ["READ_ERRORS", "load_program", "unpickled"]

READ_ERRORS = (RuntimeError, EOFError, ValueError, OSError, AttributeError, ImportError,
               LookupError, TypeError, AssertionError, ArithmeticError, MemoryError,
               NotImplementedError, BufferError, SpecViolationError, struct.error,
               zipfile.BadZipFile)
"""What torch raises on files that are damaged, apart from ``pickle.UnpicklingError``."""

_PARTS = re.compile(
    r"archive_format|archive_version|byteorder|\.data/(version|serialization_id)|models/model\.json"
    r"|data/(weights|constants)/(model\.pt|model_(weights|constants)_config\.json|(weight|tensor)_\d+)"
    r"|data/sample_inputs/model\.pt"
)
_IGNORED = re.compile(r"extra/.*")
_NAME = re.compile(r"[\w.:/<>,*\[\]+\- ]*")
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims|torchvision)\.[a-z]\w*(\.\w+)?|torch\.ops\.aten\.__(and|or|xor|[lr]shift)__\.\w+"
    r"|torch\.ops\.higher_order\.[a-z]\w*|_operator\.[a-z]+|torch\.(_?sym_[a-z]+)|math\.[a-z]+"
)
_FORBIDDEN = {"torch.ops.aten.from_file", "_operator.attrgetter", "_operator.methodcaller",
              "_operator.call", "torch.ops.aten.save"}
_FRAME = re.compile(r'File "[^"\n\r]*", line \d+, in [\w<>.]+')
_FUNCTIONS = {
    "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod",
    "FloorDiv", "CleanDiv", "CeilDiv", "IntTrueDiv", "FloatTrueDiv", "CeilToInt", "FloorToInt",
    "RoundToInt", "TruncToInt", "ToFloat", "ModularIndexing", "Where", "PowByNatural", "FloatPow",
    "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "StrictLessThan",
    "StrictGreaterThan", "LessThan", "GreaterThan", "And", "Or", "Not", "Identity",
}  # fmt: skip
_SAFE_NODES = (ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.UnaryOp,
               ast.USub, ast.UAdd, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Compare,
               ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)


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
        raise LoadError(f"{path.name} is not a readable exported program: "
                        "torch.export.save didn't write it")
    try:
        with quiet(), path.open("rb") if trust_pickle else _clean(archive) as file:
            program = torch.export.load(file)
            _try_out(program)
    except (*READ_ERRORS, pickle.UnpicklingError, SyntaxError) as error:
        raise LoadError(f"{path.name} is not a readable exported program: {first_line(error)}") from error
    if program.example_inputs is None:
        raise LoadError(f"{path.name} carries no example inputs",
                        hint="export it again with torch.export.export and torch.export.save")
    size = sum(t.numel() * t.element_size() for t in program.state_dict.values())
    if size > 16 * path.stat().st_size:
        raise LoadError(f"{path.name} states weights larger than what it stores")
    _tie(program.state_dict)
    return program


def _tie(tensors: dict[str, Any]) -> None:
    """Make one object again of tensors that share their memory; a file keeps only the latter."""
    found: dict[Any, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if tensor.numel():
            place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
            tensors[name] = found.setdefault(place, tensor)


def _try_out(program: ExportedProgram) -> None:
    """Run it once: torch checks the parts of a program, not whether they fit together."""
    if program.example_inputs is not None:
        args, kwargs = program.example_inputs
        module = copy.deepcopy(program.module())  # it may write into its buffers
        with torch.no_grad():
            module(*copy.deepcopy(args), **copy.deepcopy(kwargs))


def unpickled(file: Path | io.BytesIO, *, trust_pickle: bool = False) -> Any:
    """``torch.load`` on the CPU, of weights only unless the file is trusted.

    Raises:
        UnpicklingError: if there is more in it than weights.
    """
    with warnings.catch_warnings():
        # What torch says of odd pickles is no help to a user; that they are refused is.
        warnings.simplefilter("ignore")
        return torch.load(file, map_location="cpu", weights_only=not trust_pickle)


def _clean(archive: Archive) -> io.BytesIO:
    """A copy with nothing in it that torch would unpickle, evaluate or compile unchecked."""
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
    return LoadError(f"{archive.path.name} holds {what}, and reading it could run code",
                     hint="if you trust where it comes from, pass --trust-pickle")


def _check_pickle(archive: Archive, name: str, data: bytes) -> None:
    try:
        unpickled(io.BytesIO(data))
    except (*READ_ERRORS, pickle.UnpicklingError) as error:
        raise _dangerous(archive, f"pickled Python objects in {name!a}") from error


def _checked(archive: Archive, name: str, data: bytes) -> Any:
    """A JSON document of the archive, in which every string has been looked at."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LoadError(f"{archive.path.name} is not a readable exported program: "
                        f"{name} is not JSON") from error
    if name.startswith("models/") and isinstance(document, dict):
        document["guards_code"] = []  # Python code, which torch would run; nothing needs it
    for key, value in _strings(document):
        if not _harmless(key, value):
            raise _dangerous(archive, f"{key} {value!a:.80}")
    for key, value in _members(document):
        if key == "use_pickle" and value:
            raise _dangerous(archive, "pickled weights")
        if key == "path_name" and not re.fullmatch(r"(weight|tensor)_\d+", str(value)):
            raise _dangerous(archive, f"an object {value!a:.80}")
    return document


def _members(document: Any) -> Iterator[tuple[str, Any]]:
    """All members of all objects. Metadata is cut down to what is known, on the way."""
    open_ = [document]
    while open_:
        current = open_.pop()
        if isinstance(current, dict):
            if isinstance(notes := current.get("metadata"), dict):
                current["metadata"] = _notes(notes)
            yield from current.items()
            open_ += current.values()
        elif isinstance(current, list):
            open_ += current


def _notes(metadata: dict[str, Any]) -> dict[str, str]:
    """Where a call comes from: lines of code without their text, and modules."""
    found: dict[str, str] = {}
    if isinstance(trace := metadata.get("stack_trace"), str):
        found["stack_trace"] = "\n".join(_FRAME.findall(trace))
    if isinstance(stack := metadata.get("nn_module_stack"), str) and "\n" not in stack:
        found["nn_module_stack"] = stack
    return found


def _strings(document: Any) -> Iterator[tuple[str, str]]:
    """Every string but free text, with the key it stands under; keys are strings too."""
    for key, value in _members(document):
        yield "a name", key
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, str) and key not in {"stack_trace", "nn_module_stack", "as_string"}:
                yield key, item


def _harmless(key: str, value: str) -> bool:
    match key:
        case "target":
            return bool(_TARGET.fullmatch(value)) and not any(
                value == bad or value.startswith(f"{bad}.") for bad in _FORBIDDEN)
        case "expr_str":
            return _is_expression(value)
        case "in_spec" | "out_spec" | "context":
            return _is_specification(value)
        case _:
            return bool(_NAME.fullmatch(value))


def _is_specification(text: str) -> bool:
    """Whether a tree specification, JSON in a string, holds harmless names only."""
    if _NAME.fullmatch(text):
        return True
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return all(_harmless(key, value) for key, value in _strings({"": document}))


def _is_expression(text: str) -> bool:
    """Whether a size is arithmetic on symbols and nothing else: sympy evaluates it as Python."""
    try:
        tree = ast.parse(text, mode="eval") if len(text) < 10_000 else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return tree is not None and all(map(_is_safe, ast.walk(tree)))


def _is_safe(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name), args=args):
            # Towers of powers take forever: an exponent must be a small number.
            power = name in {"Pow", "PowByNatural", "FloatPow"}
            return name in _FUNCTIONS and (not power or (len(args) == 2 and _is_small(args[1])))
        case ast.BinOp(op=ast.Pow(), right=right):
            return _is_small(right)
        case ast.Pow():
            return True
        case ast.Name(id=name):
            return not name.startswith("_")
        case ast.Constant(value=value):
            # Symbol('s0'), Integer('2'), Rational('1/2'): sympy parses some of these again.
            return isinstance(value, bool | int | float) or (
                isinstance(value, str) and bool(re.fullmatch(r"[a-zA-Z]\w*|-?\d+(\.\d+)?", value)))
        case _:
            return isinstance(node, _SAFE_NODES)


def _is_small(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=int(value)) | ast.UnaryOp(operand=ast.Constant(value=int(value))):
            return value <= 64
        case ast.Call(func=ast.Name(id="Integer"), args=[ast.Constant(value=int(value))]):
            return value <= 64
        case _:
            return False
