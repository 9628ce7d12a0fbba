"""Quantised files of onnxruntime: the integers of channels that stay are those of the file."""

from __future__ import annotations

import logging
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

import graphprune as gp
from graphprune.loading.onnx import import_onnx
from tests.loading.onnx.helpers import chain, saved

pytestmark = pytest.mark.onnx

DEAD = 6
"""Hidden channels that are nearly dead: their weights are a thousandth of the others'."""


def small(kind: str, between: str = "Relu") -> onnx.ModelProto:
    """Two layers with 16 hidden channels, of which the first ``DEAD`` are nearly dead, and a function between."""
    draw = np.random.default_rng(0)
    scale = np.r_[np.full(DEAD, 1e-3), np.ones(16 - DEAD)].astype(np.float32)
    if kind == "conv":
        weights = {
            "w1": draw.normal(size=(16, 3, 3, 3)) * scale[:, None, None, None] / 3,
            "b1": draw.normal(size=16) * scale,
            "w2": draw.normal(size=(5, 16, 3, 3)) / 8,
        }
        nodes = [
            helper.make_node("Conv", ["x", "w1", "b1"], ["a"], pads=[1] * 4),
            helper.make_node(between, ["a"], ["b"]),
            helper.make_node("Conv", ["b", "w2"], ["y"], pads=[1] * 4),
        ]
        shape = ["n", 3, 6, 6]
    else:
        weights = {
            "w1": draw.normal(size=(7, 16)) * scale / 2,
            "w2": draw.normal(size=(16, 5)) / 3,
        }
        nodes = [
            helper.make_node("MatMul", ["x", "w1"], ["a"]),
            helper.make_node(between, ["a"], ["b"]),
            helper.make_node("MatMul", ["b", "w2"], ["y"]),
        ]
        shape = ["n", 7]
    stored = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in weights.items()]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5, *shape[2:]])],
        stored,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


class Batches(CalibrationDataReader):
    def __init__(self, shape: list[Any]) -> None:
        draw = np.random.default_rng(1)
        size = [8, *shape[1:]]
        self._left = [{"x": draw.normal(size=size).astype(np.float32)} for _ in range(3)]

    def get_next(self) -> Any:
        return self._left.pop() if self._left else None


def quantised(
    kind: str,
    form: str,
    folder: Path,
    *,
    per_channel: bool = True,
    between: str = "Relu",
    weights: QuantType = QuantType.QInt8,
) -> Path:
    model, result = small(kind, between), folder / "quantised.onnx"
    source = saved(model, folder)
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if form == "dynamic":
                quantize_dynamic(source, result, weight_type=weights)
            else:
                shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
                quantize_static(
                    source,
                    result,
                    Batches(shape),
                    quant_format=QuantFormat[form],
                    per_channel=per_channel,
                    weight_type=QuantType.QInt8,
                    activation_type=QuantType.QUInt8,
                )
    finally:
        logging.disable(logging.NOTSET)
    return result


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("kind", ["conv", "matmul"])
def test_integers_are_sliced(kind: str, form: str, per_channel: bool, tmp_path: Path) -> None:
    file = quantised(kind, form, tmp_path, per_channel=per_channel)
    program = import_onnx(file).program
    result = gp.compress(program, flops=0.66)
    (group,) = result.plan.groups
    kept = list(group.keep)
    assert len(kept) == 10
    assert result.report.oracle["max_error"] < 1e-9
    before, after = program.state_dict, result.program.state_dict
    for name, tensor in after.items():
        old = before[name]
        for dim, size in enumerate(old.shape):
            if tensor.shape[dim] != size:
                old = old.index_select(dim, torch.tensor(kept))
        assert torch.equal(old, tensor)
        assert old.dtype == tensor.dtype
    assert {after[f"{w}_quantized"].dtype for w in ("w1", "w2")} == {torch.int8}
    hidden = [name for name in before if name.startswith(("w1", "b1")) and before[name].numel() > 1]
    assert all(after[name].numel() < before[name].numel() for name in hidden)
    if not per_channel:
        assert kept == list(range(DEAD, 16))


def test_scores_look_at_the_values_not_at_the_integers(tmp_path: Path) -> None:
    """With a scale for each channel, the integers of dead channels are as large as others."""
    program = import_onnx(quantised("conv", "QDQ", tmp_path)).program
    integers = program.state_dict["w1_quantized"].abs().float().amax((1, 2, 3))
    assert float(integers[:DEAD].min()) > 100
    result = gp.compress(program, flops=0.66)
    assert not [note for note in result.report.notes if "alike" in note]
    # What reads the channels scores them too, so some dead ones may stay; most go.
    removed = set(range(16)) - set(result.plan.groups[0].keep)
    assert len(removed & set(range(DEAD))) >= DEAD - 1


def without(file: Path, removed: list[int], kind: str) -> onnx.ModelProto:
    """The file with zeros for what the first layer makes in some channels."""
    model = onnx.load(file)
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for tensor in model.graph.initializer:
        array = stored[tensor.name].copy()
        if tensor.name.startswith("w1_quantized"):
            zero = stored["w1_zero_point"].item()
            array[(slice(None), removed) if kind == "matmul" else removed] = zero
        elif tensor.name.startswith("b1"):
            flat = array.reshape(-1)
            flat[removed] = 0
        else:
            continue
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return model


@pytest.mark.parametrize("weights", [QuantType.QInt8, QuantType.QUInt8])
@pytest.mark.parametrize("between", ["Relu", "LeakyRelu", "Tanh", "Elu"])
@pytest.mark.parametrize("kind", ["conv", "matmul"])
def test_channels_go_where_the_range_of_all_is_measured(
    kind: str, between: str, weights: QuantType, tmp_path: Path
) -> None:
    """The range takes in 0, so a channel of zeros changes nothing: onnxruntime's results are the same bits."""
    file = quantised(kind, "dynamic", tmp_path, between=between, weights=weights)
    imported = import_onnx(file)
    result = replace(gp.compress(imported.program, flops=0.66), onnx_file=imported.file)
    assert result.report.after.macs <= 0.66 * result.report.before.macs
    assert result.report.oracle["max_error"] < 1e-9
    result.export_onnx(tmp_path / "cut.onnx")
    before, after = onnx.load(file), onnx.load(tmp_path / "cut.onnx")
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    kept = result.plan.groups[0].keep
    zeroed = without(file, [n for n in range(16) if n not in kept], kind)
    size = (3, 3, 6, 6) if kind == "conv" else (3, 7)
    feed = {"x": np.random.default_rng(4).normal(size=size).astype(np.float32)}
    pair: list[Any] = [
        onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)[0]
        for model in (zeroed, after)
    ]
    assert np.array_equal(*pair)


@pytest.mark.parametrize("kind", ["conv", "matmul"])
def test_channels_that_carry_a_constant_count_in_the_range(kind: str, tmp_path: Path) -> None:
    program = import_onnx(quantised(kind, "dynamic", tmp_path, between="Sigmoid")).program
    with pytest.raises(gp.GraphpruneError, match="can't be reached") as caught:
        gp.compress(program, flops=0.6)
    assert "linalg_vector_norm" in caught.value.hint


def test_the_program_computes_what_the_file_does(tmp_path: Path) -> None:
    file = quantised("conv", "QOperator", tmp_path)
    x = torch.randn(3, 3, 6, 6, generator=torch.Generator().manual_seed(3))
    (expected,) = onnxruntime.InferenceSession(file).run(None, {"x": x.numpy()})
    got = import_onnx(file).program.module()(x).detach()
    step = float(torch.from_numpy(np.unique(expected)).diff().min())
    far = (got - torch.from_numpy(expected)).abs() > step / 2
    assert float(far.float().mean()) < 0.01  # a value between two steps may fall to either side


def test_a_block_that_is_not_whole_stays(tmp_path: Path) -> None:
    model = chain(
        helper.make_node(
            "DequantizeLinear", ["q", "s"], ["w"], name="blocked", axis=0, block_size=3
        ),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        weights={"q": np.ones((4, 3), np.int8), "s": np.ones((2, 3), np.float32)},
        dims=(2, 4),
    )
    model.opset_import[0].version = 21
    reasons = import_onnx(saved(model, tmp_path)).file.whole
    assert "a block that isn't whole" in reasons["DequantizeLinear node 'blocked'"]


def few_bits(kind: str, block: int) -> onnx.ModelProto:
    """``x [N, 8]`` through 16 hidden channels to 4, weights of integers with a scale for each column or block."""
    rng = np.random.default_rng(0)
    signed = not kind.startswith("U")
    low, high = (-8, 8) if signed else (0, 16)
    made, stored = list[onnx.NodeProto](), list[onnx.TensorProto]()
    for name, size in {"w1": (8, 16), "w2": (16, 4)}.items():
        numbers = rng.integers(low, high, size)
        stored.append(
            helper.make_tensor(name, getattr(TensorProto, kind), size, numbers.reshape(-1))
        )
        scales = rng.uniform(0.05, 0.2, (size[0] // block, size[1]) if block else size[1:])
        stored.append(numpy_helper.from_array(scales.astype(np.float32), f"{name}_scale"))
        how = {"axis": 0, "block_size": block} if block else {"axis": 1}
        made.append(
            helper.make_node("DequantizeLinear", [name, f"{name}_scale"], [f"{name}_real"], **how)
        )
    made += [
        helper.make_node("MatMul", ["x", "w1_real"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w2_real"], ["y"]),
    ]
    x, y = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", k])
        for n, k in (("x", 8), ("y", 4))
    )
    graph = helper.make_graph(made, "few", [x], [y], stored)
    opsets = [helper.make_opsetid("", 21)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)  # fmt: skip


def reals(model: onnx.ModelProto, name: str) -> Any:
    """Compute a weight from its integers and scales, in numpy."""
    stored = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    numbers, scales = stored[name].astype(np.float64), stored[f"{name}_scale"].astype(np.float64)
    return numbers * (scales.repeat(len(numbers) // len(scales), 0) if scales.ndim == 2 else scales)


@pytest.mark.parametrize("block", [0, 4, 8])
@pytest.mark.parametrize("kind", ["INT8", "INT4", "UINT4"])
def test_weights_of_few_bits_are_cut_with_their_scales(
    kind: str, block: int, tmp_path: Path
) -> None:
    before = few_bits(kind, block)
    onnx.save(before, tmp_path / "model.onnx")
    imported = import_onnx(tmp_path / "model.onnx")
    result = replace(gp.compress(imported.program, flops=0.5), onnx_file=imported.file)
    done = result.export_onnx(tmp_path / "cut.onnx")
    assert not any("exported anew" in note for note in done.report.notes)
    after = onnx.load(tmp_path / "cut.onnx")
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    kinds = [[t.data_type for t in m.graph.initializer] for m in (before, after)]
    assert kinds[0] == kinds[1]
    first, small = reals(before, "w1"), reals(after, "w1")
    kept = [int(np.flatnonzero((first == column[:, None]).all(0))[0]) for column in small.T]
    assert len(kept) == 8
    assert np.array_equal(reals(before, "w2")[kept], reals(after, "w2"))


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
def test_the_cut_file_is_quantised_as_before(form: str, tmp_path: Path) -> None:
    file = quantised("conv", form, tmp_path)
    imported = import_onnx(file)
    result = replace(gp.compress(imported.program, flops=0.66), onnx_file=imported.file)
    result.export_onnx(tmp_path / "cut.onnx")
    before, after = onnx.load(file), onnx.load(tmp_path / "cut.onnx")
    assert [n.op_type for n in after.graph.node] == [n.op_type for n in before.graph.node]
    stored = {t.name: numpy_helper.to_array(t) for t in after.graph.initializer}
    assert (stored["w1_quantized"].dtype, len(stored["w1_quantized"])) == (np.int8, 10)
    assert len(stored["w1_scale"]) == len(stored["w1_zero_point"]) == 10
