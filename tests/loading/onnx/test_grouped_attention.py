"""Decoders as onnxruntime's tools write them: GroupQueryAttention with a mask, caches and rotary positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.analysis.frozen import frozen
from graphprune.export.ort_session import session
from graphprune.loading import load
from tests.export.edit_onnx.helpers import was_edited
from tests.onnx_masks import with_zeros

pytestmark = pytest.mark.onnx

MS = "com.microsoft"
WORDS, WIDTH, INNER, HEADS, SHARED, DIM = 11, 32, 48, 4, 2, 16
PARTS = {"q": HEADS * DIM, "k": SHARED * DIM, "v": SHARED * DIM}


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    """Weights whose channels differ in size."""
    draw = np.random.default_rng([seed, *shape])
    scales = np.exp(draw.normal(size=shape[-1]))
    return (draw.normal(size=shape) * scales / shape[0] ** 0.5).astype(np.float32)


def decoder(*, packed: bool = False, cached: bool = True, **attributes: Any) -> onnx.ModelProto:
    """One block, from ``ids [batch, tokens]``, a mask and caches to ``y [batch, tokens, 11]`` and caches.

    ``total="input"`` takes the number of tokens as an input, instead of the mask's size.
    """
    total = attributes.pop("total", "mask")
    node = helper.make_node
    angles = np.outer(np.arange(32), 1 / 4 ** np.arange(DIM / 2))
    stored: dict[str, Any] = {
        "table": drawn(WORDS, WIDTH), "g1": drawn(1, WIDTH)[0], "g2": drawn(1, WIDTH)[0], "o": drawn(HEADS * DIM, WIDTH),
        "gate": drawn(WIDTH, INNER), "up": drawn(WIDTH, INNER, seed=1), "down": drawn(INNER, WIDTH),
        "head": drawn(WIDTH, WORDS), "axis": np.array([1]), "place": np.array(1), "one": np.array([1]),
        "cos": np.cos(angles).astype(np.float32), "sin": np.sin(angles).astype(np.float32),
    }  # fmt: skip
    if packed:
        stored["qkv"] = drawn(WIDTH, sum(PARTS.values()))
        made, reads = [node("MatMul", ["n", "qkv"], ["all"])], ["all", "", ""]
    else:
        stored |= {name: drawn(WIDTH, size) for name, size in PARTS.items()}
        made = [node("MatMul", ["n", name], [f"n{name}"]) for name in PARTS]
        reads = [f"n{name}" for name in PARTS]
    sizes = [
        node("ReduceSum", ["mask", "axis"], ["sum"], keepdims=0),
        node("Sub", ["sum", "one"], ["less"]),
        node("Cast", ["less"], ["lengths"], to=TensorProto.INT32),
        node("Shape", ["mask"], ["shape"]),
        node("Gather", ["shape", "place"], ["count"]),
        node("Cast", ["count"], ["total"], to=TensorProto.INT32),
    ]
    caches = ["past_k", "past_v"] if cached else ["", ""]
    results = ["a", "next_k", "next_v"] if cached else ["a"]
    own = {"num_heads": HEADS, "kv_num_heads": SHARED, "do_rotary": 1} | attributes
    reads += [*caches, "lengths", "total", "cos", "sin"]
    skips = "SkipSimplifiedLayerNormalization"
    nodes = [
        *(sizes if total == "mask" else sizes[:3]),
        node("Gather", ["table", "ids"], ["x"]),
        node("SimplifiedLayerNormalization", ["x", "g1"], ["n"]),
        *made,
        node("GroupQueryAttention", reads, results, name="attend", domain=MS, **own),
        node("MatMul", ["a", "o"], ["out"]),
        node(skips, ["x", "out", "g2"], ["m", "", "", "sums"], domain=MS),
        node("MatMul", ["m", "gate"], ["open"]),
        node("MatMul", ["m", "up"], ["wide"]),
        node("Sigmoid", ["open"], ["share"]),
        node("Mul", ["open", "share"], ["gated"]),
        node("Mul", ["gated", "wide"], ["both"]),
        node("MatMul", ["both", "down"], ["narrow"]),
        node("Add", ["sums", "narrow"], ["last"]),
        node("MatMul", ["last", "head"], ["y"]),
    ]
    value, real, whole = helper.make_tensor_value_info, TensorProto.FLOAT, TensorProto.INT64
    ends = [
        [value("ids", whole, ["batch", "tokens"]), value("mask", whole, ["batch", "total"])],
        [value("y", real, ["batch", "tokens", WORDS])],
    ]
    if total == "input":
        ends[0].append(value("total", TensorProto.INT32, []))
    for side, prefix, tokens in zip(ends, ("past", "next"), ("past", "now"), strict=True):
        side += [
            value(f"{prefix}_{n}", real, ["batch", SHARED, tokens, DIM]) for n in "kv" if cached
        ]
    tensors = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    graph = helper.make_graph(nodes, "decoder", *ends, tensors)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(MS, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def feeds(model: onnx.ModelProto, batch: int, tokens: int, past: int, total: int) -> dict[str, Any]:
    """Inputs of some sizes; all tokens count."""
    draw = np.random.default_rng(1)
    names = {"batch": batch, "tokens": tokens, "past": past, "total": total}
    found: dict[str, Any] = {}
    for value in model.graph.input:
        sizes = [d.dim_value or names[d.dim_param] for d in value.type.tensor_type.shape.dim]
        match value.name:
            case "ids":
                found[value.name] = draw.integers(0, WORDS, sizes)
            case "mask":
                found[value.name] = np.ones(sizes, np.int64)
            case "total":
                found[value.name] = np.array(total, np.int32)
            case _:
                found[value.name] = draw.normal(size=sizes).astype(np.float32)
    return found


def read(model: onnx.ModelProto, folder: Path, sizes: tuple[int, ...]) -> Any:
    onnx.save(model, folder / "net.onnx")
    np.savez(folder / "in.npz", **feeds(model, *sizes))
    return load(folder / "net.onnx", inputs=[str(folder / "in.npz")])


STEP, FILLED, PROMPT = (2, 1, 4, 5), (2, 1, 8, 5), (2, 3, 0, 3)
"""Batch, tokens, tokens of the cache, and in all: a token after a cache, in a cache with room, and a prompt."""
FORMS: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {
    "separate": ({}, STEP),
    "packed": ({"packed": True}, STEP),
    "room": ({"rotary_interleaved": 1}, FILLED),
    "window": ({"local_window_size": 3, "scale": 0.5}, STEP),
    "prompt": ({"cached": False}, PROMPT),
    "prompt-packed": ({"cached": False, "packed": True, "do_rotary": 0}, PROMPT),
}


@pytest.mark.parametrize("form", FORMS)
def test_layers_around_grouped_attention_are_cut(form: str, tmp_path: Path) -> None:
    own, sizes = FORMS[form]
    before = decoder(**own)
    found = read(before, tmp_path, sizes)
    assert found.onnx_file
    assert not found.onnx_file.whole
    # A single token has a size of 1, which torch.export fixes.
    assert {each.name for each in found.onnx_file.fixed} <= {"tokens"}
    result = gp.compress(found.dense, flops=0.5, score="random").from_file(found.onnx_file)
    result = result.export_onnx(tmp_path / "small.onnx")
    assert was_edited(result), result.report.notes
    after = onnx.load(tmp_path / "small.onnx")
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    assert [after.graph.input, after.graph.output] == [before.graph.input, before.graph.output]
    assert after.opset_import == before.opset_import
    assert {t.name: t.dims for t in after.graph.initializer}["up"][1] < INNER
    dense = onnx.ModelProto.FromString(found.onnx_file.data)
    pair = [
        session(m.SerializeToString())
        for m in (with_zeros(dense, found.onnx_file, result.cut), after)
    ]
    for tried in (
        (sizes, PROMPT, (1, 2, 3, 5)) if own.get("cached", True) else (sizes, (1, 5, 0, 5))
    ):
        expected, got = (each.run(None, feeds(before, *tried)) for each in pair)
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5 * np.abs(b).max())


def test_widths_of_heads_stay_and_the_reason_names_the_node(tmp_path: Path) -> None:
    found = read(decoder(cached=False), tmp_path, PROMPT)
    listed = frozen(gp.inspect(found.dense))
    reasons = {each.reason for each in listed if "attend" in each.operator}
    assert reasons == {
        "com.microsoft.GroupQueryAttention node 'attend' takes heads of some widths only"
    }


@pytest.mark.parametrize(("cached", "sizes"), [(True, STEP), (False, PROMPT)])
def test_heads_that_share_no_cache_can_go_in_whole_groups(
    cached: bool, sizes: tuple[int, ...], tmp_path: Path
) -> None:
    groups = gp.inspect(read(decoder(cached=cached), tmp_path, sizes).dense).groups
    heads = [group.width for group in groups if group.width == 2]
    # Query heads that share a key go from every group alike; with a cache, the groups stay.
    assert len(heads) == (1 if cached else 2)


@pytest.mark.parametrize(
    ("own", "what"),
    [
        ({"softcap": 5.0}, "softcap"),
        ({"smooth_softmax": 1}, "smooth"),
        ({"total": "input"}, "known"),
    ],
)
def test_other_forms_stay_whole_and_the_layers_beside_them_are_cut(
    own: dict[str, Any], what: str, tmp_path: Path
) -> None:
    found = read(decoder(**own), tmp_path, STEP)
    assert found.onnx_file
    (reason,) = found.onnx_file.whole.values()
    assert what in reason
    assert any(group.id == "down" for group in gp.inspect(found.dense).groups)
