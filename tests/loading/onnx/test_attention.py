"""Decoders with caches: what the caches hold stays, the layers around are cut, and open sizes stay open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import graphprune as gp
from graphprune.analysis.frozen import frozen
from graphprune.loading import load
from tests.export.edit_onnx.helpers import was_edited
from tests.onnx_masks import masked_difference, with_zeros

pytestmark = pytest.mark.onnx

MS = "com.microsoft"
WIDTH, HEADS, WORDS, INNER = 16, 4, 11, 24
NORMS = {"MatMul": "LayerNormalization", "Attention-23": "RMSNormalization"}
KINDS = ("MatMul", "MultiHeadAttention", "Attention", "Attention-23")


def attended(kind: str, stored: dict[str, Any]) -> list[onnx.NodeProto]:
    """From ``n`` to ``a``, both ``[batch, tokens, 16]``, with the caches ``past_k`` and ``past_v``, or ``past`` for both."""
    node = helper.make_node
    if kind == "Attention":
        stored |= {"qkv": (WIDTH, 3 * WIDTH), "qkv_bias": (3 * WIDTH,)}
        reads = ["n", "qkv", "qkv_bias", "", "past"]
        own = {"num_heads": HEADS, "unidirectional": 1}
        return [node(kind, reads, ["a", "next"], domain=MS, **own)]
    groups = HEADS // 2 if kind == "Attention-23" else HEADS
    shared = WIDTH * groups // HEADS
    stored |= {"q": (WIDTH, WIDTH), "k": (WIDTH, shared), "v": (WIDTH, shared)}
    made = [node("MatMul", ["n", name], [f"n{name}"]) for name in "qkv"]
    if kind == "MultiHeadAttention":
        reads = ["nq", "nk", "nv", "", "", "", "past_k", "past_v"]
        return [*made, node(kind, reads, ["a", "next_k", "next_v"], domain=MS, num_heads=HEADS)]
    if kind == "Attention-23":
        own = {"q_num_heads": HEADS, "kv_num_heads": groups, "is_causal": 1}
        reads = ["nq", "nk", "nv", "", "past_k", "past_v"]
        return [*made, node("Attention", reads, ["a", "next_k", "next_v"], **own)]
    stored |= {"heads": np.array([0, 0, HEADS, -1]), "joined": np.array([0, 0, WIDTH])}
    for name in "qkv":
        made += [
            node("Reshape", [f"n{name}", "heads"], [f"h{name}"]),
            node("Transpose", [f"h{name}"], [f"t{name}"], perm=[0, 2, 1, 3]),
        ]
    return [
        *made,
        *(node("Concat", [f"past_{n}", f"t{n}"], [f"next_{n}"], axis=2) for n in "kv"),
        node("Transpose", ["next_k"], ["turned"], perm=[0, 1, 3, 2]),
        node("MatMul", ["tq", "turned"], ["products"]),
        node("Softmax", ["products"], ["shares"], axis=-1),
        node("MatMul", ["shares", "next_v"], ["mixed"]),
        node("Transpose", ["mixed"], ["back"], perm=[0, 2, 1, 3]),
        node("Reshape", ["back", "joined"], ["a"]),
    ]


def decoder(kind: str) -> onnx.ModelProto:
    """One block of a decoder, from ``ids [batch, tokens]`` and caches to ``y [batch, tokens, 11]`` and caches."""
    node, norm = helper.make_node, NORMS.get(kind, "SkipLayerNormalization")
    stored: dict[str, Any] = {
        "table": (WORDS, WIDTH), "o": (WIDTH, WIDTH), "u": (WIDTH, INNER), "u_bias": (INNER,),
        "d": (INNER, WIDTH), "head": (WIDTH, WORDS), "g1": (WIDTH,), "g2": (WIDTH,),
    } | ({} if norm.startswith("RMS") else {"s1": (WIDTH,), "s2": (WIDTH,)})  # fmt: skip
    shifts = [[name] if name in stored else [] for name in ("s1", "s2")]
    first = "LayerNormalization" if norm.startswith("Skip") else norm
    nodes = [
        node("Gather", ["table", "ids"], ["x"]),
        node(first, ["x", "g1", *shifts[0]], ["n"]),
        *attended(kind, stored),
        node("MatMul", ["a", "o"], ["out"]),
    ]
    if norm == first:
        nodes += [node("Add", ["x", "out"], ["sum"]), node(norm, ["sum", "g2", *shifts[1]], ["m"])]
    else:
        nodes.append(node(norm, ["x", "out", "g2", "s2"], ["m", "", "", "sum"], domain=MS))
    wide = node("MatMul", ["m", "u"], ["wide"])
    nodes += (
        [wide, node("BiasGelu", ["wide", "u_bias"], ["act"], domain=MS)]
        if norm != first
        else [wide, node("Add", ["wide", "u_bias"], ["biased"]), node("Relu", ["biased"], ["act"])]
    )
    nodes += [
        node("MatMul", ["act", "d"], ["narrow"]),
        node("Add", ["sum", "narrow"], ["last"]),
        node("MatMul", ["last", "head"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    tensors = [
        numpy_helper.from_array(
            value if isinstance(value, np.ndarray) else rng.normal(size=value).astype(np.float32), name
        )
        for name, value in stored.items()
    ]  # fmt: skip
    value, kind_ = helper.make_tensor_value_info, TensorProto.FLOAT
    groups = HEADS // 2 if kind == "Attention-23" else HEADS

    def caches(prefix: str, tokens: str) -> list[onnx.ValueInfoProto]:
        sizes = ["batch", groups, tokens, WIDTH // HEADS]
        if kind == "Attention":
            return [value(prefix, kind_, [2, *sizes])]
        return [value(f"{prefix}_{name}", kind_, sizes) for name in "kv"]

    ids = value("ids", TensorProto.INT64, ["batch", "tokens"])
    y = value("y", kind_, ["batch", "tokens", WORDS])
    ends = [ids, *caches("past", "past")], [y, *caches("next", "total")]
    graph = helper.make_graph(nodes, "decoder", *ends, tensors)
    opsets = [helper.make_opsetid("", 23 if kind == "Attention-23" else 17)]
    opsets.append(helper.make_opsetid(MS, 1))
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def sizes_given(model: onnx.ModelProto) -> list[str]:
    """Example inputs: two tokens after three of the cache."""
    chosen = {"batch": 2, "tokens": 2, "past": 3}
    return [
        f"{v.name}="
        + "x".join(str(chosen.get(d.dim_param, d.dim_value)) for d in v.type.tensor_type.shape.dim)
        + (":int64" if v.name == "ids" else "")
        for v in model.graph.input
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_heads_stay_and_layers_are_cut(kind: str, tmp_path: Path) -> None:
    before = decoder(kind)
    onnx.save(before, tmp_path / "net.onnx")
    found = load(tmp_path / "net.onnx", inputs=sizes_given(before))
    assert found.onnx_file
    assert not found.onnx_file.whole
    assert not found.onnx_file.fixed
    caches = {each.reason for each in frozen(gp.inspect(found.dense)) if "past" in each.reason}
    assert len(caches) == len(before.graph.input) - 1
    result = gp.compress(found.dense, flops=0.7, score="random").from_file(found.onnx_file)
    result = result.export_onnx(tmp_path / "small.onnx")
    assert was_edited(result), result.report.notes
    after = onnx.load(tmp_path / "small.onnx")
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    assert [after.graph.input, after.graph.output] == [before.graph.input, before.graph.output]
    assert {t.name: t.dims for t in after.graph.initializer}["u"][1] < INNER
    read = onnx.ModelProto.FromString(found.onnx_file.data)
    assert masked_difference(read, after, found.onnx_file, result.cut) < 1e-5
    draw = np.random.default_rng(1)
    for past, tokens in ((0, 4), (5, 1)):
        session = onnxruntime.InferenceSession(after.SerializeToString())
        feeds = {
            v.name: draw.normal(size=[{"batch": 3, "past": past}.get(n, n) for n in v.shape])
            .astype(np.float32)
            for v in session.get_inputs()[1:]
        }  # fmt: skip
        y, *_ = session.run(None, {"ids": draw.integers(0, WORDS, (3, tokens)), **feeds})
        assert y.shape == (3, tokens, WORDS)


def merged() -> onnx.ModelProto:
    """The decoder by MatMul as one of two branches: ``use_cache_branch`` tells whether the cache is read."""
    model = decoder("MatMul")
    outputs = [value.name for value in model.graph.output]
    bodies = {}
    for name, prefix in (("then_branch", "with_"), ("else_branch", "without_")):
        nodes = []
        made = {each for node in model.graph.node for each in node.output}
        for node in model.graph.node:
            copy = onnx.NodeProto.FromString(node.SerializeToString())
            if name == "else_branch" and node.op_type == "Concat":
                copy = helper.make_node("Identity", [node.input[1]], node.output)
            copy.input[:] = [prefix + each if each in made else each for each in copy.input]
            copy.output[:] = [prefix + each for each in copy.output]
            nodes.append(copy)
        ends = [
            helper.make_tensor_value_info(prefix + each, TensorProto.FLOAT, None)
            for each in outputs
        ]
        bodies[name] = helper.make_graph(nodes, prefix, [], ends)
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("If", ["use_cache_branch"], outputs, **bodies))
    flag = helper.make_tensor_value_info("use_cache_branch", TensorProto.BOOL, [1])
    model.graph.input.append(flag)
    return model


def test_a_decoder_with_and_without_its_cache_in_one_file(tmp_path: Path) -> None:
    before = merged()
    onnx.save(before, tmp_path / "net.onnx")
    draw = np.random.default_rng(0)

    def feeds(past: int, tokens: int, *, cached: bool) -> dict[str, Any]:
        sizes = (2, HEADS, past, WIDTH // HEADS)
        caches = {f"past_{n}": draw.normal(size=sizes).astype(np.float32) for n in "kv"}
        ids = draw.integers(0, WORDS, (2, tokens))
        return {"ids": ids, **caches, "use_cache_branch": np.array([cached])}

    np.savez(tmp_path / "in.npz", **feeds(3, 2, cached=True))
    found = load(tmp_path / "net.onnx", inputs=[str(tmp_path / "in.npz")])
    assert found.onnx_file
    assert not found.onnx_file.whole
    assert len(found.onnx_file.choices) == 1
    result = gp.compress(found.dense, flops=0.7, score="random").from_file(found.onnx_file)
    result = result.export_onnx(tmp_path / "small.onnx")
    assert was_edited(result), result.report.notes
    assert any("both branches of nodes that choose" in note for note in result.report.notes)
    after = onnx.load(tmp_path / "small.onnx")
    assert {t.name: t.dims for t in after.graph.initializer}["u"][1] < INNER
    read = onnx.ModelProto.FromString(found.onnx_file.data)
    masked = with_zeros(read, found.onnx_file, result.cut)
    pair = [onnxruntime.InferenceSession(m.SerializeToString()) for m in (masked, after)]
    for past, tokens, cached in ((3, 2, True), (5, 1, True), (1, 4, False)):
        given = feeds(past, tokens, cached=cached)
        expected, got = (session.run(None, given) for session in pair)
        assert got[1].shape[2] == tokens + past * cached
        for a, b in zip(got, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
