"""Compare an edited ONNX file with the original whose removed rows are zero, both in onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from graphprune.cut.cut import Cut
from graphprune.export.onnx_file import OnnxFile

__all__ = ["masked_difference", "with_zeros"]


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
