"""Write a smaller model as a folder of the library that its class comes from: a config and the weights.

The config is the dense one with other numbers. What was written is read again, and compared with the smaller program,
before the folder appears: a config that says something else than the program does is an error, not a file.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from graphprune.errors import ExportError, LoadError, OutputError, VerifyError, first_line
from graphprune.io.files import writing
from graphprune.io.partial import partial
from graphprune.ir.forward_errors import FORWARD_ERRORS, user_line
from graphprune.ir.private_torch import pytree
from graphprune.ir.program import call_arguments, state, unlift
from graphprune.ops.float64 import Float64Interpreter, Float64Mode
from graphprune.rebuild.changed_numbers import changed_floats
from graphprune.rebuild.class_comparison import MOST_BY_DTYPE
from graphprune.rebuild.configured import called_alike
from graphprune.rebuild.own_precision import compare_in_own_precision
from graphprune.rebuild.shrink_module import shrink_module
from graphprune.verify.graph_runs import error, run
from graphprune.verify.inputs import random_inputs
from graphprune.verify.oracle import TOLERANCE

if TYPE_CHECKING:
    from torch.export import ExportedProgram

    from graphprune.cut.cut import Cut
    from graphprune.rebuild.config_fields import ConfigFields
    from graphprune.rebuild.model_pair import ModelPair

__all__ = ["save_pretrained"]


def save_pretrained(
    config: ConfigFields | None, pair: ModelPair, program: ExportedProgram, folder: Path
) -> dict[str, Any]:
    """Write the smaller model of a pair, read it again, and compare; see ``Result.save_pretrained``.

    Args:
        config: what the dense model's config can state.
        pair: the dense model and the cut.
        program: the smaller one, with its weights.
        folder: the new one.

    Returns:
        The largest error, the tolerance, and the changed values of the config.

    Raises:
        ExportError: if there is no such config, or what is read is another model.
        OutputError: if it can't be written.
    """
    if config is None:
        raise ExportError(
            "the widths weren't chosen by what the model's config can state",
            hint="choose them so",
            options=("keep_config",),
        )
    if folder.exists():
        raise OutputError(f"{folder} exists")
    widths = [len(pair.cut.channels(group)) for group in pair.cut.analysis.groups]
    values: dict[str, Any] = {**config.values(widths), **_floats(config, pair.cut)}
    wanted = _wanted(pair, program)
    small: Any = _built(config, wanted, values)
    _keep_generation(pair.dense, small)
    with ExitStack() as stack:
        with writing(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
            beside = stack.enter_context(partial(folder, Path.mkdir)) / folder.name
        _save(small, beside, folder)
        again = type(small).from_pretrained(beside, local_files_only=True, use_safetensors=True)
        called_alike(again.eval(), small)
        worst, tolerance = _compared(again, pair.small if wanted is pair.small else None, program)
        if worst > tolerance:
            raise ExportError(
                f"the config can't state the smaller model: built from it, it computes something else "
                f"(error {worst:.1e})"
            )
        with writing(folder):
            beside.rename(folder)
    dense = config.configured.stated
    changed = {name: value for name, value in values.items() if dense.get(name) != value}
    return {"max_error": worst, "tolerance": tolerance, "config": changed}


def _save(small: Any, beside: Path, folder: Path) -> None:
    """Let a module write the folder that shall be ``folder``, which it makes itself."""
    from safetensors import SafetensorError

    try:
        with writing(folder):
            small.save_pretrained(beside)
    except SafetensorError as error:  # how it reports a full disk
        raise OutputError(
            f"can't write {folder.name}: {error}", hint="is the disk full?"
        ) from error


def _wanted(pair: ModelPair, program: ExportedProgram) -> nn.Module:
    """Return a module with the weights to write: those of the program, or what was trained since."""
    assert isinstance(pair.dense, nn.Module)
    fresh = shrink_module(pair.dense, pair.cut, state(unlift(program)), follow=pair.follow)
    own = fresh.state_dict()
    now = pair.small.state_dict() if pair.own_class else {}
    trained = any(not torch.equal(now[name], value) for name, value in own.items() if name in now)
    return pair.small if trained else fresh


def _built(config: ConfigFields, wanted: nn.Module, values: Mapping[str, Any]) -> nn.Module:
    """Build a module from the smaller config, and give it the weights.

    Raises:
        ExportError: if it has other shapes.
    """
    try:
        small = config.configured.build(values, device="cpu")
    except LoadError as error:
        raise ExportError(f"the config can't state the smaller model: {error.message}") from error
    weights, own = wanted.state_dict(), small.state_dict()
    odd = sorted(
        name
        for name in {*weights, *own}
        if name not in own or name not in weights or own[name].shape != weights[name].shape
    )
    if odd:
        shapes = [tuple(s[odd[0]].shape) if odd[0] in s else "nothing" for s in (own, weights)]
        raise ExportError(
            f"no field of the config states {odd[0]}: it gives {shapes[0]} where the smaller model has {shapes[1]}"
        )
    for name, parameter in small.named_parameters():
        parameter.data = parameter.data.to(weights[name].dtype)
    small.load_state_dict(weights)
    return small


def _keep_generation(dense: Any, small: Any) -> None:
    """Carry over how text is generated, which a library keeps beside the config."""
    if getattr(dense, "generation_config", None) is not None:
        small.generation_config = copy.deepcopy(dense.generation_config)


def _floats(config: ConfigFields, cut: Cut) -> dict[str, float]:
    """Find the fields that hold numbers which the cut changes everywhere, such as a norm's epsilon."""
    changes: dict[float, set[float]] = {}
    for old, new in changed_floats(cut):
        changes.setdefault(old, set()).add(new)
    return {
        name: next(iter(changes[value]))
        for name, value in config.configured.values.items()
        if type(value) is float and len(changes.get(value, ())) == 1
    }


def _compared(
    model: nn.Module, trained: nn.Module | None, program: ExportedProgram
) -> tuple[float, float]:
    """Compare a module with the program in float64, or in its own precision where its weights are rounded.

    Args:
        model: what was read.
        trained: the smaller model, if it is no longer the program.
        program: the smaller one.

    Returns:
        The largest relative error, and the tolerance.
    """
    graph = unlift(program)
    found: list[tuple[float, float]] = []
    for grow in (0, 1):
        inputs = random_inputs(program, grow, seed=grow)
        expected = (
            run(Float64Interpreter(graph), inputs)
            if trained is None
            else _outputs(trained, program, inputs)
        )
        got = _outputs(model, program, inputs)
        worst = error(got, expected) if len(got) == len(expected) else float("inf")
        if TOLERANCE < worst <= MOST_BY_DTYPE and trained is None:
            own = compare_in_own_precision(model, graph, {}, program, grow)
            found.append((own.error, own.tolerance))
        else:
            found.append((worst, TOLERANCE))
    return max(found, key=lambda each: each[0] / each[1])


def _outputs(model: nn.Module, program: ExportedProgram, inputs: list[Any]) -> list[Any]:
    """Run a copy of a module in float64.

    Raises:
        ExportError: if it fails.
    """
    args, kwargs = call_arguments(program, inputs)
    wide = copy.deepcopy(model).double().eval()
    try:
        with torch.no_grad(), Float64Mode():
            return pytree.tree_leaves(wide(*args, **kwargs))
    except (*FORWARD_ERRORS, VerifyError) as problem:
        raise ExportError(
            f"the config can't state the smaller model: {first_line(problem)}",
            where=user_line(problem),
        ) from problem
