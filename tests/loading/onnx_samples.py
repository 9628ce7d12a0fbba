"""Example calls for every ONNX operator that can be read: at least one for each form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

__all__ = ["BODIES", "SAMPLES", "SEQUENCES", "SIZES", "UNPOOLING", "Sample", "model_of"]

_generator = np.random.default_rng(0)


@dataclass(frozen=True)
class Stored:
    """An input that is a weight of the model."""

    array: NDArray[Any]


@dataclass(frozen=True)
class Sample:
    """One call: arrays are inputs of the model, ``None`` is left out."""

    operator: str
    inputs: tuple[NDArray[Any] | Stored | None, ...]
    attributes: dict[str, Any]
    opset: int = 20
    outputs: int = 1

    def __str__(self) -> str:
        return "-".join([self.operator, str(self.opset), *sorted(self.attributes)])


def call(
    operator: str, *inputs: Any, opset: int = 20, outputs: int = 1, **attributes: Any
) -> Sample:
    return Sample(operator, inputs, attributes, opset, outputs)


def f(*shape: int) -> NDArray[Any]:
    return _generator.standard_normal(shape).astype(np.float32)


def positive(*shape: int) -> NDArray[Any]:
    return np.abs(f(*shape)) + np.float32(0.1)


def w(*shape: int) -> Stored:
    return Stored(f(*shape))


def i(*numbers: Any) -> Stored:
    return Stored(np.array(numbers, np.int64))


def number(value: Any, dtype: Any = np.float32) -> Stored:
    return Stored(np.array(value, dtype))


X = f(2, 6, 8, 8)
_UNARY = ("Abs", "Atan", "Ceil", "Cos", "Cosh", "Erf", "Exp", "Floor", "HardSwish", "Identity",
          "IsNaN", "Mish", "Neg", "Relu", "Round", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus",
          "Softsign", "Tanh")  # fmt: skip
_BINARY = ("Add", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min",
           "Mul", "Sub")  # fmt: skip
_REDUCTIONS = ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean",
               "ReduceMin", "ReduceProd", "ReduceSum", "ReduceSumSquare")  # fmt: skip


def quantized_lstm(direction: str, zero: int, *, columns: bool = False) -> Sample:
    """An LSTM of weights with 8 bits, small enough that no product of two saturates."""
    d = 1 + (direction == "bidirectional")
    many = (d, 24) if columns else (d,)

    def whole(*shape: int) -> Stored:
        return Stored(_generator.integers(-60, 60, shape).astype(np.int8))

    scales = Stored(np.full(many, 0.004, np.float32)), Stored(np.full(many, zero, np.int8))
    return call(
        MS + "DynamicQuantizeLSTM", f(5, 3, 4), whole(d, 4, 24), whole(d, 6, 24), w(d, 48), None, None, None, None,
        *scales, *scales, hidden_size=6, direction=direction,
    )  # fmt: skip


def recurrent(
    operator: str,
    direction: str,
    *,
    full: bool,
    lengths: bool = False,
    peepholes: bool = False,
    all_states: bool = False,
    opset: int = 14,
    **more: Any,
) -> Sample:
    """A recurrent layer of 5 steps, a batch of 3, 4 inputs and 6 hidden units; with all operands or as few as possible."""
    gates, d = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator], 1 + (direction == "bidirectional")
    state = [f(d, 3, 6), w(d, 3, 6)][: 2 if operator == "LSTM" else 1]
    rest = (
        [w(d, gates * 12), np.array([5, 2, 4], np.int32) if lengths else None, *state]
        if full
        else []
    )
    rest += [w(d, 18)] if peepholes else []
    outputs = 2 if (lengths and not all_states) or operator != "LSTM" else 3
    return call(
        operator,
        f(5, 3, 4),
        w(d, gates * 6, 4),
        w(d, gates * 6, 6),
        *rest,
        opset=opset,
        outputs=outputs,
        direction=direction,
        hidden_size=6,
        **more,
    )


def q(*shape: int, dtype: Any = np.uint8) -> NDArray[Any]:
    """Integers of a quantised tensor."""
    bounds = np.iinfo(dtype)
    return _generator.integers(bounds.min, bounds.max, shape).astype(dtype)


def wq(*shape: int, dtype: Any = np.int8) -> Stored:
    return Stored(q(*shape, dtype=dtype))


def scales(*shape: int) -> Stored:
    return Stored((np.abs(_generator.standard_normal(shape)) / 50 + 0.01).astype(np.float32))


U8, S8 = number(100, np.uint8), number(3, np.int8)
SCALE, OUT = number(0.02), number(0.3)
QUANTIZED = [
    *(call("DequantizeLinear", q(2, 6, 4, dtype=d), SCALE, number(z, d), opset=o)
      for d, z in ((np.int8, -4), (np.uint8, 100), (np.int32, 0)) for o in (10, 13, 21)),
    call("DequantizeLinear", q(2, 6, 4), SCALE), call("DequantizeLinear", q(2, 6, 4, dtype=np.int16), SCALE, number(5, np.int16), opset=21),
    *(call("DequantizeLinear", q(2, 6, 4, dtype=np.int8), scales(n), wq(n), axis=axis, opset=o)
      for n, axis in ((6, 1), (2, 0), (4, -1)) for o in (13, 19)),
    *(call("QuantizeLinear", X, SCALE, number(z, d), opset=o) for d, z in ((np.int8, -4), (np.uint8, 100)) for o in (10, 13, 21)),
    call("QuantizeLinear", X, SCALE), call("QuantizeLinear", X, SCALE, opset=21, output_dtype=TensorProto.INT8),
    *(call("QuantizeLinear", X, scales(6), wq(6), axis=1, opset=o) for o in (13, 19)),
    call("QuantizeLinear", X, scales(8), wq(8, dtype=np.uint8), axis=-1, opset=13),
    call("DynamicQuantizeLinear", X, outputs=3, opset=11), call("DynamicQuantizeLinear", positive(3, 5), outputs=3),
    call("ConvInteger", q(2, 3, 6, 6), wq(4, 3, 3, 3), U8, opset=10, pads=[1, 1, 1, 1]),
    call("ConvInteger", q(2, 4, 6, 6), wq(4, 2, 3, 3, dtype=np.uint8), U8, U8, group=2, strides=[2, 2]),
    call("MatMulInteger", q(3, 6), wq(6, 4), U8, wq(4), opset=10), call("MatMulInteger", q(2, 3, 6), wq(6, 4), U8, S8),
    call("MatMulInteger", q(3, 6), wq(6, 4, dtype=np.uint8)),
    *(call("QLinearConv", q(2, 4, 6, 6), SCALE, U8, wq(6, 4 // g, 3, 3), s, z, OUT, U8, *bias, group=g, pads=[1] * 4, opset=o)
      for g, s, z, bias, o in ((1, SCALE, S8, (), 10), (2, scales(6), Stored(np.zeros(6, np.int8)), (), 10),
                               (1, scales(6), Stored(np.zeros(6, np.int8)), (Stored(_generator.integers(-500, 500, 6).astype(np.int32)),), 13))),
    call("QLinearMatMul", q(3, 6), SCALE, U8, wq(6, 4, dtype=np.uint8), SCALE, U8, OUT, U8, opset=10),
    call("QLinearMatMul", q(2, 3, 6), SCALE, U8, wq(6, 4), scales(4), wq(4), OUT, U8, opset=21),
    *(call("com.microsoft.QGemm", q(3, 6), SCALE, U8, wq(5, 6), s, z, b, OUT, U8, transB=1, opset=13)
      for s, z in ((SCALE, S8), (scales(5), Stored(np.zeros(5, np.int8))))
      for b in (None, Stored(_generator.integers(-500, 500, 5).astype(np.int32)))),
    *(call(f"com.microsoft.QLinear{name}", q(2, 3, 4), SCALE, U8, q(2, 3, 4), OUT, U8, OUT, U8) for name in ("Add", "Mul")),
    call("com.microsoft.QLinearSigmoid", q(2, 5), SCALE, U8, number(1 / 256), number(0, np.uint8)),
    call("com.microsoft.QLinearLeakyRelu", q(2, 5), SCALE, U8, SCALE, U8, alpha=0.2),
    call("com.microsoft.QLinearGlobalAveragePool", q(2, 3, 4, 4), SCALE, U8, SCALE, U8),
    call("com.microsoft.QLinearAveragePool", q(2, 3, 4, 4), SCALE, U8, SCALE, U8, kernel_shape=[2, 2]),
    Sample("com.microsoft.QLinearSoftmax", (q(2, 5), SCALE, U8, number(1 / 256), number(0, np.uint8)), {"axis": -1, "opset": 13}),
    call("com.microsoft.QLinearConcat", OUT, U8, q(2, 3), SCALE, U8, q(2, 4), OUT, U8, axis=1),
    *(call(name, q(2, 3, 8, 8, dtype=d), **more) for d in (np.int8, np.uint8)
      for name, more in (("MaxPool", {"kernel_shape": [2, 2]}), ("MaxPool", {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [2, 2]}))),
]  # fmt: skip

DIRECTIONS = ("forward", "reverse", "bidirectional")
RECURRENT = [
    *(recurrent(name, direction, full=full, opset=opset) for name in ("LSTM", "GRU", "RNN")
      for direction in DIRECTIONS for full in (True, False) for opset in (7, 14)),
    *(recurrent(name, direction, full=True, lengths=True) for name in ("LSTM", "GRU", "RNN") for direction in DIRECTIONS),
    *(recurrent("GRU", direction, full=full, linear_before_reset=1) for direction in DIRECTIONS for full in (True, False)),
    *(recurrent("GRU", direction, full=True, lengths=True, linear_before_reset=1) for direction in DIRECTIONS),
    *(recurrent("LSTM", direction, full=True, lengths=lengths, peepholes=peepholes, all_states=True)
      for direction in DIRECTIONS for lengths, peepholes in ((False, True), (True, True), (True, False))),
    recurrent("RNN", "forward", full=True, activations=["Relu"]),
    recurrent("RNN", "bidirectional", full=True, activations=["Relu", "Relu"], opset=22),
    recurrent("LSTM", "forward", full=True, activations=["Sigmoid", "Tanh", "Tanh"], opset=22),
    call("LSTM", f(5, 3, 4), w(1, 24, 4), w(1, 24, 6), None, Stored(np.array([5, 3, 1], np.int32)),
         opset=14, hidden_size=6, direction="reverse"),
]  # fmt: skip

MS = "com.microsoft."
U16 = number(300, np.uint16)
BLOCKS: list[Sample] = [
    call("DequantizeLinear", np.arange(-12, 12, dtype=np.int8).reshape(8, 3), w(2, 3), axis=0, block_size=4, opset=21),
    call("DequantizeLinear", np.arange(24, dtype=np.uint8).reshape(4, 6), w(4, 2),
         Stored(np.arange(8, dtype=np.uint8).reshape(4, 2)), axis=-1, block_size=3, opset=21),
    call(MS + "QuantizeLinear", f(2, 5), number(0.01), U16),
    call(MS + "DequantizeLinear", np.arange(10, dtype=np.uint16).reshape(2, 5) * 60, number(0.01), U16),
    call("DequantizeLinear", np.arange(10, dtype=np.uint16).reshape(2, 5) * 60, number(0.01), U16, opset=21),
]  # fmt: skip
PLACES = np.array([[0, 1, 2, 3, 4], [2, 3, 4, 5, 6]])
ROTARY: list[Sample] = [
    *(call("RotaryEmbedding", x, w(7, 4), w(7, 4), PLACES, opset=23, interleaved=paired, **more)
      for paired in (0, 1) for x, more in ((f(2, 5, 16), {"num_heads": 2}), (f(2, 2, 5, 8), {}))),
    call("RotaryEmbedding", f(2, 5, 16), w(2, 5, 4), w(2, 5, 4), opset=23, num_heads=2),
    call("RotaryEmbedding", f(2, 2, 5, 8), w(7, 3), w(7, 3), PLACES, opset=23, rotary_embedding_dim=6),
    *(call(MS + "RotaryEmbedding", f(2, 5, 16), p, w(7, 4), w(7, 4), interleaved=paired)
      for paired in (0, 1) for p in (Stored(PLACES), i(1))),
    call(MS + "RotaryEmbedding", f(2, 2, 5, 8), Stored(PLACES), w(7, 4), w(7, 4)),
]  # fmt: skip
GQA, GROUPS = "GroupQueryAttention", {"num_heads": 4, "kv_num_heads": 2}


def whole(*numbers: int) -> Stored:
    return Stored(np.array(numbers, np.int32))


def octets(*shape: int) -> Stored:
    return Stored(_generator.integers(0, 256, shape).astype(np.uint8))


def positive_w(*shape: int) -> Stored:
    return Stored(positive(*shape))


SEEN = Stored(np.array([[1] * 8, [1, 0, 1, 1, 1, 1, 1, 1]], np.int32))
FUSED: list[Sample] = [
    *ROTARY,
    *(call(MS + "FusedConv", X, w(4, 3, 3, 3), w(4), group=2, activation=name, **more)
      for name, more in {"Relu": {}, "Sigmoid": {}, "Tanh": {}, "LeakyRelu": {"activation_params": [0.2]},
                         "HardSigmoid": {"activation_params": [0.3, 0.4]},
                         "Clip": {"activation_params": [-0.5, 0.5]}}.items()),
    call(MS + "FusedConv", X, w(4, 6, 3, 3), w(4), f(2, 4, 6, 6), activation="Relu"),
    *(call(MS + "FusedGemm", f(3, 6), w(5, 6), w(5), transB=1, **more)
      for more in ({"activation": "Relu"}, {"activation": "LeakyRelu", "activation_alpha": 0.2})),
    *(call(MS + "FusedMatMul", f(2, 6, 4), f(2, 6, 5), transA=1, alpha=alpha) for alpha in (1.0, 0.3)),
    call(MS + "FusedMatMul", f(2, 4, 6), w(5, 6), transB=1),
    call(MS + "TransposeMatMul", f(2, 4, 6), w(5, 6), transB=1),
    call(MS + "BiasGelu", f(2, 5, 6), w(6)),
    call(MS + "Gelu", f(2, 5, 6)),
    call(MS + "FastGelu", f(2, 5, 6)),
    call(MS + "FastGelu", f(2, 5, 6), w(6)),
    *(call(MS + "QuickGelu", f(2, 5, 6), **more) for more in ({}, {"alpha": 1.0})),
    call(MS + "SkipLayerNormalization", f(2, 5, 6), f(2, 5, 6), w(6), w(6), epsilon=1e-5),
    call(MS + "SkipLayerNormalization", f(2, 5, 6), f(2, 5, 6), w(6), w(6), w(6)),
    call(MS + "SkipLayerNormalization", f(2, 5, 6), f(2, 5, 6), w(6), None, w(6)),
    call(MS + "SkipSimplifiedLayerNormalization", f(2, 5, 6), f(2, 5, 6), w(6), epsilon=1e-5),
    call(MS + "SkipSimplifiedLayerNormalization", f(2, 5, 6), f(2, 5, 6), w(6), w(6)),
    *(call(MS + "Attention", f(2, 5, 6), w(6, 24), w(24), num_heads=2, **more)
      for more in ({}, {"scale": 0.3}, {"unidirectional": 1}, {"qkv_hidden_sizes": [4, 4, 16]})),
    call(MS + "Attention", f(2, 5, 6), w(6, 24), w(24), Stored(np.array([[1] * 5, [1, 1, 1, 0, 0]], np.int32)), num_heads=2),
    call(MS + "Attention", f(2, 5, 6), w(6, 24), w(24), None, None, f(2, 2, 5, 5), num_heads=2),
    *(call(MS + "MultiHeadAttention", f(2, 5, 8), f(2, 7, 8), f(2, 7, 8), num_heads=2, **more)
      for more in ({}, {"scale": 0.3})),
    call(MS + "MultiHeadAttention", f(2, 5, 8), f(2, 7, 8), f(2, 7, 8), None, None, f(2, 2, 5, 7), num_heads=2),
    call(MS + "MultiHeadAttention", f(2, 5, 8), f(2, 7, 8), f(2, 7, 8), w(24), num_heads=2),
    *(call(MS + "MultiHeadAttention", f(2, 5, 8), f(2, 5, 8), f(2, 5, 8), bias, mask, None, f(2, 2, 3, 4), f(2, 2, 3, 4),
           num_heads=2, outputs=3, **more)
      for bias, mask in ((None, None), (w(24), SEEN)) for more in ({}, {"unidirectional": 1})),
    call(MS + "MultiHeadAttention", f(2, 5, 8), f(2, 5, 8), f(2, 5, 8), num_heads=2, outputs=3),
    call(MS + "MatMulNBits", f(2, 3, 40), octets(6, 3, 8), positive_w(18), octets(6, 2), N=6, K=40, bits=4, block_size=16),
    call(MS + "MatMulNBits", f(3, 32), octets(6, 2, 16), positive_w(6, 2), None, None, w(6), N=6, K=32, bits=8, block_size=16),
    call(MS + "GatherBlockQuantized", octets(7, 16), np.array([[6, 0], [1, 1]]), positive_w(7, 2), octets(7, 1), bits=4, block_size=16),
    call(MS + GQA, f(2, 3, 64), f(2, 3, 32), f(2, 3, 32), None, None, whole(2, 2), whole(3), **GROUPS),
    call(MS + GQA, f(2, 3, 128), None, None, None, None, whole(2, 2), whole(3), **GROUPS, outputs=3),
    *(call(MS + GQA, f(2, 1, 64), f(2, 1, 32), f(2, 1, 32), f(2, 2, 4, 16), f(2, 2, 4, 16), whole(4, 2), whole(5), w(8, 8), w(8, 8),
           *more, **GROUPS, outputs=3, do_rotary=1)
      for more in ([], [i([6], [3])], [None, f(2, 4, 1, 5)])),
    call(MS + GQA, f(1, 2, 64), f(1, 2, 32), f(1, 2, 32), f(1, 2, 9, 16), f(1, 2, 9, 16), whole(6), whole(7), w(8, 8), w(8, 8),
         **GROUPS, outputs=3, do_rotary=1, rotary_interleaved=1, local_window_size=3, scale=0.4),
    *(call(MS + "Attention", f(2, 5, 6), w(6, 24), w(24), mask, f(2, 2, 2, 3, 4), num_heads=2, outputs=2, **more)
      for mask, more in ((None, {}), (None, {"unidirectional": 1}), (SEEN, {"unidirectional": 1}))),
    *(quantized_lstm(direction, zero) for direction in ("forward", "bidirectional") for zero in (0, 3)),
    quantized_lstm("forward", 0, columns=True),
]  # fmt: skip

MIXED = f(2, 3, 4, 5)
PLACED: list[Sample] = [
    *(call("ScatterElements", f(3, 4), np.array([[0, 2], [-1, 1]]), f(2, 2), axis=axis, opset=18, **more)
      for axis, more in ((1, {}), (0, {}), (1, {"reduction": "add"}), (1, {"reduction": "max"}), (0, {"reduction": "mul"}))),
    call("Scatter", f(3, 4), np.array([[0, 2], [1, 1]]), f(2, 2), axis=1, opset=9),
    call("ScatterND", MIXED, i([1], [0]), f(2, 3, 4, 5)), call("ScatterND", MIXED, np.array([[0, 2], [1, -1]]), f(2, 4, 5)),
    call("ScatterND", MIXED, i([0, 2], [0, 2]), f(2, 4, 5), reduction="add", opset=18),
    call("GatherND", MIXED, np.array([[0, 2], [1, -1], [0, 0]])), call("GatherND", MIXED, i([[1], [0]])),
    call("GatherND", MIXED, np.array([[[0], [2]], [[1], [1]]]), batch_dims=1),
    call("GatherND", MIXED, np.array([[[0, 1], [2, 4], [1, 1]], [[1, 0], [3, 2], [0, 0]]]), batch_dims=1),
    call("Compress", X, number([True, False, True], bool), axis=1), call("Compress", MIXED, number([False] * 7 + [True], bool)),
    *(call("ReverseSequence", f(3, 2, 4), i(*n), time_axis=t, batch_axis=1 - t) for t, n in ((0, (3, 1)), (1, (2, 1, 2)))),
    *(call("OneHot", np.array([[1, -2, 7]]), number(5, np.int64), number([0.5, 2.0]), axis=axis) for axis in (-1, 0, 1)),
    call("Hardmax", MIXED, axis=1), call("Hardmax", MIXED, opset=11, axis=2), call("Hardmax", f(2, 5), opset=11),
    *(call("GridSample", X, np.clip(f(2, 3, 4, 2), -1.2, 1.2), opset=opset, mode=mode, **more)
      for opset, modes in ((16, ("bilinear", "nearest", "bicubic")), (20, ("linear", "nearest", "cubic"))) for mode in modes
      for more in ({}, {"padding_mode": "border"}, {"padding_mode": "reflection", "align_corners": 1})),
    call("GridSample", f(1, 2, 3, 4, 5), np.clip(f(1, 2, 3, 4, 3), -1, 1), mode="linear"),
    call("Col2Im", f(2, 12, 9), i(4, 4), i(2, 2), opset=18), call("Col2Im", f(1, 8, 9), i(5, 5), i(2, 2), strides=[2, 2], pads=[1, 1, 1, 1]),
    call("GlobalLpPool", X), call("GlobalLpPool", f(2, 3, 9), p=1, opset=2),
    call("LpPool", X, kernel_shape=[2, 3], strides=[2, 1], pads=[1, 1, 0, 1], opset=18), call("LpPool", f(2, 3, 9), kernel_shape=[3], p=1, opset=11),
    call("MeanVarianceNormalization", X, opset=9), call("MeanVarianceNormalization", X, axes=[2, 3], opset=11),
    *(call("CumSum", MIXED, number(axis, np.int64), **more) for axis in (1, -1) for more in ({"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1})),
    call("Mod", f(2, 5), number(0.7), fmod=1), call("Xor", f(2, 3) > 0, f(2, 3) > 0),
    call("Asinh", X), call("Acosh", positive(2, 5) + 1), call("Atanh", np.clip(f(2, 5), -0.9, 0.9)),
    call("Swish", X, opset=24), call("Swish", X, opset=24, alpha=0.5), call("Shrink", X, lambd=0.3, bias=0.1), call("Shrink", X),
    *(call("IsInf", np.array([[1.0, np.inf, -np.inf]], np.float32), **more) for more in ({}, {"detect_negative": 0}, {"detect_positive": 0})),
]  # fmt: skip
"""Operators that place or take elements, and some that came late."""

COORDINATES = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric",
               "tf_half_pixel_for_nn")  # fmt: skip
SAMPLES: list[Sample] = [
    *(call(name, X) for name in _UNARY),
    *(call(name, np.clip(f(2, 5), -0.9, 0.9)) for name in ("Acos", "Asin", "Tan")),
    *(call(name, positive(2, 5)) for name in ("Log", "Reciprocal", "Sqrt")),
    *(call(name, f(2, 5), w(5)) for name in _BINARY),
    *(call(name, f(2, 5), number(0.5)) for name in _BINARY),
    *(call(name, number(0.5), positive(2, 5)) for name in _BINARY),
    *(call(name, positive(2, 5, 6), i(1, 2), keepdims=k) for name in _REDUCTIONS for k in (0, 1)),
    *(call(name, positive(2, 5, 6), opset=11, axes=[-1]) for name in _REDUCTIONS),
    *(call("ReduceProd", positive(2, 5, 6), i(*axes), keepdims=0) for axes in ((-2, -1), (-2, 2))),
    *(call(name, np.array([[3, -2, 1]], np.int32), i(1)) for name in ("ReduceL1", "ReduceProd", "ReduceSum", "ReduceSumSquare")),
    call("CumSum", np.array([[3, -2, 1]], np.int32), number(1, np.int64)),
    call("ReduceMean", f(2, 5)),
    call("ReduceSum", f(2, 5), noop_with_empty_axes=1),
    call("Pow", positive(2, 5), number(2.0)), call("Pow", positive(2, 5), w(5)),
    call("Pow", number(2.0), f(2, 5)), call("Pow", np.array([[9, 5, 2]], np.int32), number(0.5)),
    call("Mod", np.array([[5, 7, 9]]), i(4, 3, 2)),
    call("Sum", f(2, 5), w(5), f(2, 5)), call("Mean", f(2, 5), f(2, 5), f(2, 5)),
    call("Max", f(2, 5), f(2, 5), w(5)),
    call("And", f(2, 3) > 0, f(2, 3) > 0), call("Or", f(2, 3) > 0, f(2, 3) > 0), call("Not", f(2, 3) > 0),
    call("Elu", X), call("Elu", X, alpha=0.5), call("Celu", X, alpha=2.0), call("Selu", X),
    call("LeakyRelu", X), call("LeakyRelu", X, alpha=0.2), call("ThresholdedRelu", X, alpha=0.5),
    call("HardSigmoid", X), call("HardSigmoid", X, alpha=1 / 6, beta=0.5),
    call("Gelu", X), call("Gelu", X, approximate="tanh"),
    call("PRelu", X, w(6, 1, 1)), call("PRelu", X, w(1)), call("PRelu", f(2, 5), w(5)),
    call("Clip", X, number(-0.5), number(0.5)), call("Clip", X, number(0.0)), call("Clip", X, None, number(1.0)),
    call("Clip", X, opset=6, min=0.0, max=6.0),
    call("Where", f(2, 5) > 0, f(2, 5), w(5)), call("Where", f(2, 5) > 0, f(2, 5), number(0.0)),
    call("Where", f(2, 5) > 0, number(-1.0), f(2, 5)),
    call("Cast", f(2, 5), to=TensorProto.INT32), call("Cast", f(2, 5), to=TensorProto.BOOL),
    call("CastLike", f(2, 5), np.zeros((1,), np.float64)),
    call("Softmax", f(2, 5, 6), axis=1), call("Softmax", f(2, 5, 6)), call("LogSoftmax", f(2, 5)),
    call("Softmax", f(2, 5, 6), opset=11), call("Softmax", f(2, 5), opset=11, axis=-1),
    call("Dropout", X), call("Dropout", X, opset=7),

    call("Conv", X, w(4, 6, 3, 3), w(4), pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
    call("Conv", X, w(4, 3, 3, 3), group=2, strides=[2, 2], dilations=[2, 1]),
    call("Conv", X, w(4, 6, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2]),
    call("Conv", X, w(4, 6, 2, 2), auto_pad="SAME_LOWER"), call("Conv", X, w(4, 6, 2, 2), auto_pad="VALID"),
    call("Conv", X, w(4, 6, 3, 3), pads=[1, 0, 0, 2]),
    call("Conv", f(2, 4, 9), w(6, 4, 3)), call("Conv", f(1, 2, 4, 4, 4), w(3, 2, 2, 2, 2)),
    call("ConvTranspose", X, w(6, 4, 2, 2), w(4), strides=[2, 2]),
    call("ConvTranspose", X, w(6, 2, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1], group=2),
    call("ConvTranspose", X, w(6, 4, 3, 3), strides=[2, 2], pads=[1, 1, 0, 0]),
    call("ConvTranspose", X, w(6, 4, 3, 3), strides=[2, 2], pads=[0, 0, 1, 1]),
    call("ConvTranspose", X, w(6, 4, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
    call("ConvTranspose", X, w(6, 4, 3, 3), w(4), strides=[2, 2], auto_pad="SAME_LOWER", output_padding=[1, 0]),
    call("ConvTranspose", X, w(6, 4, 3, 3), strides=[2, 2], output_shape=[8, 9]),
    call("ConvTranspose", X, w(6, 2, 2, 3), strides=[2, 2], output_shape=[7, 7], auto_pad="SAME_UPPER", group=2),
    call("ConvTranspose", f(2, 6, 5), w(6, 4, 3), strides=[2], dilations=[2], output_shape=[11]),
    call("Gemm", f(3, 4), w(5, 4), w(5), transB=1), call("Gemm", f(3, 4), w(4, 5)),
    call("Gemm", f(4, 3), w(4, 5), w(1, 5), transA=1, alpha=0.5, beta=2.0),
    call("Gemm", f(3, 4), w(4, 5), w(1)),
    call("MatMul", f(2, 3, 4), w(4, 5)), call("MatMul", f(2, 3, 4), f(2, 4, 5)),
    call("Einsum", f(2, 3, 4), f(2, 5, 4), equation="bij,bkj->bik"),
    call("BatchNormalization", X, w(6), w(6), w(6), Stored(positive(6)), epsilon=1e-3),
    call("BatchNormalization", X, w(6), w(6), w(6), Stored(positive(6)), opset=9),
    call("InstanceNormalization", X, w(6), w(6)),
    call("GroupNormalization", X, w(6), w(6), opset=21, num_groups=3),
    call("LayerNormalization", f(2, 5, 6), w(6), w(6)), call("LayerNormalization", f(2, 5, 6), w(5, 6), axis=1),
    call("LayerNormalization", f(2, 5, 6), w(6), w(6), axis=1), call("RMSNormalization", f(2, 5, 6), w(6), opset=23, axis=1),
    call("RMSNormalization", f(2, 5, 6), w(6), opset=23),
    call("LpNormalization", f(2, 5), axis=1), call("LpNormalization", f(2, 5), p=1),
    call("Attention", f(2, 2, 5, 4), f(2, 2, 7, 4), f(2, 2, 7, 3), opset=23),
    call("Attention", f(2, 2, 5, 4), f(2, 2, 5, 4), f(2, 2, 5, 3), opset=23, is_causal=1, scale=0.3),
    call("Attention", f(2, 5, 8), f(2, 7, 8), f(2, 7, 6), opset=23, q_num_heads=2, kv_num_heads=2),
    call("Attention", f(2, 2, 5, 4), f(2, 2, 7, 4), f(2, 2, 7, 3), None, None, None, opset=23),
    call("Attention", f(2, 5, 8), f(2, 7, 4), f(2, 7, 6), opset=23, q_num_heads=4, kv_num_heads=2),
    *(call("Attention", f(2, 5, 8), f(2, 5, 4), f(2, 5, 6), mask, f(2, 2, 3, 2), f(2, 2, 3, 3), opset=23, outputs=3,
           q_num_heads=4, kv_num_heads=2, **more)
      for mask in (None, f(5, 8), f(5, 8) > 0) for more in ({}, {"is_causal": 1})),
    call("Attention", f(2, 2, 5, 4), f(2, 2, 5, 4), f(2, 2, 5, 3), opset=23, outputs=3),
    call("SimplifiedLayerNormalization", X, positive(8), opset=17, axis=-1, epsilon=1e-3),
    *FUSED,
    *BLOCKS,

    call("MaxPool", X, kernel_shape=[2, 2], strides=[2, 2]),
    call("MaxPool", X, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1),
    call("MaxPool", X, kernel_shape=[3, 3], pads=[0, 0, 1, 1], dilations=[2, 2]),
    call("MaxPool", X, kernel_shape=[2, 2], auto_pad="SAME_UPPER"),
    call("MaxPool", f(2, 3, 9), kernel_shape=[3]),
    call("MaxPool", X, kernel_shape=[2, 2], strides=[2, 2], outputs=2),
    call("MaxPool", X, kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2], dilations=[2, 2], outputs=2),
    call("MaxPool", f(2, 3, 9), kernel_shape=[3], outputs=2), call("MaxPool", f(2, 3, 4, 5, 6), kernel_shape=[2] * 3, outputs=2),
    call("LRN", X, size=3), call("LRN", X, size=5, alpha=0.3, beta=0.6, bias=1.5),
    call("DeformConv", X, w(5, 6, 3, 3), f(2, 18, 6, 6), None, positive(2, 9, 6, 6), opset=22),
    call("DeformConv", X, w(4, 3, 3, 3), 3 * f(2, 54, 4, 4), w(4), opset=22, strides=[2, 2], pads=[1] * 4, group=2, offset_group=3),
    call("DeformConv", X, w(5, 6, 2, 3), f(2, 12, 9, 6), opset=22, dilations=[1, 2], pads=[1] * 4),
    *(call("CenterCropPad", X, i(*to), axes=axes) for to, axes in (((5, 11), [2, 3]), ((9,), [-1]), ((3, 9), [1, 2]))),
    call("CenterCropPad", X, i(1, 8, 3, 8)),
    call("AveragePool", X, kernel_shape=[2, 2]), call("AveragePool", f(2, 3, 9), kernel_shape=[3]),
    call("AveragePool", X, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2]),
    call("AveragePool", X, kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    call("AveragePool", X, kernel_shape=[3, 3], pads=[0, 0, 1, 1], count_include_pad=1),
    call("GlobalAveragePool", X), call("GlobalMaxPool", X),
    call("DepthToSpace", f(2, 12, 3, 4), blocksize=2), call("DepthToSpace", f(2, 12, 3, 4), blocksize=2, mode="CRD"),
    call("SpaceToDepth", f(2, 3, 4, 6), blocksize=2),
    call("Resize", X, None, Stored(np.array([1, 1, 2, 2], np.float32)), mode="nearest"),
    call("Resize", X, None, Stored(np.array([1, 1, 1.5, 2.5], np.float32)), mode="nearest",
         coordinate_transformation_mode="asymmetric", nearest_mode="floor"),
    call("Resize", X, None, None, i(2, 6, 16, 24), mode="nearest"),
    call("Resize", X, None, None, i(2, 6, 13, 5), mode="linear"),
    call("Resize", X, None, None, i(2, 6, 13, 15), mode="linear", coordinate_transformation_mode="align_corners"),
    call("Resize", X, None, None, i(2, 6, 16, 12), mode="cubic", coordinate_transformation_mode="pytorch_half_pixel"),
    call("Resize", X, None, None, i(16, 12), mode="linear", axes=[2, 3]),
    *(call("Resize", X, None, Stored(np.array([1, 1, 1.5, 0.7], np.float32)), mode="nearest", opset=19,
           coordinate_transformation_mode=where, nearest_mode=how)
      for where in COORDINATES for how in ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")),
    *(call("Resize", X, Stored(np.zeros(0, np.float32)), Stored(np.array([1, 1, 1.5, 2], np.float32)), mode=mode,
           opset=opset, coordinate_transformation_mode=where)
      for where in COORDINATES[:5] for mode in ("linear", "cubic") for opset in (11, 12, 19)
      if where != "half_pixel_symmetric" or opset == 19),
    call("Resize", X, Stored(np.array([1, 1, 2, 1.5], np.float32)), opset=10, mode="linear"),
    call("Resize", X, Stored(np.array([1, 1, 0.6, 2.5], np.float32)), opset=10, mode="nearest"),
    call("Resize", X, None, None, i(2, 6, 16, 12), mode="cubic", cubic_coeff_a=-0.5, exclude_outside=1),
    call("Resize", X, None, None, i(2, 6, 1, 12), mode="linear", coordinate_transformation_mode="pytorch_half_pixel"),
    call("Resize", f(2, 3, 4, 5, 6), None, None, i(2, 3, 8, 5, 9), mode="linear", coordinate_transformation_mode="asymmetric"),
    call("Upsample", X, opset=7, scales=[1.0, 1.0, 2.0, 3.0]),
    call("Upsample", X, Stored(np.array([1, 1, 2, 2], np.float32)), opset=9, mode="nearest"),

    call("Reshape", X, i(0, -1)), call("Reshape", X, i(2, 3, 2, 64)), call("Flatten", X), call("Flatten", X, axis=2),
    call("Flatten", X, axis=0), call("Transpose", X, perm=[0, 2, 3, 1]), call("Transpose", f(2, 3)),
    call("Squeeze", f(2, 1, 3, 1), i(1)), call("Squeeze", f(2, 1, 3, 1)), call("Squeeze", f(2, 1, 3), opset=11, axes=[1]),
    call("Unsqueeze", f(2, 3), i(0, -1)), call("Unsqueeze", f(2, 3), opset=11, axes=[1, 3]),
    call("Concat", f(2, 3), w(2, 4), axis=1), call("Split", X, i(2, 4), axis=1, outputs=2),
    call("Split", X, axis=1, num_outputs=3, outputs=3), call("Split", X, opset=11, axis=1, split=[1, 5], outputs=2),
    call("Slice", X, i(1, 0), i(5, 2**62), i(1, 2)), call("Slice", X, i(0), i(6), i(1), i(2)),
    call("Slice", X, i(-1), i(-(2**63)), i(3), i(-1)), call("Slice", X, opset=9, starts=[1], ends=[-1], axes=[1]),
    call("Slice", X, i(1), i(2)), call("Slice", X, i(5), i(0), i(1), i(-2)), call("Slice", X, i(-2), i(-7), i(1), i(-1)),
    call("Slice", X, i(4, 3), i(-(2**40), 0), i(1, -1), i(-3, -1)),
    call("Gather", X, i(0, 2), axis=1), call("Gather", X, number(3, np.int64), axis=-1),
    call("Gather", X, Stored(np.array([[0, 1], [2, 3]])), axis=2), call("Gather", w(9, 4), np.array([[1, 8, 0]])),
    call("Gather", X, i(1), axis=1),
    call("GatherElements", f(2, 3), np.array([[0, 1], [2, 0]]), axis=1),
    call("Gather", X, i(-1, 0), axis=1), call("GatherElements", f(2, 3), Stored(np.array([[-1, 0], [1, -3]])), axis=1),
    call("Expand", f(2, 1, 3), i(4, 3)), call("Expand", f(3, 1), i(2, 1, 5)), call("Tile", f(2, 3), i(1, 2)),
    call("Pad", X, i(0, 0, 1, 2, 0, 0, 3, 4)), call("Pad", X, i(0, 1, 0, 0, 0, 2, 0, 0), number(2.0)),
    call("Pad", X, i(0, 0, 1, 2, 0, 0, 3, 4), mode="reflect"), call("Pad", X, i(0, 0, 1, 1, 0, 0, 1, 1), mode="edge"),
    call("Pad", X, opset=9, pads=[0, 0, 1, 1, 0, 0, 1, 1], value=0.5), call("Pad", X, i(1, 2), None, i(3), opset=18),
    *(call("Pad", f(*shape), i(*pads), mode=mode, opset=19) for mode in ("reflect", "edge", "wrap")
      for shape, pads in (((2, 9, 1), (0, 4, 0, 0, 2, 0)), ((3, 5), (1, 2, 2, 0)), ((7,), (2, 3)),
                          ((4, 6, 8, 8), (1, 2, 3, 0, 2, 0, 1, 4)), ((2, 3, 4, 5, 6), (0, 1, 2, 0, 1, 1, 0, 1, 2, 0)))),
    call("Pad", f(2, 9, 1), opset=9, mode="reflect", pads=[0, 4, 0, 0, 2, 0]),
    call("CumSum", f(2, 5), number(1, np.int64)), call("Trilu", f(5, 5)), call("Trilu", f(5, 5), number(-1, np.int64), upper=0),
    call("ArgMax", X, axis=1), call("ArgMin", X, axis=-1, keepdims=0),
    call("TopK", f(2, 9), i(3), outputs=2), call("TopK", f(2, 9), i(2), axis=0, largest=0, outputs=2),
    *RECURRENT, *QUANTIZED, *PLACED,
]  # fmt: skip

SIZES = ("Shape", "Size", "Range", "ConstantOfShape", "Constant")
"""Operators that make numbers: tested in graphs that compute sizes."""

SEQUENCES = (
    "ConcatFromSequence", "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert",
    "SequenceLength", "SplitToSequence",
)  # fmt: skip
"""Operators on sequences, which no model takes: tested in test_sequences.py."""

UNPOOLING = ("MaxUnpool",)
"""Operators that read what a pooling gives: tested in test_unpooling.py."""

BODIES = ("If", "Loop", "Scan")
"""Operators that hold graphs: tested in test_control_flow.py."""


FOREIGN = frozenset({"SimplifiedLayerNormalization"})
"""Operators in the domain of ONNX that only onnxruntime has."""


def model_of(sample: Sample) -> onnx.ModelProto:
    """A model of one call."""
    names, inputs, stored = [], [], []
    for number, value in enumerate(sample.inputs):
        names.append("" if value is None else f"x{number}")
        if isinstance(value, Stored):
            stored.append(numpy_helper.from_array(value.array, names[-1]))
        elif value is not None:
            kind = helper.np_dtype_to_tensor_dtype(value.dtype)
            inputs.append(helper.make_tensor_value_info(names[-1], kind, value.shape))
    outputs = [f"y{number}" for number in range(sample.outputs)]
    domain, _, kind = sample.operator.rpartition(".")
    node = helper.make_node(kind, names, outputs, name="call", domain=domain, **sample.attributes)
    results = [onnx.ValueInfoProto(name=name) for name in outputs]
    if domain or sample.operator in FOREIGN:  # whose shapes aren't inferred
        arrays = [x.array if isinstance(x, Stored) else x for x in sample.inputs if x is not None]
        rank = max(x.ndim for x in arrays) + sample.operator.endswith("LSTM")
        kinds = {
            MS + "DynamicQuantizeLSTM": TensorProto.FLOAT,
            MS + "DequantizeLinear": TensorProto.FLOAT,
            MS + "QuantizeLinear": TensorProto.UINT16,
        }
        quantised = "Q" in sample.operator.removesuffix("QuickGelu").replace(GQA, "").replace(
            "BlockQ", ""
        )
        kind = kinds.get(sample.operator, TensorProto.UINT8 if quantised else TensorProto.FLOAT)
        rank = 3 if sample.operator.endswith("Attention") else rank
        caches = 4 + (sample.operator == MS + "Attention")
        results = [
            helper.make_tensor_value_info(name, kind, [None] * (caches if number else rank))
            for number, name in enumerate(outputs)
        ]
    graph = helper.make_graph([node], "sample", inputs, results, stored)
    opsets = [
        helper.make_opsetid("", sample.opset),
        *([helper.make_opsetid(domain, 1)] if domain else []),
    ]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    if sample.operator in FOREIGN:
        return model
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    if sample.operator == "GroupNormalization":  # whose shape isn't inferred
        dims = [helper.make_tensor_value_info("y0", TensorProto.FLOAT, X.shape)]
        inferred.graph.output[0].CopyFrom(dims[0])
    return inferred
