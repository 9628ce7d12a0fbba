"""Time ONNX models against each other in onnxruntime, in turn."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from graphprune.errors import ExportError, LoadError, OptionError

from .ort_session import Runtime, Timed, feed, session, threads_text
from .timing import Ratio, Spread, interleaved

__all__ = ["FORMAT", "Benchmark", "Timing", "bench"]

FORMAT = "graphprune.bench/1"


@dataclass(frozen=True)
class Timing:
    """The latency of one model at one batch size and number of threads.

    Attributes:
        file: the model.
        batch: samples per run.
        threads: that one operator may use.
        seconds: of a run.
        ratio: of its latency to that of the first model, round by round.
    """

    file: str
    batch: int
    threads: int
    seconds: Spread
    ratio: Ratio


@dataclass(frozen=True)
class Benchmark:
    """The latencies of several models.

    Attributes:
        provider: onnxruntime's execution provider.
        rounds: how often each model was timed.
        onnxruntime: its version.
        timings: in the order of batch sizes, threads, models.
    """

    provider: str
    rounds: int
    onnxruntime: str
    timings: tuple[Timing, ...]

    def to_json(self) -> str:
        """Write one JSON document with a ``format`` key; times are in seconds."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=2) + "\n"


def bench(
    models: Sequence[Path],
    *,
    batches: Sequence[int] = (1,),
    threads: Sequence[int] = (0,),
    provider: str = "CPU",
    rounds: int = 50,
    warmup: int = 5,
    dims: Mapping[str, int] | None = None,
    progress: Callable[[str], object] = lambda _: None,
) -> Benchmark:
    """Time ONNX models in turn: each for 30 ms or one run, then each again, and so on.

    Args:
        models: files, or folders with a ``model.onnx``; ratios are to the first.
        batches: sizes of dynamic leading axes.
        threads: that one operator may use; 0: as many as onnxruntime takes by itself. All models are timed at
            every pair of the two.
        provider: name of onnxruntime's execution provider.
        rounds: how often each model is timed (see ``Timed``).
        warmup: the same before that, without counting.
        dims: sizes of other dynamic axes, by name.
        progress: called with what is being timed.

    Returns:
        The latencies, and what they were measured with.

    Raises:
        LoadError: if a model isn't there, an input's size isn't known, or onnxruntime can't run it.
        OptionError: if a number is too small, no model has an axis of ``dims``, or onnxruntime lacks the provider.
    """
    import onnxruntime

    models = [path / "model.onnx" if path.is_dir() else path for path in models]
    for path in models:
        if not path.is_file():
            raise LoadError(f"no such file: {path}")
    if rounds < 1 or warmup < 0 or min(batches) < 1:
        raise OptionError(
            "rounds and batch sizes must be at least 1", options=("rounds", "warmup", "batch")
        )
    _check_names(models, dims or {})
    timings: list[Timing] = []
    for batch in batches:
        for count in threads:
            progress(f"batch {batch}, {threads_text(count)}")
            runtime = Runtime(count, provider)
            sessions = [_opened(path, runtime) for path in models]
            runners = [Timed(each, feed(each, batch=batch, dims=dims)) for each in sessions]
            taken = interleaved(runners, rounds=rounds, warmup=warmup)
            timings += [
                Timing(str(path), batch, count, Spread.of(each), Ratio.of(each, taken[0]))
                for path, each in zip(models, taken, strict=True)
            ]
    return Benchmark(Runtime(0, provider).provider, rounds, onnxruntime.__version__, tuple(timings))


def _check_names(models: Sequence[Path], dims: Mapping[str, int]) -> None:
    """Refuse sizes of axes that no model has.

    Raises:
        OptionError: naming the first.
    """
    if not dims:
        return
    inputs = [value for path in models for value in _opened(path, Runtime()).get_inputs()]
    known = sorted({size for value in inputs for size in value.shape if isinstance(size, str)})
    if unknown := sorted(dims.keys() - set(known)):
        raise OptionError(
            f"no input has a dynamic axis {unknown[0]!a:.80}",
            hint=f"there are {', '.join(known)[:80]}" if known else "all sizes are fixed",
            options=("dim",),
        )


def _opened(path: Path, runtime: Runtime) -> Any:
    """Open a session on a file that the user named; what is no ONNX file is named too."""
    try:
        return session(path, runtime)
    except ExportError as error:
        raise LoadError(f"{path}: {error.message}", hint="give ONNX files") from error
