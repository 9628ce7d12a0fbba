"""Run ONNX models in onnxruntime on PyTorch's tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from graphprune.errors import ExportError, first_line
from graphprune.ir.ort import runtime_errors

from .ort_session import cannot_run, session

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["run_onnx", "run_session"]


def run_onnx(model: bytes | str | Path, inputs: Sequence[Any]) -> list[torch.Tensor]:
    """Run an ONNX model in onnxruntime on the CPU.

    Args:
        model: a serialised model, or the path of one.
        inputs: in the model's order; what is not a tensor is left out.

    Raises:
        ExportError: if onnxruntime can't run the model on them.
    """
    return run_session(session(model, exact=True), inputs)


def run_session(runner: onnxruntime.InferenceSession, inputs: Sequence[Any]) -> list[torch.Tensor]:
    """Run an open session on tensors.

    Args:
        runner: the session.
        inputs: in the model's order; what is not a tensor is left out.

    Raises:
        ExportError: if they are more or fewer than the model's, of a type that onnxruntime or PyTorch can't be handed
            over, or onnxruntime can't run it on them.
    """
    tensors = [x for x in inputs if isinstance(x, torch.Tensor)]
    names = [value.name for value in runner.get_inputs()]
    if len(names) != len(tensors):
        raise ExportError(f"the ONNX model has {len(names)} inputs, not {len(tensors)}")
    try:
        feed = {name: x.detach().cpu().numpy() for name, x in zip(names, tensors, strict=True)}
        return [torch.from_numpy(y) for y in runner.run(None, feed)]
    except runtime_errors() as failure:
        raise cannot_run(failure) from failure
    except TypeError as failure:  # numpy has no bfloat16, and a sequence is no array
        raise ExportError(
            f"values can't be handed over to onnxruntime and back: {first_line(failure)}",
            hint="leave out the ONNX file, or give the model in float32",
            options=("onnx",),
        ) from failure
