"""Name the element types of ONNX of which one byte holds several, and what holds them elsewhere."""

from __future__ import annotations

import numpy as np

__all__ = ["FEW_BITS", "PER_BYTE"]

PER_BYTE = {"int2": 4, "uint2": 4, "int4": 2, "uint4": 2, "float4_e2m1fn": 2}
"""Names of their numpy types -> how many elements a byte of a file holds."""

FEW_BITS = {"int2": np.int8, "int4": np.int8, "uint2": np.uint8, "uint4": np.uint8}
"""The integers among them -> what holds them in a network, one in a byte."""
