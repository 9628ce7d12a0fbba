"""Element types of which one byte holds several: the names and numbers are onnx's own."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from graphprune.export.few_bits import FEW_BITS, PER_BYTE

pytestmark = pytest.mark.onnx


@pytest.mark.parametrize("kind", ["INT4", "UINT4", "INT2", "UINT2", "FLOAT4E2M1"])
def test_a_byte_holds_as_many_as_onnx_puts_into_it(kind: str) -> None:
    if kind not in dict(TensorProto.DataType.items()):
        pytest.skip("this onnx has no such type")
    dtype = helper.tensor_dtype_to_np_dtype(TensorProto.DataType.Value(kind))
    data = numpy_helper.from_array(np.zeros(8, dtype)).raw_data
    assert len(data) * PER_BYTE[dtype.name] == 8
    if "FLOAT" not in kind:
        assert np.iinfo(FEW_BITS[dtype.name]).min == (0 if kind[0] == "U" else -128)
