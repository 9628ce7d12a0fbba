"""Nodes without an entry: they stay in the file, and what they touch stays whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.analysis.frozen import frozen
from graphprune.errors import InfeasibleBudgetError, LoadError
from graphprune.ir.program import dynamic_dims
from graphprune.loading.onnx import import_onnx
from graphprune.loading.onnx.whole_nodes import WholeNodes
from tests.loading.onnx.helpers import saved
from tests.onnx_masks import masked_difference

pytestmark = pytest.mark.onnx

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
node = helper.make_node
CHANNELS = 12


def value(name: str, kind: int = FLOAT, shape: Any = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def around(
    middle: list[onnx.NodeProto],
    *,
    dims: tuple[Any, ...] = ("n", 3, "h", "w"),
    weights: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """Two convolutions to ``c``, some nodes from ``c`` to ``m``, and three convolutions."""
    generator = np.random.default_rng(0)
    sizes = ((CHANNELS, 3), (6, CHANNELS), (CHANNELS, 6), (CHANNELS, CHANNELS), (4, CHANNELS))
    stored: dict[str, Any] = {
        f"w{i}": generator.normal(size=(*size, 3, 3)).astype(np.float32) / 8
        for i, size in enumerate(sizes)
    }

    def conv(number: int, x: str, y: str) -> list[onnx.NodeProto]:
        return [
            node("Conv", [x, f"w{number}"], [f"k{number}"], pads=[1] * 4),
            node("Relu", [f"k{number}"], [y]),
        ]

    nodes = [
        *conv(0, "x", "b"), *conv(1, "b", "c"), *middle, *conv(2, "m", "d"), *conv(3, "d", "e"),
        *conv(4, "e", "y"),
    ]  # fmt: skip
    tensors = [
        numpy_helper.from_array(np.asarray(v), k) for k, v in (stored | (weights or {})).items()
    ]
    graph = helper.make_graph(
        nodes, "around", [value("x", FLOAT, dims)], [value("y", FLOAT, [None] * 4)], tensors
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def branches() -> list[onnx.NodeProto]:
    """A choice by a value, between two convolutions with weights of the graph around."""

    def branch(name: str, weight: str) -> onnx.GraphProto:
        nodes = [node("Conv", ["c", weight], [name], pads=[0] * 4)]
        return helper.make_graph(nodes, name, [], [value(name)])

    return [
        node("ReduceMean", ["c"], ["mean"], keepdims=0),
        node("Greater", ["mean", "limit"], ["more"]),
        node(
            "If", ["more"], ["m"], name="choose",
            then_branch=branch("one", "u0"), else_branch=branch("two", "u1"),
        ),
    ]  # fmt: skip


def repeated() -> list[onnx.NodeProto]:
    """As many halvings as a value says."""
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Mul", ["s", "half"], ["next"])],
        "body",
        [value("i", INT, []), value("go", BOOL, []), value("s")],
        [value("on", BOOL, []), value("next")],
    )
    return [
        node("ReduceMax", ["c"], ["most"], keepdims=0),
        node("Cast", ["most"], ["times"], to=INT),
        node("Loop", ["times", "yes", "c"], ["m"], name="halve", body=body),
    ]


def padded() -> list[onnx.NodeProto]:
    """Rows added and cut off again, as many as a value says."""
    return [
        node("ReduceMean", ["c"], ["mean"], keepdims=0),
        node("Greater", ["mean", "limit"], ["more"]),
        node("Cast", ["more"], ["one"], to=INT),
        node("Mul", ["one", "last"], ["amounts"]),
        node("Pad", ["c", "amounts"], ["p"], name="grow"),
        node("Shape", ["c"], ["sizes"]),
        node("Slice", ["p", "zeros", "sizes"], ["m"], name="shrink"),
    ]


WEIGHTS = {
    "limit": np.float32(0.1),
    "half": np.float32(0.5),
    "yes": np.array(True),
    "last": np.array([0, 0, 0, 0, 0, 0, 1, 0]),
    "zeros": np.array([0, 0, 0, 0]),
    "u0": np.random.default_rng(1).normal(size=(6, 6, 1, 1)).astype(np.float32),
    "u1": np.random.default_rng(2).normal(size=(6, 6, 1, 1)).astype(np.float32),
}

KINDS = {
    "another-domain": ([node("SampleOp", ["c"], ["m"], name="q", domain="com.microsoft")], {"q"}),
    "no-entry": ([node("Trilu", ["c"], ["m"], name="h", domain="com.microsoft")], {"h"}),
    "two-results": ([
        node("MaxPool", ["c"], ["s", "places"], name="p", kernel_shape=[2, 2], strides=[2, 2],
             storage_order=1),
        node("MaxUnpool", ["s", "places"], ["m"], name="u", kernel_shape=[2, 2], strides=[2, 2]),
    ], {"p", "u"}),
    "branches": (branches(), {"choose"}),
    "repeated": (repeated(), {"halve"}),
    "computed-amounts": (padded(), {"grow"}),
}  # fmt: skip


@pytest.fixture
def choices_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """An If whose condition is computed runs whole, as where one of its branches can't run on the examples."""
    monkeypatch.setattr(WholeNodes, "may_follow_both", lambda *_: False)


@pytest.mark.usefixtures("choices_whole")
@pytest.mark.parametrize("kind", KINDS)
def test_the_rest_is_cut_and_the_node_stays(kind: str, tmp_path: Path) -> None:
    middle, names = KINDS[kind]
    model = around(middle, weights=WEIGHTS)
    imported = import_onnx(saved(model, tmp_path), [torch.randn(1, 3, 8, 8)])
    said = "; ".join(imported.file.whole)
    assert all(f"'{name}'" in said for name in names)
    assert {axis for dims in dynamic_dims(imported.program).values() for axis in dims} >= {0}
    result = gp.compress(imported.program, flops=0.2).from_file(imported.file)
    result = result.export_onnx(tmp_path / "cut.onnx")
    after = onnx.load(tmp_path / "cut.onnx")
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in model.graph.node]
    sizes = {t.name: list(t.dims) for t in after.graph.initializer}
    assert sizes["w0"][0] < CHANNELS
    assert sizes["w4"][1] < CHANNELS
    assert sizes["w1"][0] == sizes["w2"][1] == 6
    assert any("of the file's nodes stay" in note for note in result.report.notes)
    reasons = [f"{each['operator']} {each['reason']}" for each in result.report.frozen]
    assert any(f"'{name}'" in reason for name in names for reason in reasons)


REGIONS: dict[str, dict[str, Any]] = {
    f"RoiAlign-{mode}-{samples}": {
        "output_height": 3, "output_width": 3, "spatial_scale": 0.5, "mode": mode, "sampling_ratio": samples,
    }
    for mode in ("avg", "max")
    for samples in (0, 2)
} | {"MaxRoiPool": {"pooled_shape": [3, 3], "spatial_scale": 0.5}}  # fmt: skip


@pytest.mark.parametrize("kind", REGIONS)
def test_channels_that_a_node_takes_one_by_one_are_cut(kind: str, tmp_path: Path) -> None:
    """The node stays as it is, and so do the boxes that it reads."""
    operator = kind.partition("-")[0]
    examples = [torch.randn(1, 3, 8, 8), torch.rand(2, 4) * 8, torch.zeros(2, dtype=torch.int64)]
    inputs = [value("boxes", FLOAT, ["r", 4]), value("owners", INT, ["r"])]
    reads, before = ["c", "boxes", "owners"], []
    if operator == "MaxRoiPool":  # whose boxes begin with the number of their image
        examples, inputs, reads = examples[:2], inputs[:1], ["c", "numbered"]
        before = [node("Pad", ["boxes", "pads"], ["numbered"])]
    regions = node(operator, reads, ["m"], name="regions", **REGIONS[kind])
    model = around([*before, regions], weights={"pads": np.array([0, 1, 0, 0])})
    model.graph.input.extend(inputs)
    imported = import_onnx(saved(model, tmp_path), examples)
    assert set(imported.file.whole) == {f"{operator} node 'regions'"}
    result = gp.compress(imported.program, flops=0.3, score="random").from_file(imported.file)
    assert result.report.oracle["max_error"] < 1e-9
    result.export_onnx(tmp_path / "cut.onnx")
    after = onnx.load(tmp_path / "cut.onnx")
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in model.graph.node]
    sizes = {t.name: list(t.dims) for t in after.graph.initializer}
    assert sizes["w1"][0] == sizes["w2"][1] < 6
    assert masked_difference(model, after, imported.file, result.cut) < 1e-5


@pytest.mark.parametrize("length", [0, 5])
def test_an_attention_with_a_cache_that_may_be_empty_yet(length: int, tmp_path: Path) -> None:
    """The caches are inputs and outputs, so that heads stay; the layers around are cut."""
    draw = np.random.default_rng(0)
    sizes = {
        "q": (16, 64),
        "k": (16, 32),
        "v": (16, 32),
        "o": (64, 24),
        "u": (24, 48),
        "d": (48, 6),
    }
    stored = {k: draw.normal(size=s).astype(np.float32) / 4 for k, s in sizes.items()}
    inputs = ["xq", "xk", "xv", "past_k", "past_v", "last", "total"]
    nodes = [
        *(node("MatMul", ["x", name], [f"x{name}"]) for name in "qkv"),
        node("GroupQueryAttention", inputs, ["a", "next_k", "next_v"], name="attend", num_heads=4,
             kv_num_heads=2, domain="com.microsoft"),
        node("MatMul", ["a", "o"], ["h"]), node("MatMul", ["h", "u"], ["g"]), node("Relu", ["g"], ["r"]),
        node("MatMul", ["r", "d"], ["y"]),
    ]  # fmt: skip
    caches = [value(f"past_{name}", FLOAT, ["n", 2, "p", 16]) for name in "kv"]
    graph = helper.make_graph(
        nodes,
        "decoder",
        [
            value("x", FLOAT, ["n", "s", 16]), *caches, value("last", TensorProto.INT32, ["n"]),
            value("total", TensorProto.INT32, []),
        ],
        [value("y", FLOAT, [None] * 3), *(value(f"next_{n}", FLOAT, [None] * 4) for n in "kv")],
        [numpy_helper.from_array(v, k) for k, v in stored.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    tokens = 1 if length else 3
    examples = [
        torch.randn(1, tokens, 16),
        *(torch.randn(1, 2, length, 16) for _ in caches),
        torch.tensor([length + tokens - 1], dtype=torch.int32),
        torch.tensor(length + tokens, dtype=torch.int32),
    ]
    imported = import_onnx(saved(model, tmp_path), examples)
    result = gp.compress(imported.program, flops=0.7, score="random").from_file(imported.file)
    result = result.export_onnx(tmp_path / "cut.onnx")
    after = onnx.load(tmp_path / "cut.onnx")
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in model.graph.node]
    left = {t.name: list(t.dims) for t in after.graph.initializer}
    assert left["q"] == [16, 64]
    assert left["u"][0] == left["o"][1] < 24
    assert left["u"][1] < 48


def test_a_sequence_that_a_node_without_an_entry_reads_is_refused(tmp_path: Path) -> None:
    model = around([
        node("SplitToSequence", ["c"], ["s"], axis=1), node("Optional", ["s"], ["o"], name="maybe"),
        node("OptionalGetElement", ["o"], ["t"]), node("ConcatFromSequence", ["t"], ["m"], axis=1),
    ])  # fmt: skip
    with pytest.raises(LoadError, match=r"'maybe'.*it reads a sequence"):
        import_onnx(saved(model, tmp_path), [torch.randn(1, 3, 8, 8)])


@pytest.mark.usefixtures("choices_whole")
def test_the_cost_that_stays_is_counted_and_told(tmp_path: Path) -> None:
    model = around(branches(), weights=WEIGHTS)
    program = import_onnx(saved(model, tmp_path), [torch.randn(1, 3, 8, 8)]).program
    analysis = gp.inspect(program)
    own, layers = 64 * 6 * 6, 64 * 9 * (3 * 12 + 12 * 6 + 6 * 12 + 12 * 12 + 12 * 4)
    assert analysis.dense_macs == own + layers
    share = next(each.macs_share for each in frozen(analysis) if "'choose'" in each.operator)
    assert share == pytest.approx((own + 64 * 9 * 2 * 12 * 6) / (own + layers), rel=1e-3)


def test_open_sizes_stay_open_through_such_a_node(tmp_path: Path) -> None:
    model = around(KINDS["another-domain"][0])
    program = import_onnx(saved(model, tmp_path), [torch.randn(1, 3, 8, 8)]).program
    assert program.module()(torch.randn(3, 3, 10, 14)).shape == (3, 4, 10, 14)


def test_random_numbers_are_refused(tmp_path: Path) -> None:
    model = around([node("RandomNormalLike", ["c"], ["r"]), node("Add", ["r", "c"], ["m"])])
    with pytest.raises(LoadError, match="RandomNormalLike"):
        import_onnx(saved(model, tmp_path), [torch.randn(1, 3, 8, 8)])


def test_a_result_that_is_no_tensor_is_refused(tmp_path: Path) -> None:
    model = around([
        node("Optional", ["c"], ["s"], name="maybe"),
        node("OptionalGetElement", ["s"], ["m"]),
    ])  # fmt: skip
    with pytest.raises(LoadError, match=r"'maybe'.*its results are no tensors"):
        import_onnx(saved(model, tmp_path), [torch.randn(1, 3, 8, 8)])


def test_a_huge_result_is_refused_before_it_is_computed(tmp_path: Path) -> None:
    model = around([
        node("ReduceMax", ["c"], ["most"], keepdims=0),
        node("Cast", ["most"], ["one"], to=INT),
        node("Mul", ["one", "none"], ["zero"]),
        node("Add", ["zero", "many"], ["to"]),
        node("Tile", ["c", "to"], ["m"], name="tiles"),
    ], weights={"none": np.array([0] * 4), "many": np.array([1 << 15, 1, 1 << 10, 1 << 10])})  # fmt: skip
    with pytest.raises(LoadError, match=r"'tiles'.* has 1.32e"):
        import_onnx(saved(model, tmp_path), [torch.randn(1, 3, 8, 8)])


@pytest.mark.usefixtures("choices_whole")
def test_what_costs_is_named_where_all_of_it_stays_whole(tmp_path: Path) -> None:
    def branch(name: str, weight: str) -> onnx.GraphProto:
        nodes = [node("MatMul", ["x", weight], [name])]
        return helper.make_graph(nodes, name, [], [value(name)])

    nodes = [
        node("ReduceMean", ["x"], ["mean"], keepdims=0),
        node("Greater", ["mean", "limit"], ["more"]),
        node("If", ["more"], ["y"], name="choose", then_branch=branch("a", "u"),
             else_branch=branch("b", "v")),
    ]  # fmt: skip
    stored = [
        numpy_helper.from_array(np.full((4, 4), number, np.float32), name)
        for name, number in (("u", 1.0), ("v", 2.0))
    ]
    stored.append(numpy_helper.from_array(np.float32(0), "limit"))
    graph = helper.make_graph(
        nodes, "whole", [value("x", FLOAT, [2, 4])], [value("y", FLOAT, [2, 4])], stored
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    program = import_onnx(saved(model, tmp_path)).program
    with pytest.raises(InfeasibleBudgetError) as refused:
        gp.compress(program, flops=0.5)
    assert "If node 'choose' is run whole" in str(refused.value)


@pytest.mark.parametrize("number", [1e30, -1e300, 7e4])
def test_numbers_that_their_type_does_not_hold_are_refused(number: float, tmp_path: Path) -> None:
    # What no entry computes reads a known number that has become too large for float16.
    nodes = [
        node("Cast", ["big"], ["half"], to=TensorProto.FLOAT16),
        node("Cast", ["x"], ["h"], to=TensorProto.FLOAT16),
        node("Celu", ["half"], ["c"]),
        node("Shrink", ["half"], ["s"]),
        node("Add", ["h", "s"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes, "big", [value("x", FLOAT, [2])], [value("y", TensorProto.FLOAT16, [2])],
        [numpy_helper.from_array(np.float64(number), "big")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(LoadError):
        import_onnx(saved(model, tmp_path))


def table_of_positions(side: list[onnx.NodeProto]) -> onnx.ModelProto:
    """Patches with a stored table of positions, resized as a grid whose side is computed from stored numbers."""
    generator = np.random.default_rng(0)
    sizes = {"conv": (16, 3, 4, 4), "table": (1, 9, 16), "fc1": (16, 32), "fc2": (32, 16)}
    stored: dict[str, Any] = {
        k: generator.normal(size=v).astype(np.float32) / 4 for k, v in sizes.items()
    }
    stored |= {"nine": np.float32(9), "half": np.float32(0.5), "log": np.float32(np.log(3))}
    lists = {"one": [1], "axes": [0], "flat": [0, 0, -1], "grid": [1, 16, 4, 4]}
    stored |= {k: np.asarray(v, np.int64) for k, v in (lists | {"two": 2}).items()}  # type: ignore[dict-item]
    nodes = [
        node("Conv", ["x", "conv"], ["c"], strides=[4, 4]),
        node("Reshape", ["c", "flat"], ["f"]),
        node("Transpose", ["f"], ["t"], perm=[0, 2, 1]),
        node("Shape", ["t"], ["s"]),
        node("Gather", ["s", "two"], ["channels"]),
        node("Unsqueeze", ["channels", "axes"], ["last"]),
        *side,
        node("Cast", ["side"], ["whole"], to=INT),
        node("Unsqueeze", ["whole", "axes"], ["n"]),
        node("Concat", ["one", "n", "n", "last"], ["to"], axis=0),
        node("Reshape", ["table", "to"], ["r"], name="square"),
        node("Transpose", ["r"], ["r1"], perm=[0, 3, 1, 2]),
        node("Resize", ["r1", "", "", "grid"], ["r2"], mode="cubic"),
        node("Reshape", ["r2", "flat"], ["r3"]),
        node("Transpose", ["r3"], ["r4"], perm=[0, 2, 1]),
        node("Add", ["t", "r4"], ["e"]),
        node("MatMul", ["e", "fc1"], ["h"]),
        node("Relu", ["h"], ["a"]),
        node("MatMul", ["a", "fc2"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(np.asarray(v), k) for k, v in stored.items()]
    ends = value("x", FLOAT, ("n", 3, 16, 16)), value("y", FLOAT, [None] * 3)
    graph = helper.make_graph(nodes, "positions", [ends[0]], [ends[1]], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_the_side_of_a_table_of_positions_may_be_a_root(tmp_path: Path) -> None:
    model = table_of_positions([node("Pow", ["nine", "half"], ["side"])])
    imported = import_onnx(saved(model, tmp_path))
    result = gp.compress(imported.program, flops=0.5)
    assert len(result.cut.analysis.tensors["table"][0, 0]) == 16
    widths = {path: tensor.shape for path, tensor in result.program.state_dict.items()}
    assert widths["conv"][0] < 16, "nothing runs whole, so the channels of the table can go"


def test_noise_leaves_sizes_as_they_are(tmp_path: Path) -> None:
    side = [node("Exp", ["log"], ["about"]), node("Round", ["about"], ["side"])]
    imported = import_onnx(saved(table_of_positions(side), tmp_path))
    assert any("'square'" in name for name in imported.file.whole)
    result = gp.compress(imported.program, flops=0.5)
    assert result.report.after.macs <= 0.5 * result.report.before.macs
