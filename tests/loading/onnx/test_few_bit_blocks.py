"""Weights of few bits in blocks: rows go one by one, columns in whole blocks, and the small file computes the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.loading import load
from tests.onnx_masks import cut_and_edited

pytestmark = pytest.mark.onnx

MS = "com.microsoft"
WORDS, WIDTH, BLOCK = 9, 64, 16


def packed(name: str, rows: int, columns: int, bits: int, *, zeros: str, flat: bool) -> Any:
    """A weight ``[rows, columns]`` with rows of unlike norms: its stored tensors, and the attributes of its reader."""
    draw = np.random.default_rng([rows, columns, bits])
    blocks = -(-columns // BLOCK)
    norms = np.exp(draw.normal(size=(rows, 1)))
    scales = (norms * (0.5 + draw.random((rows, blocks))) / (2**bits * 4)).astype(np.float32)
    stored: dict[str, Any] = {
        name: draw.integers(0, 256, (rows, blocks, BLOCK * bits // 8)).astype(np.uint8),
        f"{name}_scales": scales.reshape(-1) if flat else scales,
    }
    if zeros == "bytes":
        bytes_ = -(-blocks * bits // 8)
        stored[f"{name}_zeros"] = draw.integers(0, 256, (rows, bytes_)).astype(np.uint8)
    elif zeros == "floats":
        stored[f"{name}_zeros"] = (2**bits * draw.random((rows, blocks))).astype(np.float32)
    return stored, {"N": rows, "K": columns, "bits": bits, "block_size": BLOCK}


def net(
    inner: int = 96, bits: int = 4, zeros: str = "", *, flat: bool = False, level: int = 0
) -> onnx.ModelProto:
    """``x [N, 3, 64] -> y [N, 3, 9]`` by three products, of which the first two are added to what they read."""
    nodes, stored = [], dict[str, Any]()
    sizes = {"up": (inner, WIDTH), "down": (WIDTH, inner), "head": (WORDS, WIDTH)}
    for name, (rows, columns) in sizes.items():
        own, attributes = packed(name, rows, columns, bits, zeros=zeros, flat=flat)
        stored |= own
        attributes |= {"accuracy_level": level} if level else {}
        source = {"up": "x", "down": "act", "head": "sum"}[name]
        reads = [source, *own]
        if name == "up":
            stored["bias"] = np.linspace(-1, 1, rows).astype(np.float32)
            reads += [""] * (5 - len(reads)) + ["bias"]
        result = {"head": "y"}.get(name, f"{name}_out")
        nodes.append(
            helper.make_node("MatMulNBits", reads, [result], name=name, domain=MS, **attributes)
        )
        if name == "up":
            nodes.append(helper.make_node("Tanh", ["up_out"], ["act"]))
        if name == "down":
            nodes.append(helper.make_node("Add", ["down_out", "x"], ["sum"]))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "few-bits",
        [value("x", TensorProto.FLOAT, ["N", 3, WIDTH])], [value("y", TensorProto.FLOAT, ["N", 3, WORDS])],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def sizes_of(model: onnx.ModelProto, name: str) -> dict[str, int]:
    """Attributes of a node, and the sizes of its stored weight."""
    node = next(node for node in model.graph.node if node.name == name)
    found = {a.name: a.i for a in node.attribute}
    dims = next(t.dims for t in model.graph.initializer if t.name == name)
    return found | {"rows": dims[0], "blocks": dims[1], "bytes": dims[2]}


@pytest.mark.parametrize(
    ("own", "step"),
    [
        ({}, 16),
        ({"flat": True, "bits": 8}, 16),
        ({"zeros": "floats"}, 16),
        ({"zeros": "bytes", "bits": 8}, 16),
        # Zero points of two blocks share a byte.
        ({"zeros": "bytes"}, 32),
        ({"zeros": "bytes", "bits": 2, "inner": 128}, 64),
        # The last block isn't full.
        ({"inner": 90}, 0),
        ({"inner": 90, "zeros": "bytes"}, 0),
        # onnxruntime may round to 8 bits what is multiplied; the proofs have it computed exactly.
        ({"level": 4}, 16),
    ],
)
def test_columns_go_in_whole_blocks(own: dict[str, Any], step: int, tmp_path: Path) -> None:
    before = net(**own)
    after = cut_and_edited(before, tmp_path, flops=0.8)
    small, dense = ({n: sizes_of(m, n) for n in ("up", "down")} for m in (after, before))
    left = small["up"]["N"]
    assert left == small["down"]["K"] == small["up"]["rows"] < dense["up"]["N"]
    assert small["down"]["blocks"] == -(-left // BLOCK)
    assert step == 0 or left % step == 0 or (dense["up"]["N"] - left) % step == 0
    for name in ("up", "down"):
        same = ("block_size", "bits", "bytes")
        assert [small[name][n] for n in same] == [dense[name][n] for n in same]
    if level := own.get("level"):
        assert small["up"]["accuracy_level"] == level
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]


@pytest.mark.parametrize(("rows", "columns"), [(24, WIDTH), (40, 48)])
def test_rows_go_one_by_one_where_no_block_reads_them(
    rows: int, columns: int, tmp_path: Path
) -> None:
    stored, attributes = packed("w", rows, columns, 4, zeros="bytes", flat=False)
    draw = np.random.default_rng(0)
    stored["last"] = draw.normal(size=(rows, 2)).astype(np.float32)
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("MatMulNBits", ["x", "w", "w_scales", "w_zeros"], ["h"], domain=MS, name="w", **attributes),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "last"], ["y"]),
        ],
        "rows",
        [value("x", TensorProto.FLOAT, ["N", columns])], [value("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid(MS, 1)]
    before = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.save(before, tmp_path / "all.onnx")
    groups = gp.inspect(load(tmp_path / "all.onnx").dense).groups
    assert [group.width for group in groups] == [rows]
    after = cut_and_edited(before, tmp_path, flops=0.5)
    assert sizes_of(after, "w")["N"] <= rows // 2
    assert sizes_of(after, "w")["K"] == columns


def lookup(kind: str, zeros: str) -> onnx.ModelProto:
    """``ids [N, 3] -> y [N, 3, 9]``: a table in blocks of 16 columns, and a product."""
    draw = np.random.default_rng(1)
    bits, blocks = {"uint8": 4, "bytes": 8}.get(kind, 4), WIDTH // BLOCK
    table = draw.integers(-8, 8, (WORDS, WIDTH))
    if kind != "int4":
        table = draw.integers(0, 256, (WORDS, WIDTH * bits // 8)).astype(np.uint8)
    norms = np.exp(draw.normal(size=(1, blocks)))
    scales = (norms * draw.random((WORDS, blocks))).astype(np.float32)
    element = TensorProto.INT4 if kind == "int4" else TensorProto.UINT8
    tensors = [
        helper.make_tensor("table", element, table.shape, table.reshape(-1).tolist()),
        numpy_helper.from_array(scales, "scales"),
        numpy_helper.from_array(draw.normal(size=(WIDTH, WORDS)).astype(np.float32), "w"),
    ]
    reads = ["table", "ids", "scales"]
    if zeros:
        points = draw.integers(0, 8, (WORDS, blocks if kind != "uint8" else blocks // 2))
        tensors.append(
            helper.make_tensor("zeros", element, points.shape, points.reshape(-1).tolist())
        )
        reads.append("zeros")
    own = {"block_size": BLOCK, "quantize_axis": 1} | ({} if kind == "int4" else {"bits": bits})
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [
            helper.make_node("GatherBlockQuantized", reads, ["x"], domain=MS, **own),
            helper.make_node("MatMul", ["x", "w"], ["y"]),
        ],
        "lookup",
        [value("ids", TensorProto.INT64, ["N", 3])], [value("y", TensorProto.FLOAT, ["N", 3, WORDS])],
        tensors,
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize("zeros", ["", "zeros"])
@pytest.mark.parametrize("kind", ["uint8", "bytes", "int4"])
def test_tables_in_blocks_lose_whole_blocks(kind: str, zeros: str, tmp_path: Path) -> None:
    before = lookup(kind, zeros)
    onnx.save(before, tmp_path / "net.onnx")
    np.savez(tmp_path / "in.npz", ids=np.array([[0, 4, 8], [1, 2, 3]]))
    found = load(tmp_path / "net.onnx", inputs=[str(tmp_path / "in.npz")])
    assert found.onnx_file
    assert not found.onnx_file.whole
    result = gp.compress(found.dense, flops=0.5, score="random").from_file(found.onnx_file)
    result = result.export_onnx(tmp_path / "small.onnx")
    after = onnx.load(tmp_path / "small.onnx")
    assert [n.op_type for n in after.graph.node] == ["GatherBlockQuantized", "MatMul"]
    left = {t.name: t.dims for t in after.graph.initializer}
    assert left["w"][0] == BLOCK * left["scales"][1] <= WIDTH // 2


def test_a_form_for_another_device_stays_whole(tmp_path: Path) -> None:
    before = net()
    before.graph.node[0].input[4] = "order"
    before.graph.initializer.append(
        numpy_helper.from_array((np.arange(WIDTH) // BLOCK).astype(np.int32), "order")
    )
    onnx.save(before, tmp_path / "net.onnx")
    found = load(tmp_path / "net.onnx")
    assert found.onnx_file
    (reason,) = found.onnx_file.whole.values()
    assert "order of the columns" in reason
