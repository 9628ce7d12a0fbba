"""Operands that a node of an ONNX graph reads beside its main input: weights that fit, sizes, axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .onnx_graphs import Choices

__all__ = ["OPERANDS"]

Sizes = tuple[int, ...]
Attributes = Mapping[str, Any]
Operand = Callable[["Choices", Sizes, Attributes, int], "NDArray[Any] | None"]


def _weights(*sizes: int, dtype: Any = np.float32) -> NDArray[Any]:
    count = int(np.prod([min(max(n, 0), 64) for n in sizes], dtype=np.int64))
    numbers = (np.arange(count) * 13 % 17 - 8) / (8.0 if dtype == np.float32 else 1.0)
    if dtype == np.uint8:
        numbers += 8
    return numbers.astype(dtype).reshape([min(max(n, 0), 64) for n in sizes])


def _at(sizes: Sizes, axis: int) -> int:
    return sizes[axis] if -len(sizes) <= axis < len(sizes) else 1


def _int64(*numbers: int) -> NDArray[Any]:
    return np.array(numbers, np.int64)


def _kernel(choose: Choices, sizes: Sizes, attributes: Attributes) -> list[int]:
    stated = attributes.get("kernel_shape") or [choose.of((1, 3, 2)) for _ in sizes[2:]]
    return [n if 0 < n < 8 else 1 for n in stated]


def _conv(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    groups, out = max(attributes.get("group", 1), 1), choose.of((4, 6, 8))
    if i == 2:
        return _weights(4)
    return _weights(4 if i else out, _at(sizes, 1) // groups, *_kernel(choose, sizes, attributes))


def _transposed(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    return (
        _weights(4) if i == 2 else _weights(_at(sizes, 1), 4, *_kernel(choose, sizes, attributes))
    )


def _gemm(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    if i == 2:
        return choose.of((_weights(4), _weights(1, 4), _weights()))
    rows = _at(sizes, 0 if attributes.get("transA") else 1)
    return _weights(4, rows) if attributes.get("transB") else _weights(rows, 4)


def _matmul(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any] | None:
    last = _at(sizes, -1)
    return choose.of((
        _weights(last, 6),
        _weights(last, 4),
        _weights(last),
        _weights(2, last, 3),
        None,
    ))


def _channels(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    return np.abs(_weights(_at(sizes, 1))) + (i > 3)


def _last(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    axis = attributes.get("axis", -1)
    return _weights(*sizes[axis if -len(sizes) <= axis < len(sizes) else -1 :])


def _slope(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    ones = [1] * max(len(sizes) - 2, 0)
    return choose.of((
        _weights(_at(sizes, 1), *ones),
        _weights(1),
        _weights(1, _at(sizes, 1), *ones),
    ))


def _recurrent(gates: int) -> Operand:
    def operand(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
        ways = 2 if attributes.get("direction") == "bidirectional" else 1
        hidden = attributes.get("hidden_size", 4)
        hidden = hidden if 0 < hidden < 9 else 4
        batch, steps = _at(sizes, 1), _at(sizes, 0)
        if attributes.get("layout"):
            batch, steps = steps, batch
        state = (batch, ways, hidden) if attributes.get("layout") else (ways, batch, hidden)
        match i:
            case 1:
                return _weights(ways, gates * hidden, _at(sizes, 2))
            case 2:
                return _weights(ways, gates * hidden, hidden)
            case 3:
                return _weights(ways, 2 * gates * hidden)
            case 4:
                return np.full(batch, choose.of((steps, 1)), np.int32)
            case 7:
                return _weights(ways, 3 * hidden)
            case _:
                return _weights(*state)

    return operand


def _reshape(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    reverse = tuple(reversed(sizes))
    return _int64(*choose.of((
        (0, -1), (-1,), sizes, reverse, (*sizes[:1], -1), (1, *sizes), (0, 0, -1), (2, -1), (-1, 0), (-1, -1), (2**40,),
    )))  # fmt: skip


def _expand(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    return _int64(
        *choose.of((sizes, (1,), (2, *sizes), (3, *(1,) * len(sizes)), (0,), (2**33, 1), ()))
    )


def _tile(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    return _int64(*(choose.of((1, 2, 3, 0, 2**20)) for _ in sizes))


def _axes(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    return _int64(*choose.of(((1,), (0,), (-1,), (2,), (2, 3), (), (0, 0), (1, -1), (-7,))))


def _slice(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    pools = (
        (0, 1, -1, -3, 100),
        (2, -1, 2**63 - 1, 0, 1),
        (1, 0, -1, 2, 9),
        (1, 2, -1, 0, -(2**40)),
    )
    return _int64(choose.of(pools[min(i, 4) - 1]))


def _pads(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    if i == 2:
        return np.float32(choose.of((0.0, 1.5, float("-inf"))))
    if i == 3:
        return _axes(choose, sizes, attributes, i)
    quiet = [0] * (2 * len(sizes))
    for _ in range(2):
        if quiet:
            quiet[choose.below(len(quiet))] = choose.of((1, 0, 2, -1, 2**31))
    return _int64(*quiet)


def _resize(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    scales = [1.0, 1.0, *(choose.of((2.0, 1.0, 0.5, 1.7, 3.0, 0.0, -1.0, 1e9)) for _ in sizes[2:])]
    if i == 3:
        return _int64(*sizes[:2], *(choose.of((2, 5, 8, 1, 0, 2**31)) for _ in sizes[2:]))
    return np.array(scales if i == 2 else [], np.float32)


def _upsample(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    return _resize(choose, sizes, attributes, 2)


def _split(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    size = _at(sizes, attributes.get("axis", 0))
    return _int64(
        *choose.of((
            (1, size - 1),
            (size,),
            (size // 2, size - size // 2),
            (0, size),
            (-1, size + 1),
        ))
    )


def _index(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    return choose.of((
        _int64(0, 1),
        _int64(0),
        np.int64(1),
        _int64(-1, 0, 0),
        np.array([[0, 1]]),
        _int64(99),
    ))


def _number(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    return np.float32(choose.of((0.5, 0.0, 6.0, -1.0, float("nan"), 1e30)))


def _whole(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    return np.int64(choose.of((1, 0, 2, -1, 3, 2**31, -(2**62))))


def _count(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    return _int64(choose.of((1, 2, 0, 3, -1, 2**40)))


def _scale(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    count = _at(sizes, attributes.get("axis", 1)) if choose.one_in(3) else 0
    if i == 1:
        return (
            np.abs(_weights(count)) + np.float32(0.1)
            if count
            else np.float32(choose.of((0.1, 0.0, 1e-30)))
        )
    return _weights(count, dtype=np.uint8) if count else np.uint8(choose.of((0, 128, 255)))


def _qlinear_conv(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    if i == 3:
        kind = choose.of((np.uint8, np.int8))
        return _weights(4, _at(sizes, 1), *_kernel(choose, sizes, attributes), dtype=kind)
    if i == 8:
        return _weights(4, dtype=np.int32)
    if i == 4 and choose.one_in(2):
        return np.abs(_weights(4)) + np.float32(0.1)
    return np.uint8(choose.of((0, 7))) if i in {2, 5, 7} else np.float32(0.05)


def _conv_integer(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    if i > 1:
        return np.uint8(choose.of((0, 3)))
    return _weights(4, _at(sizes, 1), *_kernel(choose, sizes, attributes), dtype=np.uint8)


def _matmul_integer(choose: Choices, sizes: Sizes, attributes: Attributes, i: int) -> NDArray[Any]:
    return np.uint8(choose.of((0, 3))) if i > 1 else _weights(_at(sizes, -1), 4, dtype=np.uint8)


OPERANDS: dict[str, Operand] = {
    "Conv": _conv, "ConvTranspose": _transposed, "Gemm": _gemm, "MatMul": _matmul,
    "BatchNormalization": _channels, "InstanceNormalization": _channels, "GroupNormalization": _channels,
    "LayerNormalization": _last, "RMSNormalization": _last, "PRelu": _slope,
    "LSTM": _recurrent(4), "GRU": _recurrent(3), "RNN": _recurrent(1),
    "Reshape": _reshape, "Expand": _expand, "Tile": _tile, "Squeeze": _axes, "Unsqueeze": _axes,
    "ReduceMean": _axes, "ReduceSum": _axes, "ReduceMax": _axes, "ReduceL2": _axes, "Slice": _slice, "Pad": _pads,
    "Resize": _resize, "Upsample": _upsample, "Split": _split, "Gather": _index, "GatherElements": _index,
    "Clip": _number, "Range": _number, "CumSum": _whole, "Trilu": _whole, "TopK": _count, "OneHot": _count,
    "QuantizeLinear": _scale, "DequantizeLinear": _scale, "QLinearConv": _qlinear_conv,
    "ConvInteger": _conv_integer, "MatMulInteger": _matmul_integer,
}  # fmt: skip
