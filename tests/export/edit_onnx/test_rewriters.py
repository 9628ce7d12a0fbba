"""Nodes that state sizes, ranges, groups or indices, each between two layers that shrink."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphprune.export.edit_onnx.rewriters import REWRITERS
from tests.onnx_masks import cut_and_edited

from .helpers import compressed, was_edited

pytestmark = pytest.mark.onnx

Node = tuple[str, list[str], list[str], dict[str, Any]]
C = 12
"""Channels of ``a``, which every case takes to ``b``."""


def whole(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def model(
    nodes: Sequence[Node], stored: dict[str, np.ndarray], opset: int, width: int = C
) -> onnx.ModelProto:
    """``x [N, 3, 4, 4] -> a [N, 12, 4, 4]``, the nodes to ``b``, ``-> y [N, 2, ...]``."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.normal(size=(C, 3, 3, 3)).astype(np.float32),
        "w2": rng.normal(size=(2, width, 1, 1)).astype(np.float32),
    }
    made = [
        helper.make_node("Conv", ["x", "w1"], ["a"], pads=[1] * 4),
        *(helper.make_node(kind, ins, outs, **more) for kind, ins, outs, more in nodes),
        helper.make_node("Conv", ["b", "w2"], ["y"]),
    ]
    graph = helper.make_graph(
        made,
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2, None, None])],
        [numpy_helper.from_array(v, k) for k, v in (weights | stored).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def node(kind: str, *inputs: str, outs: Sequence[str] = ("b",), **more: Any) -> Node:
    return kind, list(inputs), list(outs), more


SHUFFLE = [
    node("Reshape", "a", "split", outs=["r"]),
    node("Transpose", "r", outs=["t"], perm=[0, 2, 1, 3, 4]),
    node("Reshape", "t", "join"),
]
HALVES = ["h", "g"]
SLOPES = np.linspace(0.1, 0.6, C, dtype=np.float32)
BATCH = [
    node("Shape", "a", outs=["s"]),
    node("Gather", "s", "one", outs=["n"]),
    node("Concat", "n", "rest", outs=["sizes"], axis=0),
]
"""The batch as it is, and three sizes that are stored."""
CASES: dict[str, tuple[list[Node], dict[str, np.ndarray], int, int]] = {
    "reshape": (SHUFFLE, {"split": whole(-1, 3, 4, 4, 4), "join": whole(-1, C, 4, 4)}, 13, C),
    "reshape-0": (SHUFFLE, {"split": whole(0, 3, 4, 4, 4), "join": whole(0, -1, 4, 4)}, 13, C),
    "split-attribute": (
        [node("Split", "a", outs=HALVES, axis=1, split=[8, 4]), node("Relu", "h")], {}, 11, 8),
    "split-input": (
        [node("Split", "a", "parts", outs=HALVES, axis=1), node("Relu", "h")],
        {"parts": whole(8, 4)}, 13, 8),
    "split-equal": (
        [node("Split", "a", outs=HALVES, axis=1, num_outputs=2), node("Mul", "h", "g")],
        {}, 18, 6),
    "split-unequal": (
        [node("Split", "a", outs=HALVES, axis=1, num_outputs=2), node("Concat", "g", "h", axis=1)],
        {}, 18, C),
    "slice": (
        [node("Slice", "a", "from", "to", "axes")],
        {"from": whole(2), "to": whole(9), "axes": whole(1)}, 13, 7),
    "slice-attributes": ([node("Slice", "a", starts=[0, 2], ends=[4, 2**31], axes=[2, 1])], {}, 9, 10),
    "slice-steps": (
        [node("Slice", "a", "from", "to", "axes", "steps")],
        {"from": whole(0), "to": whole(C), "axes": whole(-3), "steps": whole(2)}, 13, 6),
    "slice-backwards": (
        [node("Slice", "a", "from", "to", "axes", "steps")],
        {"from": whole(-2), "to": whole(-C - 1), "axes": whole(1), "steps": whole(-1)}, 13, C - 1),
    "gather": ([node("Gather", "a", "rows", axis=1)], {"rows": whole(9, 1, 4, 3)}, 13, 4),
    "pad": (
        [node("Pad", "a", "pads")], {"pads": whole(0, 1, 1, 1, 0, 3, 1, 1)}, 13, C + 4),
    "pad-attribute": ([node("Pad", "a", pads=[0, 2, 0, 0, 0, 1, 0, 0])], {}, 9, C + 3),
    "group": (
        [node("Conv", "a", "wg", group=C, pads=[1] * 4)],
        {"wg": np.ones((C, 1, 3, 3), np.float32)}, 13, C),
    "transposed-group": (
        [node("ConvTranspose", "a", "wg", group=C)],
        {"wg": np.ones((C, 1, 2, 2), np.float32)}, 13, C),
    "resize": (
        [*BATCH, node("Resize", "a", "", "", "sizes", mode="nearest", nearest_mode="floor",
                      coordinate_transformation_mode="asymmetric")],
        {"one": whole(0), "rest": whole(C, 8, 8)}, 13, C),
    "expand": (
        [node("ReduceMean", "a", outs=["m"], axes=[2, 3]), node("Expand", "m", "to")],
        {"to": whole(1, C, 4, 4)}, 13, C),
    "tile": (
        [node("Tile", "one", "times", outs=["t"]), node("Mul", "a", "t")],
        {"one": np.ones((1, 1, 1, 1), np.float32), "times": whole(1, C, 1, 1)}, 13, C),
    "constant-of-shape": (
        [*BATCH, node("ConstantOfShape", "sizes", outs=["t"]), node("Add", "a", "t")],
        {"one": whole(0), "rest": whole(C, 4, 4)}, 13, C),
    "pad-reflect": ([node("Pad", "a", pads=[0, 0, 1, 1, 0, 0, 1, 1], mode="reflect")], {}, 9, C),
    "pad-edge": (
        [node("Pad", "a", "pads", mode="edge")], {"pads": whole(0, 0, 2, 0, 0, 0, 0, 1)}, 13, C),
    "pad-wrap": (
        [node("Pad", "a", "pads", "", "axes", mode="wrap")],
        {"pads": whole(1, 2), "axes": whole(-1)}, 19, C),
    "prelu": ([node("PRelu", "a", "slope")], {"slope": SLOPES[:, None, None]}, 9, C),
    "prelu-batch": ([node("PRelu", "a", "slope")], {"slope": SLOPES[None, :, None, None]}, 13, C),
    "prelu-computed": (
        [node("Unsqueeze", "slope", outs=["s"], axes=[1, 2]), node("PRelu", "a", "s")],
        {"slope": SLOPES}, 9, C),
    "space-to-depth": (
        [node("DepthToSpace", "a", outs=["d"], blocksize=2, mode="CRD"),
         node("SpaceToDepth", "d", blocksize=2)], {}, 13, C),
    "deformed": (
        [node("Conv", "a", "wo", outs=["o"], pads=[1] * 4), node("Conv", "a", "wm", outs=["m"], pads=[1] * 4),
         node("DeformConv", "a", "wd", "o", "", "m", kernel_shape=[3, 3], pads=[1] * 4, group=3, offset_group=2)],
        {"wo": np.full((36, C, 3, 3), 0.02, np.float32), "wm": np.full((18, C, 3, 3), 0.02, np.float32),
         "wd": np.ones((9, C // 3, 3, 3), np.float32)}, 19, 9),
    "flatten": (
        [node("Flatten", "a", outs=["f"]), node("Reshape", "f", "to")],
        {"to": whole(-1, C, 4, 4)}, 13, C),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_file_is_edited(case: str, tmp_path: Path) -> None:
    nodes, stored, opset, width = CASES[case]
    before = model(nodes, stored, opset, width)
    onnx.checker.check_model(before, full_check=True)
    onnx.save(before, tmp_path / "model.onnx")
    result, after = compressed(tmp_path / "model.onnx", flops=0.5)
    assert was_edited(result), result.report.notes
    assert result.report.after.macs < result.report.before.macs
    kinds = [[n.op_type for n in m.graph.node] for m in (before, after)]
    regular = [kind for kind in kinds[0] if kind != "Slice"]
    assert [
        kind for kind in kinds[1] if kind not in {"Slice", "Gather"} or "Gather" in kinds[0]
    ] == regular
    assert [n.output for n in after.graph.node] == [n.output for n in before.graph.node]
    assert after.opset_import == before.opset_import


FILLED: dict[str, tuple[list[Node], dict[str, np.ndarray]]] = {
    "stored-sizes": ([node("ConstantOfShape", "to", outs=["t"])], {"to": whole(1, C, 1, 1)}),
    "joined-sizes": (
        [node("Concat", "one", "c", "ones", outs=["to"], axis=0), node("ConstantOfShape", "to", outs=["t"])],
        {"one": whole(1), "c": whole(C), "ones": whole(1, 1)},
    ),
    "sizes-of-the-input": (
        [
            node("Shape", "x", outs=["s"]), node("Gather", "s", "first", outs=["n"]),
            node("Concat", "n", "c", "n", "n", outs=["to"], axis=0), node("ConstantOfShape", "to", outs=["t"]),
        ],
        {"first": whole(0), "c": whole(C)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILLED)
def test_a_value_that_is_filled_shrinks_by_its_sizes(kind: str, tmp_path: Path) -> None:
    made, stored = FILLED[kind]
    nodes = [*made, node("Add", "a", "t")]
    before = model(nodes, stored, 13)
    before.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1  # so that all is known
    onnx.save(before, tmp_path / "model.onnx")
    result, after = compressed(tmp_path / "model.onnx", flops=0.5)
    assert was_edited(result), result.report.notes
    assert [n.output for n in after.graph.node] == [n.output for n in before.graph.node]


@pytest.mark.parametrize("shared", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("by", ["Unsqueeze", "Reshape", "Identity"])
def test_bounds_that_are_handed_on(by: str, shared: bool, tmp_path: Path) -> None:
    single = np.array(2) if by != "Identity" else whole(2)
    other = ["i"] if by == "Unsqueeze" else ["form"] if by == "Reshape" else []
    nodes = [
        node(by, "bound", *other, outs=["from"]),
        node(by, "bound" if shared else "bound2", *other, outs=["from2"]),
        node("Slice", "a", "from", "to", "axes", outs=["h"]),
        node("Slice", "a", "from2", "to", "axes", outs=["g"]),
        node("Concat", "h", "g", axis=1),
    ]
    stored = {"i": whole(0), "form": whole(1), "bound": single, "to": whole(9), "axes": whole(1)}
    stored |= {} if shared else {"bound2": single + 3}
    before = model(nodes, stored, 13, 14 if shared else 11)
    onnx.save(before, tmp_path / "model.onnx")
    result, after = compressed(tmp_path / "model.onnx", flops=0.5)
    assert was_edited(result), result.report.notes
    assert [n.output for n in after.graph.node] == [n.output for n in before.graph.node]


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize("length", [1, 8])
def test_a_squeeze_of_all_axes_spares_the_one_channel_that_is_left(
    length: int, opset: int, tmp_path: Path
) -> None:
    sums = {"axes": [1]} if opset < 13 else {}
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w"], ["a"]),
            helper.make_node("Squeeze", ["a"], ["b"]),
            helper.make_node("Abs", ["b"], ["c"]),
            helper.make_node("ReduceSum", ["c", *["axes"] * (not sums)], ["y"], **sums),
        ],
        "case",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 2, length])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 1, length][: 2 + (length > 1)])],
        [
            numpy_helper.from_array(np.array([[[1], [2]], [[3], [4]]], np.float32), "w"),
            *([] if sums else [numpy_helper.from_array(whole(1), "axes")]),
        ],
    )
    opsets = [helper.make_opsetid("", opset)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), tmp_path / "model.onnx")
    result, after = compressed(tmp_path / "model.onnx", flops=0.5)
    assert was_edited(result), result.report.notes
    assert [len(group.keep) for group in result.plan.groups] == [1]
    assert [n.output for n in after.graph.node] == [n.output for n in graph.node]
    assert after.graph.output == graph.output


def test_positions_of_what_is_not_zero(tmp_path: Path) -> None:
    """Their number depends on values."""
    nodes = [
        node("Relu", "a"),
        node("Greater", "y", "zero", outs=["m"]),
        node("NonZero", "m", outs=["p"]),
    ]
    before = model(nodes, {"zero": np.zeros((), np.float32)}, 13)
    layer = before.graph.node[-1]
    del before.graph.node[-1]
    before.graph.node.insert(2, layer)
    before.graph.output.append(helper.make_tensor_value_info("p", TensorProto.INT64, [4, "K"]))
    onnx.save(before, tmp_path / "model.onnx")
    result, after = compressed(tmp_path / "model.onnx", flops=0.5)
    assert was_edited(result), result.report.notes
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]


def attention(kind: str) -> onnx.ModelProto:
    """``x [N, 5, 8]`` through an attention of four heads of four, and a residual layer."""
    domain = "" if kind.startswith("Attention-23") else "com.microsoft"
    own: dict[str, Any] = {"num_heads": 4} if domain else {"q_num_heads": 4, "kv_num_heads": 4}
    values = 2 if kind.endswith("grouped") else 4
    own |= {"kv_num_heads": values} if values < 4 else {}
    rng = np.random.default_rng(0)
    weights = {
        "q": (8, 16), "k": (8, 4 * values), "v": (8, 4 * values), "o": (16, 8), "qkv": (8, 48), "bias": (48,),
    }  # fmt: skip
    stored = {name: rng.normal(size=size).astype(np.float32) for name, size in weights.items()}
    if kind == "Attention-packed":
        made = [helper.make_node("Attention", ["x", "qkv", "bias"], ["a"], domain=domain, **own)]
    else:
        made = [helper.make_node("MatMul", ["x", n], [f"x{n}"]) for n in "qkv"]
        name = kind.partition("-")[0]
        inputs = ["xq", "xk", "xv", *["bias"] * kind.endswith("bias")]
        made += [helper.make_node(name, inputs, ["a"], domain=domain, **own)]
    made += [
        helper.make_node("MatMul", ["a", "o"], ["h"]),
        helper.make_node("Add", ["h", "x"], ["y"]),
    ]
    read = {name for each in made for name in each.input}
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 5, 8]) for n in "xy")
    kept = [numpy_helper.from_array(v, k) for k, v in stored.items() if k in read]
    graph = helper.make_graph(made, "attention", [x], [y], kept)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize("flops", [0.6, 0.25], ids=["half", "quarter"])
@pytest.mark.parametrize(
    "kind",
    [
        *("Attention-packed", "MultiHeadAttention", "MultiHeadAttention-bias"),
        *("Attention-23", "Attention-23-grouped"),
    ],
)
def test_heads_and_widths_of_an_attention(kind: str, flops: float, tmp_path: Path) -> None:
    before = attention(kind)
    onnx.save(before, tmp_path / "model.onnx")
    result, after = compressed(tmp_path / "model.onnx", flops=flops)
    assert was_edited(result), result.report.notes
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]


@pytest.mark.parametrize("group", [1, 3])
def test_layers_that_onnxruntime_fused(group: int, tmp_path: Path) -> None:
    weights = {"wf": np.random.default_rng(1).normal(size=(C, C // group, 3, 3)).astype(np.float32)}
    fused = node("FusedConv", "a", "wf", group=group, activation="Relu", domain="com.microsoft")
    before = model([fused], weights, 13)
    before.opset_import.add(domain="com.microsoft", version=1)
    onnx.save(before, tmp_path / "model.onnx")
    result, after = compressed(tmp_path / "model.onnx", flops=0.5)
    assert was_edited(result), result.report.notes
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]


@pytest.mark.parametrize("part", [0, 4])
def test_the_heads_that_are_turned_by_their_position(part: int, tmp_path: Path) -> None:
    """All channels of a head are turned, or the first four."""
    rng = np.random.default_rng(0)
    sizes = {"q": (16, 32), "k": (16, 32), "v": (16, 32), "o": (32, 6)}
    sizes |= dict.fromkeys(("cos", "sin"), (1, 5, (part or 8) // 2))
    heads = {"num_heads": 4} | ({"rotary_embedding_dim": part} if part else {})
    names = {"q": ["cos", "sin"], "k": ["cos", "sin"]}
    nodes = [helper.make_node("MatMul", ["x", name], [f"{name}p"]) for name in "qkv"]
    nodes += [
        helper.make_node("RotaryEmbedding", [f"{n}p", *t], [f"{n}r"], **heads)
        for n, t in names.items()
    ]
    nodes += [
        helper.make_node("Attention", ["qr", "kr", "vp"], ["a"], q_num_heads=4, kv_num_heads=4),
        helper.make_node("MatMul", ["a", "o"], ["y"]),
    ]  # fmt: skip
    value = helper.make_tensor_value_info
    x, y = (value(name, TensorProto.FLOAT, [1, 5, n]) for name, n in (("x", 16), ("y", 6)))
    tensors = [
        numpy_helper.from_array(rng.normal(size=s).astype(np.float32), n) for n, s in sizes.items()
    ]
    graph = helper.make_graph(nodes, "turned", [x], [y], tensors)
    opsets = [helper.make_opsetid("", 23)]
    before = helper.make_model(graph, opset_imports=opsets, ir_version=11)
    after = cut_and_edited(before, tmp_path, flops=0.45)
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]


def test_the_cases_are_all_there_are() -> None:
    kinds = {kind for nodes, *_ in CASES.values() for kind, *_ in nodes}
    elsewhere = {
        *("Attention", "GroupNormalization", "LayerNormalization", "Squeeze", "Unsqueeze"),
        *("DequantizeLinear", "GRU", "LSTM", "RNN", "FusedConv", "MultiHeadAttention"),
        *("RotaryEmbedding", "SplitToSequence", "MaxUnpool", "Compress", "DynamicQuantizeLSTM"),
        *("InstanceNormalization", "RMSNormalization", "SimplifiedLayerNormalization"),
        *("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", "GroupQueryAttention"),
        *("MatMulNBits", "GatherBlockQuantized"),
    }
    assert set(REWRITERS) <= kinds | elsewhere
