"""Trace an nn.Module on example inputs to an ExportedProgram.

The batch axis is made dynamic where the model allows it, so that no batch size is baked in.
"""

from __future__ import annotations

import io
import logging
import re
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import is_dataclass
from keyword import iskeyword
from typing import Any

import torch
from torch.export import Dim, ExportedProgram

from graphprune.errors import LoadError, TraceError, first_line

from .dynamic_shapes import shapes_by_parameter
from .example_inputs import separated
from .function_transforms import without_transforms
from .private_torch import pytree
from .unchanged import unchanged_buffers
from .unwrap import unwrap

__all__ = ["FORWARD_ERRORS", "evaluation_mode", "silence_torch", "trace", "user_line"]

_OURS_OR_TORCH = re.compile(r"(torch|graphprune(?!\.models))(\.|$)")

_LEAVES = (
    torch.Tensor, int, float, complex, bool, str, type(None), torch.dtype, torch.device, torch.layout,
    torch.memory_format,
)  # fmt: skip
"""What torch.export takes for a leaf of inputs and outputs."""

logger = logging.getLogger(__name__)

# What comes out of a user's forward, or of torch.export when it can't capture it: torch's own
# errors derive from RuntimeError, the others are raised by Python code that meets odd sizes.
FORWARD_ERRORS = (
    RuntimeError, ValueError, TypeError, AssertionError, AttributeError, LookupError,
    ArithmeticError, OSError,
)  # fmt: skip


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
            _evaluate(model)
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
        hint=_closed_advice((args, named), results) or _advice(model, failure),
    ) from failure


def _closed_advice(inputs: Any, results: Any) -> str:
    """Advise on objects that torch.export doesn't open, such as a cache of a class of its own; ``""`` if there are none."""
    for what, values in (("takes", inputs), ("gives", results)):
        for leaf in pytree.tree_leaves(values):
            if not isinstance(leaf, _LEAVES):
                kind = type(leaf)
                return (
                    f"the model {what} an object of class {kind.__name__}, which torch.export doesn't open: register the "
                    "class by torch.utils._pytree.register_pytree_node, with flatten_with_keys_fn, make it a dataclass, or let a module around "
                    "the model take and give tensors, lists, tuples and dicts"
                )
    return ""


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


def _advice(model: torch.nn.Module, failure: Exception | None) -> str:
    if _packed(failure):
        return (
            "packed sequences can't be captured: let the model run its recurrent layers on padded ones, "
            "at least for the time of the cut"
        )
    tensors = (*model.parameters(), *model.buffers())
    if any(tensor.is_inference() for tensor in tensors):
        return (
            "the model was made within torch.inference_mode, whose tensors can't be captured: make it outside, or give "
            "copy.deepcopy(model)"
        )
    scripted = [
        name for name, module in model.named_modules() if isinstance(module, torch.jit.ScriptModule)
    ]
    if scripted:
        return (
            f"{scripted[0] or 'it'} is compiled by torch.jit.script: give the Python module instead"
        )
    return (
        "data-dependent control flow, values that leave the tensors (printing, .numpy(), .item(), also in hooks), and "
        "derivatives within forward can't be captured; see "
        "torch.export's documentation, or export the model yourself and pass the .pt2 file"
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
def evaluation_mode(model: torch.nn.Module) -> Generator[None]:
    """Hold a model in evaluation mode within a context; values cached in that mode are dropped at both ends.

    Buffers that it writes, such as caches of a decoder, have their values back afterwards.
    """
    training = {module: module.training for module in model.modules()}
    try:
        _evaluate(model)
    except NotImplementedError as error:  # as of modules that torch.export gave back
        _set_modes(training)
        raise TraceError(
            f"{type(model).__name__} has no evaluation mode: {first_line(error)}",
            hint="of an exported program, give the program itself, not its module()",
        ) from error
    try:
        with unchanged_buffers(model):
            yield
    finally:
        _evaluate(model)
        model.train(training[model])
        _set_modes(training)


def _set_modes(training: Mapping[torch.nn.Module, bool]) -> None:
    for module, flag in training.items():
        module.training = flag


def _evaluate(model: torch.nn.Module) -> None:
    """Switch a model to evaluation mode by way of training mode, which clears weights cached for evaluation."""
    with torch.no_grad():
        model.train()
        model.eval()


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


def _packed(error: BaseException | None) -> bool:
    """Whether an error came out of a recurrent layer that runs on a packed sequence."""
    traceback = error.__traceback__ if error else None
    while traceback:
        frame = traceback.tb_frame
        if frame.f_code.co_filename == torch.nn.modules.rnn.__file__:
            return frame.f_locals.get("batch_sizes") is not None
        traceback = traceback.tb_next
    return False


def user_line(error: BaseException | None) -> str:
    """Locate the innermost line of the user's code that an error passed through: ``file.py:12``."""
    where, traceback = "", error.__traceback__ if error else None
    while traceback:
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if not _OURS_OR_TORCH.match(module):
            file = traceback.tb_frame.f_code.co_filename.replace("\\", "/")
            where = f"{file.rsplit('/', 1)[-1]}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return where
