"""Compare an edited ONNX file with the original whose removed rows are zero, both in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

import graphprune as gp
from graphprune.cut.cut import Cut
from graphprune.export.onnx_file import OnnxFile
from graphprune.loading import load
from tests.export.edit_onnx.helpers import was_edited

__all__ = ["cut_and_edited", "masked_difference", "with_zeros"]


def cut_and_edited(
    before: onnx.ModelProto, folder: Path, *, flops: float, inputs: Sequence[str] = ()
) -> onnx.ModelProto:
    """Cut a model that is read whole; the result, which is edited and computes what the masked original does."""
    onnx.save(before, folder / "net.onnx")
    found = load(folder / "net.onnx", inputs=inputs)
    assert found.onnx_file
    assert not found.onnx_file.whole
    result = gp.compress(found.dense, flops=flops, score="random").from_file(found.onnx_file)
    result.export_onnx(folder / "small.onnx")
    assert was_edited(result), result.report.notes
    after = onnx.load(folder / "small.onnx")
    read = onnx.ModelProto.FromString(found.onnx_file.data)
    assert masked_difference(read, after, found.onnx_file, result.cut) < 1e-5
    return after


def with_zeros(model: onnx.ModelProto, file: OnnxFile, cut: Cut) -> onnx.ModelProto:
    """A copy of a model with zeros in all rows of stored tensors that a cut removes."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    stored = {tensor.name: tensor for tensor in copy.graph.initializer}
    for name, path in file.tensors.items():
        array = numpy_helper.to_array(stored[name]).copy()
        for dim, axis in enumerate(cut.analysis.axes[path]):
            if axis.shape[1]:
                array[(slice(None),) * dim + (~cut.kept(axis),)] = 0
        stored[name].CopyFrom(numpy_helper.from_array(array, name))
    return copy


def masked_difference(
    before: onnx.ModelProto, after: onnx.ModelProto, file: OnnxFile, cut: Cut
) -> float:
    """The largest difference of any output, relative to the output's size; open sizes are 2."""
    expected, got = (_outputs(m) for m in (with_zeros(before, file, cut), after))
    assert [y.shape for y in got] == [y.shape for y in expected]
    pairs = zip(got, expected, strict=True)
    return max(float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-9)) for a, b in pairs)


def _outputs(model: onnx.ModelProto) -> list[Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    data = model.SerializeToString()
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    draw = np.random.default_rng(3)
    kinds = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}
    feeds = {
        each.name: np.asarray(
            3 * draw.random([n if isinstance(n, int) else 2 for n in each.shape]) - 1
        ).astype(kinds[each.type])
        for each in session.get_inputs()
    }
    return [np.asarray(y, np.float64) for y in session.run(None, feeds)]
