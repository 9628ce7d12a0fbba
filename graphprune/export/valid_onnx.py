"""Check an ONNX model by onnx's own checker, and let pass what onnxruntime accepts beside it.

Deployed files differ from the letter of the format: outputs that tools added state no type or shape, and an operator
of onnxruntime's own stands in onnx's domain.
"""

from __future__ import annotations

import copy
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from graphprune.errors import ExportError, innermost

if TYPE_CHECKING:
    import onnx

__all__ = ["check_model", "check_valid"]

_ELSEWHERE = "com.microsoft"
_FOREIGN = frozenset({"SimplifiedLayerNormalization"})
"""Operators that onnxruntime defines in the domain of ONNX, which lacks them."""


def check_model(model: onnx.ModelProto, *, shapes: bool = False) -> None:
    """Check an ONNX model that is to be written.

    Args:
        model: what to check.
        shapes: infer all shapes as well, which fails on some models that onnxruntime runs.

    Raises:
        ExportError: if it isn't valid.
    """
    import onnx.checker
    import onnx.shape_inference

    try:
        check_valid(model, shapes=shapes)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as failure:
        raise ExportError(
            f"the ONNX model is not valid: {innermost(failure)}",
            hint="try another opset, or leave out the ONNX file",
            options=("opset", "onnx"),
        ) from failure


def check_valid(model: onnx.ModelProto, *, shapes: bool = False) -> None:
    """Run ``onnx.checker``, which raises errors of its own if the model isn't valid.

    Args:
        model: what to check.
        shapes: infer all shapes as well.
    """
    import onnx.checker

    with _by_the_letter(model):
        onnx.checker.check_model(model, full_check=shapes)


@contextmanager
def _by_the_letter(model: onnx.ModelProto) -> Generator[None]:
    """Give outputs a type and shape, and operators the domain that has them, while the model is checked."""
    graph = model.graph
    bare = [
        (value, copy.deepcopy(value))
        for value in graph.output
        if not value.HasField("type") or _lacks_a_shape(value)
    ]
    foreign = [n for n in graph.node if n.op_type in _FOREIGN and n.domain in {"", "ai.onnx"}]
    domains = [node.domain if node.HasField("domain") else None for node in foreign]
    added = bool(foreign) and all(each.domain != _ELSEWHERE for each in model.opset_import)
    for value, _ in bare:
        kind = value.type.tensor_type
        kind.elem_type = kind.elem_type or 1
        kind.shape.SetInParent()
    for node in foreign:
        node.domain = _ELSEWHERE
    if added:
        model.opset_import.add(domain=_ELSEWHERE, version=1)
    try:
        yield
    finally:
        for value, stated in bare:
            value.CopyFrom(stated)
        for node, domain in zip(foreign, domains, strict=True):
            if domain is None:
                node.ClearField("domain")
            else:
                node.domain = domain
        if added:
            del model.opset_import[-1]


def _lacks_a_shape(value: onnx.ValueInfoProto) -> bool:
    kind = value.type
    return kind.HasField("tensor_type") and not kind.tensor_type.HasField("shape")
