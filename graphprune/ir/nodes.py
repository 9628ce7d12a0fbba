"""Read nodes of a graph: arguments by name, kinds of values, the user's source line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from types import FunctionType
from typing import Any

import torch
from torch import fx

from .private_torch import OpOverload, schema_of
from .sizes import is_data_dependent

__all__ = [
    "arguments",
    "bind",
    "called_name",
    "evaluate",
    "functional",
    "is_comparable",
    "is_continuous",
    "set_argument",
    "source_line",
    "split_arguments",
]  # fmt: skip

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
_LIBRARY = re.compile(r"[/\\](torch|torchvision|timm|transformers)[/\\]")


def functional(node: fx.Node) -> Any:
    """Find the operator that computes the same as an in-place one; ``None`` if there is none."""
    target: Any = node.target
    name, _, overload = target.name().partition("::")[2].partition(".")
    packet = getattr(torch.ops.aten, name.rstrip("_"), None)
    return getattr(packet, overload or "default", None)


def bind(node: fx.Node) -> dict[str, Any]:
    """List a call's arguments by schema name, defaults filled in."""
    if not isinstance(node.target, OpOverload):
        return {str(i): value for i, value in enumerate(node.args)} | dict(node.kwargs)
    names, defaults = _parameters(node.target)
    return defaults | dict(zip(names, node.args, strict=False)) | dict(node.kwargs)


def arguments(node: fx.Node, value: Callable[[fx.Node], Any]) -> dict[str, Any]:
    """List a call's arguments by schema name, without defaults, with nodes replaced by values."""
    args, kwargs = fx.map_arg((node.args, node.kwargs), value)
    return dict(zip(_names(node), args, strict=False)) | kwargs


def split_arguments(
    node: fx.Node, values: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Split arguments by name into a call's positional and keyword arguments; see ``arguments``."""
    args = tuple(values[name] for name in _names(node)[: len(node.args)])
    return args, {name: values[name] for name in node.kwargs}


def set_argument(node: fx.Node, name: str, value: fx.Node) -> None:
    """Replace the argument of a schema name in a call by a node."""
    position = _names(node).index(name)
    if position < len(node.args):
        node.update_arg(position, value)
    else:
        node.update_kwarg(name, value)


def _names(node: fx.Node) -> tuple[str, ...]:
    target: Any = node.target
    return _parameters(target)[0]


@cache
def _parameters(operator: OpOverload) -> tuple[tuple[str, ...], dict[str, Any]]:
    arguments = schema_of(operator).arguments
    return tuple(a.name for a in arguments), {a.name: a.default_value for a in arguments}


def evaluate(node: fx.Node, value: Callable[[fx.Node], Any]) -> Any:
    """Run one call on the values of its operands."""
    args, kwargs = fx.map_arg((node.args, node.kwargs), value)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def is_continuous(value: Any) -> bool:
    """Whether a value is a tensor of real or complex numbers, which are compared up to rounding."""
    return isinstance(value, torch.Tensor) and (value.is_floating_point() or value.is_complex())


def is_comparable(value: Any) -> bool:
    """Whether a result (a node or a constant) holds floats in a shape that depends on no value.

    How many rows a mask selects may differ from network to network.
    """
    tensor = value.meta.get("val") if isinstance(value, fx.Node) else None
    return (
        isinstance(tensor, torch.Tensor)
        and tensor.is_floating_point()
        and not is_data_dependent(tensor)
    )


def called_name(node: fx.Node) -> str:
    """Name what a node calls or reads, the same in every process: ``aten.relu.default``, ``sym_max``.

    The text of a Python function, such as ``torch.sym_max``, has its address in memory.
    """
    target: Any = node.target
    return target.__name__ if isinstance(target, FunctionType) else str(target)


def source_line(node: fx.Node) -> str:
    """Locate the user's own code that made a node: ``file.py:12``, or ``""`` if unknown.

    The innermost frame outside torch and the model libraries; failing that, the innermost.
    """
    frames = _frames(node)
    own = [f for f in frames if not _LIBRARY.search(f["file"])] or frames
    if not own:
        return ""
    return f"{own[-1]['file'].replace(chr(92), '/').rsplit('/', 1)[-1]}:{own[-1]['line']}"


def _frames(node: fx.Node) -> list[dict[str, str]]:
    trace = node.meta.get("stack_trace") or ""
    return [match.groupdict() for match in _FRAME.finditer(trace)]
