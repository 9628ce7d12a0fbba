"""Open onnxruntime's sessions, and know its errors.

``onnxruntime`` is imported in the functions that need it, so that importing graphprune stays quick.
"""

from __future__ import annotations

import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

from graphprune.errors import LoadError, innermost

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray

__all__ = ["SECONDS", "plain_session", "run_arrays", "runtime_errors"]

SECONDS = 60
"""Most seconds of one run: a file may hold a loop that never ends."""


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


def run_arrays(session: onnxruntime.InferenceSession, arrays: dict[str, NDArray[Any]]) -> list[Any]:
    """Run a session for a limited time.

    Args:
        session: what to run.
        arrays: inputs by name.

    Raises:
        LoadError: if onnxruntime can't, or it takes too long.
    """
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    timer = threading.Timer(SECONDS, lambda: setattr(options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        return list(session.run(None, arrays, options))
    except runtime_errors() as failure:
        raise LoadError(f"onnxruntime can't run it: {innermost(failure):.200}") from failure
    finally:
        timer.cancel()


def runtime_errors() -> tuple[type[Exception], ...]:
    """List the classes of onnxruntime's errors, which share no base class."""
    states = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    found = (value for value in vars(states).values() if isinstance(value, type))
    return tuple(value for value in found if issubclass(value, Exception))
