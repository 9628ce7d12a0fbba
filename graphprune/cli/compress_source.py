"""Read the model of a command, make it smaller, and note in the report where it came from."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import data_sources, render
from .model_source import ModelSource

if TYPE_CHECKING:
    from graphprune.loading import Loaded
    from graphprune.workflow.accuracy_search import Probe
    from graphprune.workflow.result import Result

__all__ = ["compress_source"]


def compress_source(
    source: ModelSource,
    how: dict[str, Any],
    start: float,
    progress: Callable[[str], None],
    *,
    quiet: bool,
) -> Result:
    """Read the model and make it smaller.

    Args:
        source: of the model.
        how: arguments of ``graphprune.compress``, or, with ``max_drop``, of ``compress_within``.
        start: when the command began, for the time that loading took, by ``time.perf_counter``.
        progress: told of each stage.
        quiet: show no probes of a search.
    """
    from graphprune import api
    from graphprune.workflow import budget_sweep

    found = source.read()
    how = data_sources.as_the_model_says(how, found) | {"outputs": found.outputs}
    loaded = time.perf_counter() - start
    if "max_drop" in how:
        result = budget_sweep.compress_within(
            found.dense, found.inputs, **how, progress=progress, tell=_teller(quiet=quiet)
        )
    else:
        result = api.compress(found.dense, found.inputs, **how, progress=progress)
    return _told(result, source, found, loaded)


def _teller(*, quiet: bool) -> Callable[[Probe], None]:
    """Make a function that shows each probe of a search as soon as it is known."""
    return (lambda _: None) if quiet else render.probe


def _told(result: Result, source: ModelSource, found: Loaded, loaded: float) -> Result:
    """Add the file that the model came from, which took ``loaded`` seconds to read, to the result and its report."""
    if found.onnx_file:
        result = result.from_file(found.onnx_file)
    seconds = {"load": loaded, **result.report.seconds}
    read = {"file": source.file.name, "bytes": source.bytes}
    report = replace(result.report, model=source.name_of(found), source=read, seconds=seconds)
    return replace(result, report=report)
