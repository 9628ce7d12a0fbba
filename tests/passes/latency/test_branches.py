"""Models with a branch for each width: well formed, and of the shapes that were asked for."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from graphprune.export.ort_session import Runtime, session
from graphprune.passes.latency.branches import branched, weight_bytes
from graphprune.plan.kernel_times import Kernel

CONV = (
    ("dilation", (1, 1)),
    ("groups", (1,)),
    ("kernel", (3, 3)),
    ("padding", (1, 1, 1, 1)),
    ("stride", (2, 2)),
)
DEPTHWISE = (*(a for a in CONV if a[0] != "groups"), ("per_group", (1,)))
GROUPED = (*(a for a in CONV if a[0] != "groups"), ("groups", (4,)))
WIDENED = (*(a for a in CONV if a[0] != "groups"), ("per_group", (1, 2)))
POOL = (
    ("axis", (1,)), ("ceil_mode", (0,)), ("kernel", (2, 2)), ("padding", (0, 0, 0, 0)), ("stride", (2, 2)),
)  # fmt: skip
ALONE = (("axis", (1,)),)

KERNELS = {
    "conv": (Kernel("conv", (1, 0, 9, 9), (8, 16), CONV), (1, 5, 5, 5)),
    "conv add": (Kernel("conv", (1, 0, 9, 9), (8, 16), CONV, (("Add",), ("Relu",))), (1, 5, 5, 5)),
    "depthwise": (
        Kernel("conv", (1, 0, 9, 9), (8,), DEPTHWISE, (("Clip", 0.0, 6.0),)),
        (1, 3, 5, 5),
    ),
    "grouped": (Kernel("conv", (1, 0, 9, 9), (2, 3), GROUPED, (("Add",),)), (1, 20, 5, 5)),
    "twice as many": (Kernel("conv", (1, 0, 9, 9), (8,), WIDENED), (1, 6, 5, 5)),
    "norm of tokens": (
        Kernel("BatchNormalization", (1, 7, 0), (8,), (("axis", (2,)),)),
        (1, 7, 3),
    ),
    "linear": (Kernel("linear", (1, 0), (8, 16)), (1, 5)),
    "linear of tokens": (Kernel("linear", (1, 4, 0), (8, 16), (), (("Gelu",),)), (1, 4, 5)),
    "pool": (Kernel("MaxPool", (1, 0, 8, 8), (8,), POOL), (1, 3, 4, 4)),
    "mean": (Kernel("mean", (1, 0, 8, 8), (8,), ALONE), (1, 3, 1, 1)),
    "norm": (Kernel("BatchNormalization", (1, 0, 8, 8), (8,), ALONE), (1, 3, 8, 8)),
    "swish": (Kernel("Swish", (1, 0, 8, 8), (8,), ALONE), (1, 3, 8, 8)),
    "leaky": (Kernel("LeakyRelu", (1, 0), (8,), (*ALONE, ("values", (0.2,)))), (1, 3)),
    "number": (Kernel("Mul", (1, 0, 8, 8), (8,), ALONE), (1, 3, 8, 8)),
    "stretched": (
        Kernel("Mul", (1, 0, 8, 8), (8,), (*ALONE, ("stretched", (0, 0, 1, 1)))),
        (1, 3, 8, 8),
    ),
}
"""Name -> a kernel, and the shape of its result at the widths 3 and 5 (or 3)."""


@pytest.mark.parametrize("name", KERNELS)
def test_a_branch_for_each_point(name: str) -> None:
    kernel, expected = KERNELS[name]
    points = [(3, 5)[: len(kernel.widths)], kernel.widths]
    model = onnx.load_from_string(branched(kernel, points))
    model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    onnx.checker.check_model(model)
    prefixes = {node.name.partition("_")[0] for node in model.graph.node} - {"before"}
    assert prefixes == {"b0", "b1"}
    first = [size.dim_value for size in model.graph.output[0].type.tensor_type.shape.dim]
    assert tuple(first) == expected


@pytest.mark.onnx
@pytest.mark.parametrize(
    "name",
    [
        "conv add",
        "depthwise",
        "grouped",
        "twice as many",
        "norm of tokens",
        "linear of tokens",
        "stretched",
    ],
)
def test_a_model_of_branches_runs(name: str) -> None:
    kernel, expected = KERNELS[name]
    of = session(branched(kernel, [(3, 5)[: len(kernel.widths)]]), Runtime())
    feed = {i.name: np.ones(i.shape, np.float32) for i in of.get_inputs()}
    (result,) = of.run(None, feed)
    assert result.shape == expected
    assert np.isfinite(result).all()


def test_what_a_branch_holds() -> None:
    kernel, _ = KERNELS["conv"]
    assert weight_bytes(kernel, (3, 5)) == 4 * (3 * 5 * 9 + 8 * 81)
    depthwise, _ = KERNELS["depthwise"]
    assert weight_bytes(depthwise, (3,)) == 4 * (3 * 9 + 6 * 81)
    grouped, _ = KERNELS["grouped"]
    assert weight_bytes(grouped, (2, 3)) == 4 * (4 * 2 * 3 * 9 + (8 + 12) * 81)
