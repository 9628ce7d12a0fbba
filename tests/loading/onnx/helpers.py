"""Small models by hand, among them those that lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder / "model.onnx"


def chain(
    *nodes: onnx.NodeProto, weights: dict[str, Any] | None = None, dims: tuple[Any, ...] = (2, 3)
) -> onnx.ModelProto:
    """A model from ``x`` to ``y`` by these calls."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * len(dims))
    stored = [numpy_helper.from_array(np.asarray(v), k) for k, v in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "hostile", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def relu() -> onnx.ModelProto:
    return chain(helper.make_node("Relu", ["x"], ["y"]))


def with_tensor(**fields: Any) -> onnx.ModelProto:
    """A model that adds one weight whose fields are set by hand."""
    model = chain(
        helper.make_node("Add", ["x", "w"], ["y"]), weights={"w": np.zeros(3, np.float32)}
    )
    tensor = model.graph.initializer[0]
    for name, value in fields.items():
        if isinstance(value, list):
            del getattr(tensor, name)[:]
            getattr(tensor, name).extend(value)
        else:
            setattr(tensor, name, value)
    return model


def recursive() -> onnx.ModelProto:
    model = chain(helper.make_node("F", ["x"], ["y"], domain="local"))
    body = [helper.make_node("F", ["a"], ["b"], domain="local")]
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    model.functions.append(helper.make_function("local", "F", ["a"], ["b"], body, opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


def doubling(levels: int = 40) -> onnx.ModelProto:
    """Functions that call the next one twice: written out, 2 ** levels calls."""
    model = chain(helper.make_node("F0", ["x"], ["y"], domain="local"))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("local", 1)]
    for level in range(levels):
        domain, name = ("local", f"F{level + 1}") if level + 1 < levels else ("", "Relu")
        body = [
            helper.make_node(name, ["a"], ["t"], domain=domain),
            helper.make_node(name, ["t"], ["b"], domain=domain),
        ]
        function = helper.make_function("local", f"F{level}", ["a"], ["b"], body, opsets)
        model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


def squared(times: int = 40) -> onnx.ModelProto:
    """An integer that doubles its digits with each call."""
    nodes = [helper.make_node("Mul", [f"n{i}", f"n{i}"], [f"n{i + 1}"]) for i in range(times)]
    nodes += [helper.make_node("Reshape", ["x", f"n{times}"], ["y"])]
    return chain(*nodes, weights={"n0": np.array([2**31])})


def expanded() -> onnx.ModelProto:
    return chain(
        helper.make_node("Expand", ["x", "to"], ["e"]),
        helper.make_node("Mul", ["e", "e"], ["y"]),
        weights={"to": np.array([1 << 20, 1 << 20, 2, 3])},
    )


def filled() -> onnx.ModelProto:
    return chain(
        helper.make_node("ConstantOfShape", ["to"], ["c"]),
        helper.make_node("Add", ["x", "c"], ["y"]),
        weights={"to": np.array([1 << 20, 1 << 20, 2, 3])},
    )


def resized(mode: str) -> onnx.ModelProto:
    """An axis of more rows than memory holds, each with places and weights of its own."""
    where = {"mode": mode, "coordinate_transformation_mode": "half_pixel_symmetric"}
    resize = helper.make_node("Resize", ["x", "", "", "to"], ["y"], **where)
    return chain(resize, weights={"to": np.array([2, 1 << 31])})


def paired(operator: str) -> onnx.ModelProto:
    """Known numbers, of which each meets each."""
    row = np.arange(1, 1 + (1 << 16)).reshape(1, -1)
    made = {
        "Gather": helper.make_node("Gather", ["row", "column"], ["n"], axis=0),
        "Where": helper.make_node("Where", ["c", "row", "column"], ["n"]),
        "Mod": helper.make_node("Mod", ["row", "column"], ["n"]),
    }
    return chain(
        made[operator],
        helper.make_node("ReduceMax", ["n"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "f"], ["y"]),
        weights={"row": row, "column": (row * 0).T, "c": np.array(True)}
        | ({"column": row.T} if operator == "Mod" else {}),
    )


def parted() -> onnx.ModelProto:
    return chain(
        helper.make_node("Split", ["x"], ["a", "b"], axis=1, num_outputs=1 << 31),
        helper.make_node("Add", ["a", "b"], ["y"]),
    )


def pooled(operator: str) -> onnx.ModelProto:
    """A window that onnxruntime would go over for years."""
    attributes = {"kernel_shape": [1 << 62], "pads": [1, 0]}
    return chain(helper.make_node(operator, ["x"], ["y"], **attributes), dims=(3, 2, 8))


def wide_input() -> onnx.ModelProto:
    return chain(helper.make_node("Relu", ["x"], ["y"]), dims=(1 << 30, 1 << 30))


def sparse() -> onnx.ModelProto:
    model = relu()
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    places = numpy_helper.from_array(np.zeros(1, np.int64), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [1 << 40]))
    return model


BOMBS = {
    "huge-dims": lambda: with_tensor(dims=[1 << 40]),
    "negative-dims": lambda: with_tensor(dims=[-3]),
    "overflowing-dims": lambda: with_tensor(dims=[1 << 62, 1 << 62, 4]),
    "unknown-type": lambda: with_tensor(data_type=99),
    "strings": lambda: with_tensor(data_type=TensorProto.STRING),
    "too-few-bytes": lambda: with_tensor(raw_data=b"\0"),
    "recursive": recursive,
    "doubling": doubling,
    "squared": squared,
    "expanded": expanded,
    "filled": filled,
    "resized": lambda: resized("nearest"),
    "resized-smoothly": lambda: resized("linear"),
    "paired-by-gather": lambda: paired("Gather"),
    "paired-by-where": lambda: paired("Where"),
    "paired-by-mod": lambda: paired("Mod"),
    "parted": parted,
    "wide-window": lambda: pooled("MaxPool"),
    "wide-average": lambda: pooled("AveragePool"),
    "wide-input": wide_input,
    "sparse": sparse,
}
