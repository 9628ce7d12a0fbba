"""Costs of nodes that stay whole."""

from __future__ import annotations

from typing import Any

import pytest
from onnx import TensorProto, helper

from graphprune.loading.onnx.node_macs import count_macs

pytestmark = pytest.mark.onnx

FLOAT = TensorProto.FLOAT
node = helper.make_node


def macs(call: Any, sizes: dict[str, tuple[int, ...]], kinds: dict[str, int] | None = None) -> int:
    values = [
        helper.make_tensor_value_info(name, (kinds or {}).get(name, FLOAT), None)
        for name in sizes
        if name not in call.output
    ]
    made = [helper.make_tensor_value_info(name, FLOAT, None) for name in call.output]
    graph = helper.make_graph([call], "g", values, made)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return count_macs(helper.make_model(graph, opset_imports=opsets, ir_version=8), sizes)


@pytest.mark.parametrize(
    ("call", "sizes", "expected"),
    [
        (node("Conv", ["x", "w"], ["y"]), {"x": (2, 3, 8, 8), "w": (4, 3, 3, 3)}, 2 * 4 * 36 * 27),
        (node("ConvTranspose", ["x", "w"], ["y"]), {"x": (1, 3, 4, 4), "w": (3, 5, 2, 2)}, 48 * 20),
        (node("Gemm", ["x", "w"], ["y"], transB=1), {"x": (2, 6), "w": (5, 6)}, 60),
        (node("MatMul", ["x", "w"], ["y"]), {"x": (7, 2, 6), "w": (6, 5)}, 7 * 60),
        (
            node("FusedMatMul", ["x", "w"], ["y"], domain="com.microsoft"),
            {"x": (2, 6), "w": (6, 5), "y": (2, 5)},
            60,
        ),
        (
            node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4),
            {"x": (9, 2, 3), "w": (1, 16, 3), "r": (1, 16, 4)},
            18 * 16 * 7,
        ),
        (node("Hardmax", ["x"], ["y"]), {"x": (2, 6)}, 0),
    ],
)
def test_a_node(call: Any, sizes: dict[str, tuple[int, ...]], expected: int) -> None:
    assert macs(call, sizes) == expected


def test_of_two_branches_the_dearer_counts() -> None:
    def branch(weight: str) -> Any:
        nodes = [node("MatMul", ["x", weight], ["out" + weight])]
        value = helper.make_tensor_value_info("out" + weight, FLOAT, None)
        return helper.make_graph(nodes, "b", [], [value])

    call = node("If", ["c"], ["y"], then_branch=branch("v"), else_branch=branch("w"))
    sizes: dict[str, tuple[int, ...]] = {"c": (), "x": (2, 6), "v": (6, 3), "w": (6, 5)}
    assert macs(call, sizes, {"c": TensorProto.BOOL}) == 60
