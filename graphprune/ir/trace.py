"""Trace an nn.Module on example inputs to an ExportedProgram.

The batch axis is made dynamic where the model allows it, so that no batch size is baked in.
"""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import is_dataclass
from keyword import iskeyword
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from graphprune.errors import LoadError, TraceError, first_line

from .capture_advice import advice
from .dynamic_shapes import shapes_by_parameter
from .evaluation_mode import evaluate, evaluation_mode
from .example_inputs import separated
from .forward_errors import FORWARD_ERRORS, user_line
from .function_transforms import without_transforms
from .private_torch import pytree
from .unchanged import unchanged_buffers
from .unwrap import unwrap

__all__ = ["silence_torch", "trace"]

logger = logging.getLogger(__name__)


def trace(
    model: torch.nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None = None,
    *,
    dynamic_batch: bool = True,
) -> ExportedProgram:
    """Export a model in evaluation mode. The model itself isn't changed.

    Dataclasses among its inputs and outputs are registered with torch's pytrees, for the whole
    process, so that torch.export sees what they hold.

    Args:
        model: any module that torch.export can capture, taken out of torch's own wrappers.
        args: example positional inputs. Tensors whose first dimension equals that of the
            first tensor are taken to be batched. On the meta device, model and inputs have no
            values, and the model is not run first.
        kwargs: example keyword inputs.
        dynamic_batch: try to keep the batch size symbolic.

    Raises:
        LoadError: if the model can't run on the inputs.
        TraceError: if torch.export can't capture it.
    """
    model, named = unwrap(model), dict(kwargs or {})
    _check_names(model)
    with evaluation_mode(model):
        _register_dataclasses((args, named))
        results: Any = None
        if not _on_meta(args, named):
            results = _run(model, args, named)
            _register_dataclasses(results)
        failure: Exception | None = None
        for inputs, shapes in _attempts(args, named, dynamic_batch):
            evaluate(model)
            try:
                with silence_torch():
                    dynamic = None if shapes is None else shapes_by_parameter(model, *shapes)
                    program = torch.export.export(model, *inputs, dynamic_shapes=dynamic)
                    return without_transforms(program)
            except FORWARD_ERRORS as error:
                logger.info("torch.export failed: %s", error)
                failure = error
    raise TraceError(
        f"torch.export can't capture {type(model).__name__}: {first_line(failure)}",
        where=user_line(failure),
        hint=advice(model, (args, named), results, failure),
    ) from failure


def _check_names(model: torch.nn.Module) -> None:
    """Refuse names that are words of Python, such as a ModuleDict may hold.

    Raises:
        TraceError: if there is one.
    """
    parts = [("module", name) for name, _ in model.named_modules()]
    parts += [("parameter", name) for name, _ in model.named_parameters()]
    for kind, name in parts:
        if iskeyword(name.rpartition(".")[2]):
            raise TraceError(
                f"the {kind} {name!r} has a word of Python as its name, and torch.export makes code of names",
                hint="give it another name, also in the state dict",
            )


def _attempts(
    args: Sequence[Any], kwargs: Mapping[str, Any], dynamic_batch: bool
) -> Iterator[tuple[tuple[tuple[Any, ...], dict[str, Any]], Any]]:
    """Yield inputs and dynamic shapes to try, best first."""
    inputs = separated((tuple(args), dict(kwargs)))
    batch = _batch_size(inputs)
    if dynamic_batch and batch is not None:
        grown = pytree.tree_map(lambda leaf: _grown(leaf, batch), inputs)
        dim = Dim("batch", min=1)
        shapes = pytree.tree_map(lambda leaf: {0: dim} if _batched(leaf, batch) else None, inputs)
        yield grown, shapes
    yield inputs, None


def _batch_size(inputs: Any) -> int | None:
    for leaf in pytree.tree_leaves(inputs):
        if isinstance(leaf, torch.Tensor) and leaf.ndim:
            return int(leaf.shape[0])
    return None


def _batched(leaf: Any, batch: int) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.ndim > 0 and leaf.shape[0] == batch


def _grown(leaf: Any, batch: int) -> Any:
    """Double a single sample, since torch.export takes a size of 1 for a constant."""
    return torch.cat([leaf, leaf]) if batch == 1 and _batched(leaf, batch) else leaf


def _on_meta(*inputs: Any) -> bool:
    """Whether inputs are on the meta device, where a model that reads values can't be run first."""
    leaves = pytree.tree_leaves(inputs)
    return any(isinstance(leaf, torch.Tensor) and leaf.is_meta for leaf in leaves)


@contextmanager
def silence_torch() -> Generator[None]:
    """Silence torch's own reports of a failed attempt within a context."""
    loggers = [logging.getLogger(name) for name in ("torch.export", "torch.fx", "torch._dynamo")]
    levels = [logger_.level for logger_ in loggers]
    for logger_ in loggers:
        logger_.setLevel(logging.CRITICAL)
    try:
        # It prints the graph so far of a model that can't be captured.
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            # torch's own LSTM caches its weights in a list while it is exported.
            warnings.filterwarnings("ignore", message="The tensor attribute", category=UserWarning)
            yield
    finally:
        for logger_, level in zip(loggers, levels, strict=True):
            logger_.setLevel(level)


def _register_dataclasses(values: Any) -> None:
    """Register dataclasses that torch takes for leaves of a pytree, so that their fields are seen."""
    while unregistered := {type(leaf) for leaf in pytree.tree_leaves(values) if is_dataclass(leaf)}:
        for kind in unregistered:
            name = f"{kind.__module__}.{kind.__qualname__}"
            torch.export.register_dataclass(kind, serialized_type_name=name)


def _run(model: torch.nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    try:
        with torch.no_grad(), unchanged_buffers(model):
            return model(*args, **kwargs)
    except FORWARD_ERRORS as error:
        shapes = [
            str(tuple(x.shape))
            for x in pytree.tree_leaves((args, kwargs))
            if isinstance(x, torch.Tensor)
        ]
        given = f"inputs of shape {', '.join(shapes)}" if shapes else "no example inputs"
        raise LoadError(
            f"the model fails on {given}: {first_line(error)}",
            where=user_line(error),
            hint="give example inputs that the model accepts, such as 1x3x224x224, one for each input",
            options=("input",),
        ) from error
