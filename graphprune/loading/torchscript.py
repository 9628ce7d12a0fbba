"""Turn a TorchScript archive into a module that torch.export can capture.

A TorchScript graph calls ATen operators already, so they are called one by one, as they stand.
Loading an archive may run the code in it; the caller decides whether that is wanted.
"""

from __future__ import annotations

import operator as python
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from graphprune.errors import LoadError, first_line
from graphprune.ir.private_torch import (
    child_modules,
    own_buffers,
    own_parameters,
    parse_schema,
    schema_of,
)

from .argument_names import named

__all__ = ["Script", "load_script"]

_LOAD_ERRORS = (RuntimeError, ValueError, OSError, LookupError, TypeError, AttributeError)


def _integer(x: Any) -> Any:
    return x if isinstance(x, torch.SymInt) else int(x)


_ALWAYS: Mapping[str, Callable[..., Any]] = {
    # Conversions and operations on lists: no operand is a tensor whose elements count.
    "aten::Bool": bool, "aten::Float": float, "aten::FloatImplicit": float, "aten::Int": _integer,
    "aten::IntImplicit": _integer, "aten::ScalarImplicit": lambda x: x,
    "aten::__contains__": python.contains, "aten::__getitem__": python.getitem,
    "aten::__is__": python.is_, "aten::__isnot__": python.is_not,
    "aten::append": lambda xs, x: xs.append(x) or xs, "aten::dim": lambda x: x.dim(),
    "aten::format": lambda *_: "", "aten::is_floating_point": lambda x: x.is_floating_point(),
    "aten::len": len, "aten::list": list, "aten::size": lambda x, *dim: x.size(*dim),
    "aten::warn": lambda *_: None, "prim::ListConstruct": lambda *xs: list(xs),
    "prim::NumToTensor": lambda x: x, "prim::Print": lambda *_: None,
    "prim::TupleConstruct": lambda *xs: xs, "prim::device": lambda x: x.device,
    "prim::dtype": lambda x: x.dtype, "prim::is_cuda": lambda x: x.is_cuda,
    "prim::unchecked_cast": lambda x: x,
}  # fmt: skip
_OF_NUMBERS: Mapping[str, Callable[..., Any]] = {
    # Arithmetic on sizes; where a tensor is among the operands, it is an ATen operator.
    "aten::__and__": python.and_, "aten::__not__": python.not_, "aten::__or__": python.or_,
    "aten::add": python.add, "aten::div": python.truediv, "aten::eq": python.eq,
    "aten::floordiv": python.floordiv, "aten::ge": python.ge, "aten::gt": python.gt,
    "aten::le": python.le, "aten::lt": python.lt, "aten::mul": python.mul, "aten::ne": python.ne,
    "aten::neg": python.neg, "aten::pow": python.pow, "aten::remainder": python.mod,
    "aten::sub": python.sub, "prim::max": max, "prim::min": min,
}  # fmt: skip


def load_script(path: Path) -> Script:
    """Read a TorchScript archive. This may run code that is in it.

    Raises:
        LoadError: if it can't be read, or does what can't be captured.
    """
    try:
        with warnings.catch_warnings():
            # Each version of torch says in its own words and class that TorchScript is old.
            warnings.filterwarnings("ignore", r".*torch\.jit\.")
            scripted = torch.jit.load(str(path), map_location="cpu")
        scripted.eval()
        return Script(scripted)
    except _LOAD_ERRORS as error:
        raise LoadError(f"{path.name} is not readable TorchScript: {first_line(error)}") from error


class Script(nn.Module):
    """A module that runs the graph of a scripted or traced module, operator by operator."""

    def __init__(self, scripted: torch.jit.ScriptModule) -> None:
        super().__init__()
        self._graph = scripted.inlined_graph
        _copy(scripted, self, {})
        names = [v.debugName().partition(".")[0] for v in self._graph.inputs()]
        self.forward = named(self._compute, names[1:])  # type: ignore[method-assign]

    def _compute(self, *inputs: Any) -> Any:
        first, *places = self._graph.inputs()
        if len(places) != len(inputs):
            raise LoadError(
                f"the TorchScript model takes {len(places)} inputs, not {len(inputs)}",
                options=("input",),
            )
        values: dict[str, Any] = {first.debugName(): self}
        values |= {p.debugName(): x for p, x in zip(places, inputs, strict=True)}
        _run(self._graph.nodes(), values)
        results = [values[v.debugName()] for v in self._graph.outputs()]
        return results[0] if len(results) == 1 else tuple(results)


def _copy(source: nn.Module, target: nn.Module, done: dict[Any, nn.Parameter]) -> None:
    """Copy parameters, buffers and submodules under their own names; tied tensors stay tied."""
    vars(target)["scripted"] = source  # not a submodule: constants are read off it
    for name, tensor in source.named_parameters(recurse=False):
        key = tensor.data_ptr(), tensor.shape, tensor.stride()
        parameter = done.setdefault(key, nn.Parameter(tensor.detach()))
        target.register_parameter(name, parameter)
    for name, buffer in source.named_buffers(recurse=False):
        target.register_buffer(name, buffer)
    for name, child in source.named_children():
        copy = nn.Module()
        _copy(child, copy, done)
        target.add_module(name, copy)


def _run(nodes: Any, values: dict[str, Any]) -> None:
    for node in nodes:
        outputs = [v.debugName() for v in node.outputs()]
        found = _results(node, [values[v.debugName()] for v in node.inputs()], values)
        values.update(zip(outputs, found, strict=False))


def _results(node: Any, inputs: list[Any], values: dict[str, Any]) -> Sequence[Any]:
    match node.kind():
        case "prim::Constant":
            found = [node.output().toIValue()]
        case "prim::GetAttr":
            found = [_attribute(inputs[0], node.s("name"))]
        case "prim::ListUnpack" | "prim::TupleUnpack":
            found = inputs[0]
        case "prim::DictConstruct":
            found = [dict(zip(inputs[::2], inputs[1::2], strict=True))]
        case "prim::If":
            first, second = node.blocks()
            found = _block(first if _decided(node, inputs[0]) else second, [], values)
        case "prim::Loop":
            found = _repeated(node, inputs, values)
        case _:
            found = _computed(node, inputs)
    return found


def _attribute(module: nn.Module, name: str) -> Any:
    slots = (own_parameters(module), own_buffers(module), child_modules(module))
    own = any(name in each for each in slots)
    return getattr(module if own else vars(module)["scripted"], name)


def _block(block: Any, inputs: Sequence[Any], values: dict[str, Any]) -> list[Any]:
    values.update(zip((v.debugName() for v in block.inputs()), inputs, strict=True))
    _run(block.nodes(), values)
    return [values[v.debugName()] for v in block.outputs()]


def _repeated(node: Any, inputs: list[Any], values: dict[str, Any]) -> list[Any]:
    trips, going, *carried = inputs
    (body,) = node.blocks()
    count = 0
    while count < trips and _decided(node, going):
        going, *carried = _block(body, [count, *carried], values)
        count += 1
    return carried


def _decided(node: Any, condition: Any) -> bool:
    if isinstance(condition, torch.Tensor):
        raise _cannot(node, "a branch that depends on the data")
    return bool(condition)


def _computed(node: Any, inputs: list[Any]) -> Sequence[Any]:
    """Run an ATen operator, or plain arithmetic where no tensor is among the operands."""
    kind: str = node.kind()
    found: Any
    if kind in _ALWAYS:
        return [_ALWAYS[kind](*inputs)]
    if kind in _OF_NUMBERS and not any(isinstance(x, torch.Tensor) for x in inputs):
        return [_OF_NUMBERS[kind](*inputs)]
    if not kind.startswith("aten::"):
        raise _cannot(node, f"the operator {kind}")
    if kind == "aten::_convolution":  # in traces: the public operator, with three more flags behind
        found = _convolution(*inputs[:9])
    else:
        schema = parse_schema(node.schema())
        packet = getattr(torch.ops.aten, schema.name.partition("::")[2])
        operator = getattr(packet, schema.overload_name or "default")
        pairs = list(zip(schema_of(operator).arguments, inputs, strict=True))
        found = operator(
            *(x for a, x in pairs if not a.kwarg_only),
            **{a.name: x for a, x in pairs if a.kwarg_only},
        )
    return found if node.outputsSize() > 1 else [found]


def _convolution(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, *how: Any
) -> torch.Tensor:
    stride, padding, dilation, transposed, output_padding, groups = how
    rank = weight.dim() - 3
    if transposed:
        transpose: Any = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank]
        return transpose(x, weight, bias, stride, padding, output_padding, groups, dilation)
    convolve: Any = (F.conv1d, F.conv2d, F.conv3d)[rank]
    return convolve(x, weight, bias, stride, padding, dilation, groups)


def _cannot(node: Any, what: str) -> LoadError:
    lines = [text.strip() for text in node.sourceRange().splitlines() if "<---" not in text]
    where = next(filter(None, lines), "")
    return LoadError(
        f"TorchScript: {what} is not supported: {where:.100}",
        hint="trace the model with torch.jit.trace, or bring it as .pt2",
    )
