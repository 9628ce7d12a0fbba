"""Trace a model and read its data: the state that a job starts with."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.export import ExportedProgram

from graphprune.data import Source, calibrate
from graphprune.data.calibration import Calibration
from graphprune.data.labelled import read_labelled
from graphprune.errors import LoadError, TraceError
from graphprune.ir.devices import CPU, described
from graphprune.ir.trace import trace
from graphprune.loading import check_finite
from graphprune.pipeline import Progress, State
from graphprune.verify.traced import verify_traced

from .class_widths import has_values

__all__ = ["Data", "traced", "traced_on_cpu", "with_data", "with_labelled"]

Data = Calibration | Source | Iterable[Any]
"""What may be given as calibration data: see ``graphprune.compress``."""


def traced(
    model: torch.nn.Module | ExportedProgram,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    progress: Progress | None,
) -> State:
    """Trace the model to a program of finite numbers, and compare the two. Errors: as ``Job.begin``."""
    start = time.perf_counter()
    check_finite(model.named_parameters(), model.named_buffers(), type(model).__name__)
    if isinstance(model, ExportedProgram):
        return State(model, progress=progress)
    if progress is not None:
        progress("trace")
    program = trace(model, args, kwargs)
    state = State(program, progress=progress)
    if has_values(model):
        state = state.knowing(verify_traced(model, program))
    return replace(state, seconds={"trace": time.perf_counter() - start})


def traced_on_cpu(
    model: torch.nn.Module | ExportedProgram,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    progress: Progress | None,
    home: torch.device,
) -> State:
    """Trace a model, which may be a copy of one on another device; then its code may name that device."""
    try:
        return traced(model, args, kwargs, progress)
    except (LoadError, TraceError) as error:
        if home == CPU:
            raise
        raise type(error)(
            f"a copy of the model on the CPU can't be traced: {error.message}",
            where=error.where,
            hint=f"where its code names a device, such as {home.type}, write that of an input (x.device)",
        ) from error


def with_data(state: State, data: Data, samples: int, device: torch.device, *, tell: bool) -> State:
    """Add calibration data to the state, on which the network runs on a device; ``tell`` which one."""
    state.tell("data")
    start = time.perf_counter()
    found = replace(calibrate(data, state.program, samples), device=device)
    if tell:
        state.tell(f"data on {described(device)}")
        found = replace(found, notes=(*found.notes, f"the network ran on {described(device)}"))
    state = state.knowing(found)
    return replace(state, seconds={**state.seconds, "data": time.perf_counter() - start})


def with_labelled(state: State, train: Source, device: torch.device) -> State:
    """Add labelled inputs to train on to the state; the network runs on them on a device."""
    state.tell("data")
    labelled = read_labelled(state.program, train)
    return state.knowing(replace(labelled, data=replace(labelled.data, device=device)))
