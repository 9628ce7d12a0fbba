"""Make ONNX models out of bytes: valid graphs with odd attributes, operands and sizes.

Nodes are made by the schemas of onnx, of any operator that these name. A node that shape inference
refuses is left out, except now and then. Operands that must fit are made in ``onnx_operands.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, checker, defs, helper, numpy_helper, shape_inference

from .onnx_operands import OPERANDS

__all__ = ["Choices", "onnx_model", "onnx_network"]

T = TypeVar("T")
OPSETS = (18, 17, 13, 11, 12, 15, 20, 21, 14, 16, 9, 10, 7)
KINDS = {
    "tensor(float)": TensorProto.FLOAT, "tensor(int64)": TensorProto.INT64, "tensor(bool)": TensorProto.BOOL,
    "tensor(int32)": TensorProto.INT32, "tensor(uint8)": TensorProto.UINT8, "tensor(int8)": TensorProto.INT8,
    "tensor(double)": TensorProto.DOUBLE, "tensor(float16)": TensorProto.FLOAT16,
}  # fmt: skip
OFTEN = (
    "Conv", "Relu", "Add", "Gemm", "MatMul", "BatchNormalization", "MaxPool", "AveragePool", "Reshape", "Concat",
    "Transpose", "Mul", "Sigmoid", "GlobalAveragePool", "Resize", "Pad", "Slice", "Softmax", "Flatten", "Shape",
    "Gather", "Unsqueeze", "Squeeze", "Split", "ReduceMean", "ConvTranspose", "Clip", "Expand", "LSTM", "GRU",
    "RNN", "If", "Loop", "Scan", "QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger",
    "MatMulInteger", "DynamicQuantizeLinear", "LayerNormalization", "Cast", "Where", "Einsum",
)  # fmt: skip
INTS = (1, 2, 0, 3, -1, 4, -2, 5, 7, 100, 2**31 - 1, -(2**31), 2**62)
FLOATS = (1.0, 0.5, 0.0, -1.0, 1e-5, 2.0, 1e30, float("inf"), float("nan"))
TEXTS = {
    "auto_pad": ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", ""),
    "mode": ("linear", "nearest", "cubic", "constant", "reflect", "edge", "wrap", "DCR", "CRD", "avg", "max"),
    "direction": ("bidirectional", "reverse", "forward", "RIGHT", "LEFT"),
    "coordinate_transformation_mode": (
        "align_corners", "asymmetric", "half_pixel", "pytorch_half_pixel", "tf_crop_and_resize",
        "half_pixel_symmetric", "tf_half_pixel_for_nn",
    ),
    "nearest_mode": ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil"),
    "keep_aspect_ratio_policy": ("stretch", "not_larger", "not_smaller"),
    "equation": ("bi,ij->bj", "...ij,...jk->...ik", "i,i->", "ii->i", "bchw,cd->bdhw", "ij", "a b,b->a", "ij,->"),
    "approximate": ("tanh", "none"), "padding_mode": ("zeros", "border", "reflection"),
    "reduction": ("none", "add", "mul", "max", "mean", "sum"), "": ("none", "", "x" * 300, "\x1b[31m"),
}  # fmt: skip
ACTIVATIONS = ("Tanh", "Sigmoid", "Relu", "HardSigmoid", "Affine", "LeakyRelu", "none")


class Choices:
    """Bytes as choices: where they end, the first alternative is taken."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    @property
    def left(self) -> bool:
        return self._at < len(self._data)

    def below(self, count: int) -> int:
        if not self.left:
            return 0
        self._at += 1
        return self._data[self._at - 1] % count

    def of(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]

    def one_in(self, count: int) -> bool:
        return self.below(count) == count - 1


def onnx_model(data: bytes) -> bytes:
    """Make a serialised model of a few nodes."""
    return _Maker(Choices(data)).model().SerializeToString()


def onnx_network(data: bytes) -> bytes:
    """Make a serialised model of a few nodes behind a layer whose channels can be cut, where the nodes take floats.

    Outputs are summed over axis 1, so that these channels needn't stay because of them.
    """
    model = _Maker(Choices(data)).model()
    graph, opset = model.graph, model.opset_import[0].version
    first, kind = graph.input[0], graph.input[0].type.tensor_type
    sizes = kind.shape.dim
    if kind.elem_type != TensorProto.FLOAT or len(sizes) < 2 or not sizes[1].dim_value > 1:
        return model.SerializeToString()
    draw = np.random.default_rng(len(data))
    shape = (sizes[1].dim_value, 2, *[1] * (len(sizes) - 2))
    norms = np.exp(0.7 * draw.standard_normal((shape[0], *[1] * (len(shape) - 1))))
    weight = (draw.standard_normal(shape) * norms).astype(np.float32)
    layer = ["Conv", weight] if len(shape) > 2 else ["MatMul", weight.T]
    graph.initializer.append(numpy_helper.from_array(layer[1], "weight"))
    nodes = [helper.make_node(layer[0], ["source", "weight"], [first.name]), *graph.node]
    for value in graph.output:
        output = value.type.tensor_type
        if output.elem_type == TensorProto.FLOAT and len(output.shape.dim) > 1:
            axes = {} if opset >= 13 else {"axes": [1]}
            inputs = [value.name, "axes"] if opset >= 13 else [value.name]
            nodes.append(helper.make_node("ReduceSum", inputs, [f"{value.name} sum"], **axes))
            value.name = f"{value.name} sum"
            output.shape.dim[1].Clear()
            output.shape.dim[1].dim_value = 1
    graph.initializer.append(numpy_helper.from_array(np.array([1]), "axes"))
    first.name = "source"
    sizes[1].dim_value = 2
    del graph.node[:]
    graph.node.extend(nodes)
    return model.SerializeToString()


class _Maker:
    """A graph in the making.

    Attributes:
        types: the types of all values so far, by name, the newest last.
        stored: arrays by name.
    """

    def __init__(self, choose: Choices) -> None:
        self.choose = choose
        self.opset = choose.of(OPSETS)
        self.nodes: list[onnx.NodeProto] = []
        self.types: dict[str, onnx.TypeProto] = {}
        self.stored: dict[str, NDArray[Any]] = {}
        self.made: list[str] = []

    def model(self) -> onnx.ModelProto:
        inputs = [self._input("x")]
        if self.choose.one_in(4):
            inputs.append(self._input("x:0/2"))
        for _ in range(12):
            if self.choose.left:
                self._add()
        graph = helper.make_graph(
            self.nodes or [helper.make_node("Identity", ["x"], ["y"])],
            "fuzzed",
            inputs,
            self._outputs(),
            [numpy_helper.from_array(v, k) for k, v in self.stored.items()],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def _input(self, name: str) -> onnx.ValueInfoProto:
        sizes: list[Any] = list(
            self.choose.of((
                (2, 4, 6, 6),
                (1, 3, 5, 4),
                (2, 6),
                (3, 2, 8),
                (1,),
                (2, 4, 3, 2, 2),
                (),
                (0, 3),
            ))
        )
        if self.choose.one_in(4) and sizes:
            sizes[self.choose.below(len(sizes)) if self.choose.one_in(3) else 0] = self.choose.of((
                "N",
                "",
                "-1",
            ))
        kind = self.choose.of(tuple(KINDS.values())) if self.choose.one_in(6) else TensorProto.FLOAT
        value = helper.make_tensor_value_info(name, kind, [n if n != "" else None for n in sizes])
        self.types[name] = value.type
        return value

    def _outputs(self) -> list[onnx.ValueInfoProto]:
        names = self.made[-1:] or ["y"]
        if len(self.made) > 1 and self.choose.one_in(4):
            names = [self.choose.of(self.made[:-1]), *names]
        return [
            onnx.ValueInfoProto(name=n, type=self.types.get(n, self.types["x"]))
            for n in dict.fromkeys(names)
        ]

    def _add(self) -> None:
        """Add a node, unless it isn't valid."""
        schema = self.choose.of(_schemas(self.opset, often=not self.choose.one_in(3)))
        taken = set(self.stored)
        main = self._value(_kinds(schema, 0))
        sizes = _sizes(self.types[main]) if main else ()
        attributes = self._attributes(schema, sizes, main)
        if attributes is None:
            return
        inputs = self._operands(schema, main, sizes, attributes)
        least, most = schema.min_output, min(schema.max_output, 3)
        count = least + self.choose.below(most - least + 1) if most > least else least
        outputs = [f"{schema.name}{len(self.nodes)}_{i}" for i in range(max(count, 1))]
        node = helper.make_node(schema.name, inputs, outputs)
        for name, value in attributes.items():
            kind = onnx.AttributeProto.AttributeType.Value(schema.attributes[name].type.name)
            node.attribute.append(helper.make_attribute(name, value, attr_type=kind))
        # These end the process in onnx's inference.
        too_few = schema.name == "Split" and attributes.get("num_outputs", count) != count
        try:
            found = {} if too_few else self._inferred(schema, node)
        except (shape_inference.InferenceError, checker.ValidationError, RuntimeError, ValueError):
            found = dict.fromkeys(outputs, self.types["x"])
            if not self.choose.one_in(40):
                for name in set(self.stored) - taken:
                    del self.stored[name]
                return
        for size in (d for t in found.values() for d in t.tensor_type.shape.dim if d.dim_value < 0):
            size.ClearField("dim_value")
        self.nodes.append(node)
        self.types |= found
        # An output needs a rank, so it isn't one of the values without.
        self.made += [n for n in outputs if n in found and found[n].tensor_type.HasField("shape")]

    def _inferred(self, schema: Any, node: onnx.NodeProto) -> dict[str, onnx.TypeProto]:
        """Infer the types of what a node makes. Errors: those of onnx."""
        names = [name for name in node.input if name]
        return shape_inference.infer_node_outputs(
            schema,
            node,
            {n: self._type(n) for n in names},
            {n: numpy_helper.from_array(self.stored[n], n) for n in names if n in self.stored},
            opset_imports=[helper.make_opsetid("", self.opset)],
        )

    def _type(self, name: str) -> onnx.TypeProto:
        if name in self.types:
            return self.types[name]
        array = self.stored[name]
        return helper.make_tensor_type_proto(
            helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )

    def _value(self, kinds: Sequence[int]) -> str:
        """Choose a value of one of these types, or none; the newest is the likeliest."""
        fitting = [n for n, t in self.types.items() if t.tensor_type.elem_type in kinds]
        if not fitting:
            return ""
        return self.choose.of(fitting) if self.choose.one_in(4) else fitting[-1]

    def _operands(
        self, schema: Any, main: str, sizes: tuple[int, ...], attributes: dict[str, Any]
    ) -> list[str]:
        fitted = OPERANDS.get(schema.name)
        found = [main] if main else []
        for i, formal in enumerate(schema.inputs[len(found) :], len(found)):
            optional = formal.option == defs.OpSchema.FormalParameterOption.Optional
            if optional and (i >= schema.min_input) and self.choose.one_in(3):
                found.append("")
                continue
            array = fitted(self.choose, sizes, attributes, i) if fitted else None
            variadic = formal.option == defs.OpSchema.FormalParameterOption.Variadic
            count = 1 + self.choose.below(2) if variadic else 1
            found += [self._operand(_kinds(schema, i), sizes, array, main) for _ in range(count)]
        while found and not found[-1]:
            found.pop()
        return found

    def _operand(self, kinds: Sequence[int], sizes: tuple[int, ...], array: Any, main: str) -> str:
        if array is None and self.choose.one_in(2) and (name := self._value(kinds)):
            return name
        if array is None:
            kept = [min(n, 8) if self.choose.below(3) else 1 for n in sizes[self.choose.below(3) :]]
            kind = self._type(main).tensor_type.elem_type if main else kinds[0] if kinds else 1
            array = _filled(kept, kind if kind in kinds or not kinds else kinds[0])
        name = f"w{len(self.stored)}"
        self.stored[name] = array
        return name

    def _attributes(self, schema: Any, sizes: tuple[int, ...], main: str) -> dict[str, Any] | None:
        found: dict[str, Any] = {}
        for name, attribute in schema.attributes.items():
            if not attribute.required and self.choose.below(3):
                continue
            if (make := _ATTRIBUTES.get(attribute.type.name)) is None:
                return None
            found[name] = (
                make(self, name, sizes)
                if attribute.type.name != "GRAPH"
                else self._body(schema.name, name, main)
            )
        return found

    def _body(self, operator: str, attribute: str, main: str) -> onnx.GraphProto:
        """Make a branch, or the body of a loop."""
        inner = self.choose.of(("Relu", "Neg", "Identity", "Sigmoid", "Shape"))
        prefix = attribute if self.choose.below(3) else "x"  # a name that is used outside too
        result = f"{prefix}_y"
        kind = self.types[main].tensor_type.elem_type if main else TensorProto.FLOAT
        value = helper.make_tensor_value_info
        y = value(result, TensorProto.INT64 if inner == "Shape" else kind, None)
        if operator == "If":
            outer = self.choose.of([*self.types])
            return helper.make_graph([helper.make_node(inner, [outer], [result])], "body", [], [y])
        inputs, outputs = [value(f"{prefix}_v", kind, None)], [y]
        if operator == "Loop":
            inputs = [
                value(f"{prefix}_i", TensorProto.INT64, []),
                value(f"{prefix}_c", TensorProto.BOOL, []),
                *inputs,
            ]
            outputs = [inputs[1], *outputs]
        nodes = [helper.make_node(inner, [f"{prefix}_v"], [result])]
        return helper.make_graph(nodes, "body", inputs, outputs)

    def ints(self, name: str, sizes: tuple[int, ...]) -> list[int]:
        rank = len(sizes)
        if name == "perm" and self.choose.below(8):
            left = list(range(rank))
            return [left.pop(self.choose.below(len(left))) for _ in range(rank)]
        spatial = max(rank - 2, 1)
        count = {"pads": 2 * spatial, "axes": 1 + self.choose.below(2), "split": 2}.get(
            name, spatial
        )
        count = self.choose.of((count, count, count, count, count, 0, 1, 3))
        return [self.choose.of(INTS[: 4 if self.choose.below(8) else None]) for _ in range(count)]

    def int_(self, name: str, sizes: tuple[int, ...]) -> int:
        if name in {"to", "dtype"}:
            return self.choose.of(tuple(KINDS.values()))
        if name == "batch_dims":  # a negative one ends the process in onnx's shape inference
            return self.choose.below(4)
        return self.choose.of(INTS[: 4 if self.choose.below(6) else None])


_ATTRIBUTES: dict[str, Callable[[_Maker, str, tuple[int, ...]], Any]] = {
    "INT": _Maker.int_,
    "INTS": _Maker.ints,
    "FLOAT": lambda m, name, s: m.choose.of(FLOATS),
    "FLOATS": lambda m, name, s: [m.choose.of(FLOATS) for _ in range(m.choose.below(4))],
    "STRING": lambda m, name, s: m.choose.of(TEXTS.get(name, TEXTS[""])),
    "STRINGS": lambda m, name, s: [m.choose.of(ACTIVATIONS) for _ in range(1 + m.choose.below(4))],
    "TENSOR": lambda m, name, s: numpy_helper.from_array(_filled([1], m.choose.of(tuple(KINDS.values())))),
    "GRAPH": lambda m, name, s: None,
}  # fmt: skip


@cache
def _schemas(opset: int, *, often: bool) -> tuple[Any, ...]:
    """List the operators of an opset, or those that are in most files."""
    names = sorted(s.name for s in defs.get_all_schemas() if not s.domain and s.name != "Constant")
    known = [
        defs.get_schema(n, opset, "") for n in (OFTEN if often else names) if defs.has(n, opset, "")
    ]
    return tuple(schema for schema in known if not schema.deprecated)


@cache
def _kinds_of(name: str, version: int, position: int) -> tuple[int, ...]:
    schema = defs.get_schema(name, version, "")
    if position >= len(schema.inputs):
        return ()
    formal = schema.inputs[min(position, len(schema.inputs) - 1)]
    allowed = {c.type_param_str: c.allowed_type_strs for c in schema.type_constraints}
    names = allowed.get(formal.type_str, [formal.type_str])
    return tuple(kind for text, kind in KINDS.items() if text in names)


def _kinds(schema: Any, position: int) -> tuple[int, ...]:
    return _kinds_of(schema.name, schema.since_version, position)


def _sizes(kind: onnx.TypeProto) -> tuple[int, ...]:
    return tuple(min(max(d.dim_value, 1), 64) for d in kind.tensor_type.shape.dim)


def _filled(sizes: Sequence[int], kind: int) -> NDArray[Any]:
    """Fill an array with numbers that are neither all alike nor large."""
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    count = int(np.prod(sizes, dtype=np.int64))
    numbers = (np.arange(count) * 7 % 11 - 5) / (4.0 if dtype.kind == "f" else 2.0)
    return numbers.clip(0 if dtype.kind in "ub" else -5).astype(dtype).reshape(list(sizes))
