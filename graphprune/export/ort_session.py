"""Open onnxruntime sessions with given threads and provider, and make inputs to run them on.

``onnxruntime`` is imported in the functions that need it, so that importing graphprune stays quick.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphprune.errors import ExportError, LoadError, OptionError, innermost
from graphprune.ir.ort import runtime_errors

from .exact_products import with_exact_products

if TYPE_CHECKING:
    import onnxruntime

__all__ = [
    "BLOCK",
    "CPU",
    "Runtime",
    "Timed",
    "cannot_run",
    "feed",
    "session",
    "threads_text",
]

CPU = "CPUExecutionProvider"
"""The execution provider that every onnxruntime has."""

BLOCK = 0.03
"""Seconds for which runs of a short network are repeated to time it."""

QUIET = 0.05
"""Seconds to wait before a network is timed. Threads of onnxruntime spin for some 35 ms after a run."""

_SUFFIX = "ExecutionProvider"


@dataclass(frozen=True)
class Runtime:
    """How onnxruntime runs a model.

    Attributes:
        threads: that one operator may use. 0: as many as onnxruntime takes by itself, one for each core.
        provider: name of onnxruntime's execution provider; ``cuda`` means ``CUDAExecutionProvider``.
    """

    threads: int = 0
    provider: str = CPU

    def __post_init__(self) -> None:
        """Complete the provider's name, and check it and the number of threads.

        Raises:
            OptionError: if the installed onnxruntime lacks it, or the number is negative.
        """
        import onnxruntime

        known = onnxruntime.get_available_providers()
        names = {name.removesuffix(_SUFFIX).lower(): name for name in known}
        wanted = self.provider.removesuffix(_SUFFIX).lower()
        if wanted not in names:
            raise OptionError(
                f"this onnxruntime has no execution provider {self.provider!r}",
                hint=f"one of {', '.join(known)}",
                options=("provider",),
            )
        if self.threads < 0:
            raise OptionError("there are no negative numbers of threads", options=("threads",))
        object.__setattr__(self, "provider", names[wanted])


def session(
    model: bytes | str | Path,
    runtime: Runtime | None = None,
    *,
    profile: Path | None = None,
    exact: bool = False,
) -> onnxruntime.InferenceSession:
    """Open a session on a serialised model, or on a file of one.

    Args:
        model: what to run.
        runtime: how; by default on the CPU, with onnxruntime's own number of threads.
        profile: prefix of the file that ``end_profiling`` writes.
        exact: multiply by weights that are stored in blocks of few bits as the model says; by default
            onnxruntime rounds what they are multiplied with to 8 bits.

    Raises:
        ExportError: if onnxruntime refuses the model.
    """
    import onnxruntime

    how = runtime or Runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = how.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    source = model if isinstance(model, bytes) else str(model)
    if exact:
        source = with_exact_products(source)
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    try:
        return onnxruntime.InferenceSession(source, options, [how.provider])
    except runtime_errors() as failure:
        raise cannot_run(failure) from failure


def feed(
    of: onnxruntime.InferenceSession,
    *,
    batch: int = 1,
    dims: Mapping[str, int] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Make inputs of the shapes that a session takes: normal floats, and zeros of other types.

    Args:
        of: the session.
        batch: size of every dynamic leading axis.
        dims: sizes of other dynamic axes, by name.
        seed: of the random numbers.

    Raises:
        LoadError: if the size of a dynamic axis isn't known.
    """
    generator = np.random.default_rng(seed)
    found: dict[str, Any] = {}
    for value in of.get_inputs():
        shape = [
            _length(value.name, axis, size, batch, dims or {})
            for axis, size in enumerate(value.shape)
        ]
        dtype = _dtype(value.type)
        found[value.name] = (
            generator.standard_normal(shape).astype(dtype)
            if dtype.kind == "f"
            else np.zeros(shape, dtype)
        )
    return found


def threads_text(threads: int) -> str:
    """Name a number of threads, for messages.

    >>> threads_text(1), threads_text(4), threads_text(0)
    ('1 thread', '4 threads', 'default threads')
    """
    return f"{threads or 'default'} thread{'s' * (threads != 1)}"


class Timed:
    """A session with inputs that runs when called, and returns the seconds that a run takes.

    Threads of a session spin for a while after its run. If sessions run in turn, they take the processors from the next
    one, which makes its runs half as long again. So a call waits until they are quiet. Then a short run is repeated, as a
    user repeats it, and the median counts.

    Attributes:
        session: what runs.
        inputs: of every run, by name.
        block: seconds for which runs are repeated; 0 for a single run, without waiting.
    """

    def __init__(
        self,
        of: onnxruntime.InferenceSession,
        inputs: Mapping[str, Any],
        *,
        block: float = BLOCK,
    ) -> None:
        self.session, self.inputs, self.block = of, dict(inputs), block

    def __call__(self) -> float:
        """Run the session until the block is over, at least once.

        Returns:
            The seconds of the median run.

        Raises:
            ExportError: if onnxruntime can't.
        """
        if self.block:
            time.sleep(QUIET)
        taken = [self._once()]
        while sum(taken) < self.block:
            taken.append(self._once())
        return statistics.median(taken)

    def _once(self) -> float:
        try:
            start = time.perf_counter()
            self.session.run(None, self.inputs)
            return time.perf_counter() - start
        except runtime_errors() as failure:
            raise cannot_run(failure) from failure


def cannot_run(failure: Exception) -> ExportError:
    """Make the error to raise for one of onnxruntime's."""
    return ExportError(
        f"onnxruntime can't run the ONNX model: {innermost(failure)}",
        hint="try another opset, or leave out the ONNX file",
        options=("opset", "onnx"),
    )


def _length(
    name: str, axis: int, size: int | str | None, batch: int, dims: Mapping[str, int]
) -> int:
    if isinstance(size, int):
        return size
    if size is not None and size in dims:
        return dims[size]
    if axis == 0:
        return batch
    raise LoadError(
        f"axis {axis} of the input {name} is dynamic: {size}",
        hint=f"give it a size: {size}=128",
        options=("dim",),
    )


def _dtype(kind: str) -> np.dtype[Any]:
    """Find the numpy type of ``tensor(float)`` and the like."""
    name = kind.removeprefix("tensor(").removesuffix(")")
    known = {"float": "float32", "double": "float64", "bool": "bool"}
    try:
        return np.dtype(known.get(name, name))
    except TypeError as error:
        raise LoadError(f"inputs of type {kind} can't be made up") from error
