"""Open onnxruntime's sessions, and know its errors.

``onnxruntime`` is imported in the functions that need it, so that importing graphprune stays quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["plain_session", "runtime_errors"]


def plain_session(model: bytes) -> onnxruntime.InferenceSession:
    """Open a session on the CPU, with one thread and without messages.

    Args:
        model: serialised.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])


def runtime_errors() -> tuple[type[Exception], ...]:
    """List the classes of onnxruntime's errors, which share no base class."""
    states = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    found = (value for value in vars(states).values() if isinstance(value, type))
    return tuple(value for value in found if issubclass(value, Exception))
