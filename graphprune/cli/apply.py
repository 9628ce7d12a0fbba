"""The command ``graphprune apply``: cut a checkpoint of a training run as a plan says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from . import option_values, options, output, render, users_code
from .model_source import ModelSource
from .progress import working

__all__ = ["apply"]


def apply(
    plan: Annotated[
        Path,
        typer.Argument(
            metavar="PLAN", show_default=False, help="The plan: which channels to keep."
        ),
    ],
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            show_default=False,
            help="What a training script saved: weights, or a dictionary with weights, averages and "
            "the states of optimisers in it; or a folder of such files, as accelerate saves it.",
        ),
    ],
    *,
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            show_default=False,
            help="Where to write the smaller checkpoint, a folder if the other one is.",
        ),
    ],
    optimizer: Annotated[
        str,
        typer.Option(
            "--optimizer",
            metavar="MODULE:CALLABLE",
            show_default=False,
            help="What makes the optimiser from the model. Needed if its parameters are in several "
            "groups, unless their names are in the file.",
        ),
    ] = "",
    force: options.Force = False,
    arch: options.Arch = "",
    inputs: options.Inputs = None,
    trust_pickle: options.TrustPickle = False,
    as_json: options.Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
) -> None:
    """Cut a training checkpoint as a plan says: its weights, averages and optimisers; nothing is refitted."""
    chosen = option_values.plan(plan)
    source = ModelSource(checkpoint, arch, tuple(inputs or ()), trust_pickle)
    source.check()
    place = output.new_folder if source.path.is_dir() else output.new_file
    with (
        place(out, force=force) as target,
        working(verbose=verbose, quiet=quiet, stages=3) as progress,
    ):
        from graphprune.io.files import saved
        from graphprune.workflow.apply_plan import apply_plan
        from graphprune.workflow.cut_checkpoint import cut_checkpoint
        from graphprune.workflow.write_checkpoint import write_checkpoint_folder

        found = source.read_checkpoint()
        make = users_code.callable_of("--optimizer", optimizer) if optimizer else None
        progress("apply")
        pair = apply_plan(chosen, found.model, found.inputs)
        progress("save")
        done = cut_checkpoint(found.content, pair, make)
        if isinstance(target, Path):
            write_checkpoint_folder(done, source.path, target)
        else:
            target(saved(done.content))
    if as_json:
        said = {"cut": done.cut, "kept": done.kept, "doubtful": done.doubtful}
        render.document(json.dumps({**said, "own_class": pair.own_class}, indent=1))
    elif not quiet:
        name = type(found.model).__name__
        render.checkpoint(done, name if pair.own_class else f"a GraphModule of {name}", out)
