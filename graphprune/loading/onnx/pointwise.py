"""Compute element-wise ONNX operators: on tensors, and on numbers known while the graph is read."""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from functools import partial, reduce
from typing import Any

import torch
import torch.nn.functional as F

from .operators import Node, operator, refuse
from .values import Known, Value, floats, integers, known, map_known, operand, tensor

__all__: list[str] = []


def _divided(a: Any, b: Any) -> Any:
    """Divide as ONNX does, integers towards zero; sizes are never negative."""
    if isinstance(a, float) or isinstance(b, float):
        return a / b
    plain = isinstance(a, int) and isinstance(b, int)
    return -(-a // b) if plain and (a < 0) != (b < 0) else a // b


def _quotient(a: Any, b: Any) -> torch.Tensor:
    integral = [
        not x.is_floating_point() if isinstance(x, torch.Tensor) else isinstance(x, int)
        for x in (a, b)
    ]
    return torch.div(a, b, rounding_mode="trunc") if all(integral) else torch.true_divide(a, b)


def _larger(a: Any, b: Any) -> torch.Tensor:
    return torch.clamp_min(a, b) if not isinstance(b, torch.Tensor) else torch.maximum(a, b)


def _smaller(a: Any, b: Any) -> torch.Tensor:
    return torch.clamp_max(a, b) if not isinstance(b, torch.Tensor) else torch.minimum(a, b)


_BINARY: dict[str, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {
    # name: (of tensors, of numbers)
    "Add": (python.add, python.add),
    "And": (torch.logical_and, python.and_),
    "Div": (_quotient, _divided),
    "Equal": (torch.eq, python.eq),
    "Greater": (torch.gt, python.gt),
    "GreaterOrEqual": (torch.ge, python.ge),
    "Less": (torch.lt, python.lt),
    "LessOrEqual": (torch.le, python.le),
    "Max": (_larger, max),
    "Min": (_smaller, min),
    "Mul": (python.mul, python.mul),
    "Or": (torch.logical_or, python.or_),
    "Pow": (torch.pow, python.pow),
    "Sub": (python.sub, python.sub),
    "Sum": (python.add, python.add),
    "Xor": (torch.logical_xor, python.xor),
}
_LOGICAL = {"And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Or", "Xor"}
_COMMUTES = {"Add", "And", "Equal", "Max", "Min", "Mul", "Or", "Sum", "Xor"}


def _combined(node: Node, a: Value, b: Value) -> Value:
    of_tensors, of_numbers = _BINARY[node.operator]
    if isinstance(a, Known) and isinstance(b, Known):
        if node.operator == "Pow" and a.dtype.is_floating_point:
            return map_known(node, partial(_power, node), (a, b), a.dtype)
        if node.operator == "Pow":  # whose result may have any number of digits
            raise refuse(node, "a power of whole constants")
        dtype = torch.bool if node.operator in _LOGICAL else a.dtype
        found = map_known(node, of_numbers, (a, b), dtype)
        if any(isinstance(n, int) and abs(n) >= 2**63 for n in found.items.reshape(-1)):
            raise refuse(node, "an integer beyond 64 bits")
        return found
    if isinstance(a, Known) and node.operator in _COMMUTES:
        a, b = b, a
    left, right = operand(a, (b,)), operand(b, (a,))
    if not isinstance(left, torch.Tensor) and node.operator not in {"Div", "Pow", "Sub"}:
        left = tensor(a)
    found = of_tensors(left, right)
    if node.operator == "Pow" and found.dtype != a.dtype:  # ONNX keeps the type of what is raised
        return found.to(a.dtype)
    return found


def _power(node: Node, base: Any, exponent: Any) -> float:
    """Raise one known number to another, as tables of positions do to find their side."""
    try:
        found = float(base) ** float(exponent)
    except ArithmeticError as error:  # zero to a negative power, or beyond the largest float
        raise refuse(node, "a power that is no finite number") from error
    if isinstance(found, complex):
        raise refuse(node, "a power of a negative constant")
    return found


@operator(*_BINARY)
def binary(node: Node, *inputs: Value) -> Value:
    """Combine two operands or, for ``Max``, ``Min`` and ``Sum``, any number; broadcast as in numpy."""
    return reduce(lambda a, b: _combined(node, a, b), inputs)


@operator("Mean")
def mean(node: Node, *inputs: Value) -> torch.Tensor:
    """Average several tensors, element by element."""
    return reduce(python.add, [operand(x, inputs) for x in inputs]) / len(inputs)


@operator("Mod")
def mod(node: Node, a: Value, b: Value) -> Value:
    """Compute the remainder with the sign of the divisor, as in Python, or as in C (``fmod=1``)."""
    if node.get("fmod", 0):
        return torch.fmod(tensor(a), operand(b, (a,)))
    if isinstance(a, Known) and isinstance(b, Known):
        return map_known(node, python.mod, (a, b), a.dtype)
    return torch.remainder(tensor(a), operand(b, (a,)))


_UNARY: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Asin": torch.asin,
    "Asinh": torch.asinh, "Atan": torch.atan, "Atanh": torch.atanh,
    "Ceil": torch.ceil, "Cos": torch.cos, "Cosh": torch.cosh, "Erf": torch.erf,
    "Exp": torch.exp, "Floor": torch.floor, "HardSwish": F.hardswish, "IsNaN": torch.isnan,
    "Log": torch.log, "Mish": F.mish, "Neg": torch.neg, "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal, "Relu": torch.relu, "Round": torch.round,
    "Sigmoid": torch.sigmoid, "Sign": torch.sign, "Sin": torch.sin, "Sinh": torch.sinh,
    "Softplus": F.softplus, "Softsign": F.softsign, "Sqrt": torch.sqrt, "Tan": torch.tan,
    "Tanh": torch.tanh,
}  # fmt: skip
_UNARY_NUMBERS: dict[str, Callable[[Any], Any]] = {
    "Abs": abs, "Ceil": lambda n: n if isinstance(n, int) else float(-(-n // 1)),
    "Floor": lambda n: n if isinstance(n, int) else float(n // 1),
    "Neg": python.neg, "Not": python.not_, "Sqrt": lambda n: float(n) ** 0.5,
    "Reciprocal": lambda n: 1 / n,
}  # fmt: skip


@operator(*_UNARY)
def unary(node: Node, x: Value) -> Value:
    """Apply a function to each element."""
    if isinstance(x, Known) and node.operator in _UNARY_NUMBERS:
        return map_known(node, _UNARY_NUMBERS[node.operator], (x,), x.dtype)
    return _UNARY[node.operator](tensor(x))


@operator("Identity", "Dropout")
def identity(node: Node, x: Value, *_: Value) -> Value:
    """Return the input itself; dropout does nothing in inference."""
    return x


@operator("IsInf")
def is_infinite(node: Node, x: Value) -> torch.Tensor:
    """Tell which elements are infinite, of either sign or of one."""
    value = tensor(x)
    found = torch.isinf(value)
    if not node.get("detect_negative", 1):
        found = found & (value > 0)
    return found if node.get("detect_positive", 1) else found & (value < 0)


@operator("Clip", sizes=(1, 2))
def clip(node: Node, x: Value, low: Value | None = None, high: Value | None = None) -> Value:
    """Clamp to bounds, which are inputs since opset 11, attributes before."""
    bounds = [
        floats(node, bound, "a bound")[0] if bound is not None else node.get(name)
        for bound, name in ((low, "min"), (high, "max"))
    ]
    if isinstance(x, Known):
        for choose, bound in zip((max, min), bounds, strict=True):
            if bound is not None:
                own = bound if x.dtype.is_floating_point else int(bound)
                x = map_known(node, choose, (x, known(own, x.dtype)), x.dtype)
        return x
    if bounds == [None, None]:
        return x
    return (
        torch.clamp(x, *bounds)
        if x.is_floating_point()
        else torch.clamp(x, *[None if b is None else int(b) for b in bounds])
    )


@operator("Where")
def where(node: Node, condition: Value, a: Value, b: Value) -> Value:
    """Choose between two values, element by element."""
    if isinstance(condition, Known) and isinstance(a, Known) and isinstance(b, Known):
        return map_known(node, lambda c, x, y: x if c else y, (condition, a, b), a.dtype)
    dtype = next((x.dtype for x in (a, b) if isinstance(x, torch.Tensor)), None)
    left, right = (operand(x, (condition,)) for x in (a, b))
    if not isinstance(left, torch.Tensor) and not isinstance(right, torch.Tensor):
        left, dtype = tensor(a), None
    chosen = torch.where(tensor(condition), left, right)
    return chosen if dtype is None else chosen.to(dtype)


@operator("Trilu", sizes=(1,))
def trilu(node: Node, x: Value, k: Value | None = None) -> torch.Tensor:
    """Keep the triangle above or below a diagonal."""
    diagonal = 0 if k is None else int(integers(node, k, "the diagonal")[0])
    compute = torch.triu if node.get("upper", 1) else torch.tril
    return compute(tensor(x), diagonal)
