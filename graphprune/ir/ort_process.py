"""Run models in onnxruntime in a process of their own.

Some operators of odd sizes or attributes don't fail in onnxruntime, or in onnx's inference of shapes: they end
the process. So what a file holds runs here first, and what ends this process is an error in ours.
"""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import LoadError, innermost

from .ort import SECONDS, plain_session, run_arrays, runtime_errors

__all__ = ["OrtProcess", "serve"]

_START = "import sys; sys.path[:] = {path!r}; from graphprune.ir.ort_process import serve; serve()"

_LENGTH = 8
"""Bytes that state the length of a message, which is an archive of arrays."""

_FEW = 64
"""Numbers of a list that may be sizes."""


class OrtProcess:
    """A process that runs models. It starts with the first one, and again after one that ended it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(
        self, model: bytes, arrays: Mapping[str, NDArray[Any]], most: int = 1 << 28
    ) -> list[NDArray[Any]]:
        """Run a model once.

        Args:
            model: serialised.
            arrays: inputs by name.
            most: elements of a result, of those whose size follows from the inputs and what the model states.

        Raises:
            LoadError: if onnxruntime can't run it, takes too long, ends the process, or makes no tensors
                of numbers; or if a result would be larger.
        """
        process = self._process or self._started()
        assert process.stdin
        assert process.stdout
        timer = threading.Timer(SECONDS + 10, process.kill)
        timer.daemon = True
        timer.start()
        try:
            names = _bytes("\0".join(arrays).encode())
            _send(process.stdin, [_bytes(model), np.int64(most), names, *arrays.values()])
            failure, *made = _received(process.stdout)
        except (EOFError, BrokenPipeError) as error:
            code = process.wait()
            self.close()
            raise LoadError(
                f"onnxruntime can't run it: it ends the process ({_ending(code)})"
            ) from error
        finally:
            timer.cancel()
        if failure.size:
            raise LoadError(failure.tobytes().decode())
        return made

    def close(self) -> None:
        """End the process, if there is one."""
        if process := self._process:
            self._process = None
            process.kill()
            process.communicate()

    def _started(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-c", _START.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self._process


def serve() -> None:
    """Run the models that come through stdin, until it ends."""
    while True:
        try:
            model, most, names, *values = _received(sys.stdin.buffer)
        except EOFError:
            return
        arrays = dict(zip(names.tobytes().decode().split("\0"), values, strict=bool(values)))
        try:
            _refuse_huge(model.tobytes(), arrays, int(most))
            answer = [_bytes(b""), *_run(model.tobytes(), arrays)]
        except LoadError as error:
            answer = [_bytes(error.message.encode())]
        _send(sys.stdout.buffer, answer)


def _run(model: bytes, arrays: dict[str, NDArray[Any]]) -> list[NDArray[Any]]:
    try:
        session = plain_session(model)
    except runtime_errors() as failure:
        raise LoadError(f"onnxruntime can't run it: {innermost(failure):.200}") from failure
    made = run_arrays(session, arrays)
    tensors = all(value.type.startswith("tensor(") for value in session.get_outputs())
    if not tensors or not all(y.dtype.kind in "biuf" for y in made):
        raise LoadError("its results are no tensors of numbers")
    return made


def _refuse_huge(model: bytes, arrays: Mapping[str, NDArray[Any]], most: int) -> None:
    """Refuse a result whose size follows from numbers that the model states or takes."""
    import onnx
    import onnx.shape_inference
    from onnx import numpy_helper

    tried = onnx.ModelProto.FromString(model)
    for value in tried.graph.input:
        given = arrays[value.name]
        for size in given.shape:
            value.type.tensor_type.shape.dim.add().dim_value = size
        if given.dtype.kind in "iub" and given.ndim < 2 and given.size < _FEW:
            tried.graph.initializer.append(numpy_helper.from_array(given, value.name))
    try:
        inferred = onnx.shape_inference.infer_shapes(tried, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        return
    for value in inferred.graph.output:
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        if sizes and (count := np.prod([float(n) for n in sizes])) > most:
            raise LoadError(f"a result has {count:.3g} elements")


def _send(stream: IO[bytes], arrays: Sequence[Any]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, *arrays)
    stream.write(buffer.tell().to_bytes(_LENGTH, "little"))
    stream.write(buffer.getbuffer())
    stream.flush()


def _received(stream: IO[bytes]) -> list[NDArray[Any]]:
    """Read a message.

    Raises:
        EOFError: if the other side has ended.
    """
    length = int.from_bytes(stream.read(_LENGTH), "little")
    data = stream.read(length)
    if not data or len(data) < length:
        raise EOFError
    with np.load(io.BytesIO(data), allow_pickle=False) as found:
        return [found[f"arr_{i}"] for i in range(len(found.files))]


def _bytes(data: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(data, np.uint8)


def _ending(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
