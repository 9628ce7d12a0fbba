"""Read nodes of a graph: arguments by name, shapes of values, the user's source line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache
from types import FunctionType
from typing import Any

import sympy
import torch
from torch import fx

from graphprune.errors import InternalError

from .private_torch import OpOverload, is_composite, pytree, schema_of

__all__ = [
    "aliased",
    "arguments",
    "bind",
    "called_name",
    "evaluate",
    "functional",
    "is_comparable",
    "is_continuous",
    "is_data_dependent",
    "open_symbols",
    "set_argument",
    "shape",
    "shared_memory",
    "size_hint",
    "size_where",
    "source_line",
    "split_arguments",
    "writes",
    "writes_into_shared",
    "written_nodes",
    "written_operands",
]  # fmt: skip

_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
_LIBRARY = re.compile(r"[/\\](torch|torchvision|timm|transformers)[/\\]")


def writes(node: fx.Node) -> bool:
    """Whether a call writes into one of its operands; ``detach_``, as behind ``torch.tensor``, changes no value."""
    return (
        isinstance(node.target, OpOverload)
        and schema_of(node.target).is_mutable
        and node.target is not torch.ops.aten.detach_.default
    )


def written_operands(node: fx.Node) -> list[fx.Node]:
    """List the operands that a call writes into, as its schema states them."""
    if not writes(node):
        return []
    target: Any = node.target
    written = [a for a in schema_of(target).arguments if a.alias_info and a.alias_info.is_write]
    return _nodes_in([bind(node)[argument.name] for argument in written])


def writes_into_shared(node: fx.Node) -> bool:
    """Whether a call writes into a value that others may read: another call does, or it may be a view."""
    return any(len(each.users) > 1 or not _is_own(each) for each in written_operands(node))


def _is_own(node: fx.Node) -> bool:
    """Whether a value shares no memory with what it is computed from, by its call's schema."""
    if not isinstance(node.target, OpOverload):
        return False
    schema = schema_of(node.target)
    return all(each.alias_info is None for each in (*schema.arguments, *schema.returns))


def written_nodes(module: fx.GraphModule) -> set[fx.Node]:
    """Find nodes whose values a call may write into: its operands, and what shares their memory; stored tensors too."""
    operands = [operand for node in module.graph.nodes for operand in written_operands(node)]
    return set().union(*map(shared_memory, operands))


def shared_memory(node: fx.Node, *, stated: bool = False) -> set[fx.Node]:
    """Find the earlier values that a value may share memory with, itself included.

    Args:
        node: the value.
        stated: look only for what schemas state. They don't say that ``type_as`` may return its operand as it is; but
            that can't be told from ``linear``, which never does.
    """
    found, todo = {node}, [node]
    while todo:
        new = set(aliased(todo.pop(), stated=stated)) - found
        found |= new
        todo += new
    return found


def aliased(node: fx.Node, *, stated: bool) -> list[fx.Node]:
    """List the operands whose memory a call's result may share."""
    if not isinstance(node.target, OpOverload):  # an item of a list, or a call with subgraphs
        return [] if node.op == "output" else node.all_input_nodes
    shared = [a.name for a in schema_of(node.target).arguments if a.alias_info is not None]
    if not (shared or stated) and is_composite(node.target):
        return _nodes_in(node.args[:1])
    return _nodes_in([bind(node)[name] for name in shared])


def _nodes_in(value: Any) -> list[fx.Node]:
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, fx.Node)]


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


def size_hint(size: int | torch.SymInt, measured: Mapping[sympy.Symbol, int] | None = None) -> int:
    """Convert a size to a plain int; a symbolic one takes its value on the example inputs.

    Args:
        size: the size.
        measured: symbols of sizes that depend on values -> what they were in a run; see ``data_sizes``.
    """
    if isinstance(size, int):
        return size
    if size.node.hint is not None:
        return int(size.node.hint)
    value = size.node.expr.subs({**_known(size), **(measured or {})})
    if not value.is_number:
        raise InternalError(f"the size {size} depends on values, and no run has measured it")
    return int(value)


def size_where(size: torch.SymInt, other: torch.SymInt, value: int, example: int) -> int:
    """Convert a size to a plain int as it is where another size has some value, and all else is as on the example inputs.

    Args:
        size: the size.
        other: the other size; no expression of several.
        value: the value of ``other``.
        example: the value of ``size`` on the example inputs; it is returned where the two are independent.
    """
    symbol = other.node.expr
    if symbol not in size.node.expr.free_symbols:
        return example
    found = size.node.expr.subs({symbol: value}).subs(_known(size))
    return int(found) if found.is_number else example


def open_symbols(size: torch.SymInt) -> frozenset[sympy.Symbol]:
    """List the symbols in a size whose values no example input gives: the size depends on values."""
    if size.node.hint is not None:
        return frozenset()
    return frozenset(size.node.expr.free_symbols - _known(size).keys())


def _known(size: torch.SymInt) -> Mapping[sympy.Symbol, Any]:
    environment = size.node.shape_env
    # Older versions of torch call it var_to_val.
    known = getattr(environment, "backed_var_to_val", None)
    return environment.var_to_val if known is None else known


def is_data_dependent(value: Any) -> bool:
    """Whether the shape of a traced value, or of one of several, depends on values."""
    sizes = [
        size
        for leaf in pytree.tree_leaves(value)
        for size in (leaf.shape if isinstance(leaf, torch.Tensor) else [leaf])
    ]
    return any(isinstance(size, torch.SymInt) and bool(open_symbols(size)) for size in sizes)


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


def shape(node: fx.Node) -> tuple[int, ...]:
    """Give the shape of a node's tensor value on the example inputs, where it depends on no values."""
    return tuple(size_hint(size) for size in node.meta["val"].shape)


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
