"""Check strings of a ``.pt2`` file: what torch makes of them must run no code but operators.

torch.export evaluates expressions and compiles names into Python code.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

__all__ = ["is_harmless", "members", "reduce_metadata", "strings"]

_FREE_TEXT = {"stack_trace", "nn_module_stack", "as_string"}
"""Keys of strings that torch neither evaluates nor compiles."""

_NAME = re.compile(r"[\w.:/<>,*\[\]+\- ]*")
_TARGET = re.compile(
    r"torch\.ops\.(aten|prims|torchvision)\.[a-z]\w*(\.\w+)?|torch\.ops\.aten\.__(and|or|xor|[lr]shift)__\.\w+"
    r"|torch\.ops\.higher_order\.[a-z]\w*|_operator\.[a-z]+|torch\.(_?sym_[a-z]+)|math\.[a-z]+"
)
_FORBIDDEN = {
    "torch.ops.aten.from_file",
    "_operator.attrgetter",
    "_operator.methodcaller",
    "_operator.call",
    "torch.ops.aten.save",
}
_FRAME = re.compile(r'File "[^"\n\r]*", line \d+, in [\w<>.]+')
_FUNCTIONS = {
    "Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod",
    "FloorDiv", "CleanDiv", "CeilDiv", "IntTrueDiv", "FloatTrueDiv", "CeilToInt", "FloorToInt",
    "RoundToInt", "TruncToInt", "ToFloat", "ModularIndexing", "Where", "PowByNatural", "FloatPow",
    "Eq", "Ne", "Lt", "Le", "Gt", "Ge", "Equality", "Unequality", "StrictLessThan",
    "StrictGreaterThan", "LessThan", "GreaterThan", "And", "Or", "Not", "Identity",
}  # fmt: skip
_POWERS = {"Pow", "PowByNatural", "FloatPow"}
_LARGEST = 64
"""Largest exponent, and largest product of nested exponents."""
_SAFE_NODES = (
    ast.Expression,
    ast.Call,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.keyword,
    ast.UnaryOp,
    ast.USub,
    ast.UAdd,
    ast.BinOp,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.Compare,
    ast.Eq,
    ast.NotEq,
    ast.Lt,
    ast.LtE,
    ast.Gt,
    ast.GtE,
)


def _objects(document: Any) -> Iterator[dict[str, Any]]:
    """Iterate over all JSON objects in a document, outer ones first."""
    open_ = [document]
    while open_:
        current = open_.pop()
        if isinstance(current, dict):
            yield current
            open_ += current.values()
        elif isinstance(current, list):
            open_ += current


def members(document: Any) -> Iterator[tuple[str, Any]]:
    """Iterate over the members of all JSON objects in a document."""
    for each in _objects(document):
        yield from each.items()


def reduce_metadata(document: Any) -> None:
    """Leave out of the metadata of all calls, in place, what isn't known to be harmless."""
    for each in _objects(document):
        if isinstance(notes := each.get("metadata"), dict):
            each["metadata"] = _notes(notes)


def _notes(metadata: dict[str, Any]) -> dict[str, str]:
    """Keep of a call's metadata the source lines, without their text, and the modules."""
    found: dict[str, str] = {}
    if isinstance(trace := metadata.get("stack_trace"), str):
        found["stack_trace"] = "\n".join(_FRAME.findall(trace))
    if isinstance(stack := metadata.get("nn_module_stack"), str) and "\n" not in stack:
        found["nn_module_stack"] = stack
    return found


def strings(document: Any) -> Iterator[tuple[str, str]]:
    """Iterate over every string but free text, with the key it stands under; keys are strings too."""
    for key, value in members(document):
        yield "a name", key
        if key not in _FREE_TEXT:
            yield from ((key, text) for text in _strings_of(value))


def _strings_of(value: Any) -> Iterator[str]:
    """Iterate over a string, or those of a list and of the lists in it."""
    open_ = [value]
    while open_:
        current = open_.pop()
        if isinstance(current, str):
            yield current
        elif isinstance(current, list):
            open_ += current


def is_harmless(key: str, value: str) -> bool:
    """Whether a string under this key has a form that torch writes itself, and runs no other code."""
    match key:
        case "target":
            return bool(_TARGET.fullmatch(value)) and not any(
                value == bad or value.startswith(f"{bad}.") for bad in _FORBIDDEN
            )
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
    return all(is_harmless(key, value) for key, value in strings({"": document}))


def _is_expression(text: str) -> bool:
    """Whether a size is arithmetic on symbols and nothing else: sympy evaluates it as Python."""
    try:
        tree = ast.parse(text, mode="eval") if len(text) < 10_000 else None
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return tree is not None and all(map(_is_safe, ast.walk(tree))) and _degree(tree) <= _LARGEST


def _degree(tree: ast.AST) -> int:
    """Find the largest product of nested exponents: towers of powers take forever."""
    largest, open_ = 1, [(tree, 1)]
    while open_:
        node, around = open_.pop()
        largest = max(largest, around)
        base, exponent = _power(node) or (None, 1)
        open_ += [
            (child, around * exponent if child is base else around)
            for child in ast.iter_child_nodes(node)
        ]
    return largest


def _power(node: ast.AST) -> tuple[ast.AST, int] | None:
    """Split a power, a call or an operator, into its base and the size of its exponent."""
    match node:
        case ast.BinOp(left=base, op=ast.Pow(), right=exponent):
            return base, max(abs(_number(exponent) or 1), 1)
        case ast.Call(func=ast.Name(id=name), args=[base, exponent]) if name in _POWERS:
            return base, max(abs(_number(exponent) or 1), 1)
        case _:
            return None


def _is_safe(node: ast.AST) -> bool:
    match node:
        case ast.Call(func=ast.Name(id=name), args=args):
            is_power = name in _POWERS
            return name in _FUNCTIONS and (
                not is_power or (len(args) == 2 and _number(args[1]) is not None)
            )
        case ast.BinOp(op=ast.Pow(), right=right):
            return _number(right) is not None
        case ast.Pow():
            return True
        case ast.Name(id=name):
            return not name.startswith("_")
        case ast.Constant(value=value):
            # Symbol('s0'), Integer('2'), Rational('1/2'): sympy parses some of these again.
            return isinstance(value, bool | int | float) or (
                isinstance(value, str) and bool(re.fullmatch(r"[a-zA-Z]\w*|-?\d+(\.\d+)?", value))
            )
        case _:
            return isinstance(node, _SAFE_NODES)


def _number(node: ast.AST) -> int | None:
    """Read the integer that an exponent is; other exponents are refused."""
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.UnaryOp(op=ast.USub() | ast.UAdd(), operand=ast.Constant(value=int(value))):
            return -value if isinstance(node.op, ast.USub) else value
        case ast.Call(func=ast.Name(id="Integer"), args=[ast.Constant(value=int(value))]):
            return value
        case _:
            return None
