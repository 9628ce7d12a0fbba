"""The command ``graphprune soup``: average networks that were cut by one plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from graphprune.errors import OptionError

from . import data_sources, option_values, options, output, render, users_code
from .progress import working

__all__ = ["soup"]

_SUFFIXES = (".pt", ".pt2")


def soup(
    members: Annotated[
        list[Path],
        typer.Argument(
            metavar="A B ...",
            show_default=False,
            help="The members: output folders or .pt2 files; or weights, also in checkpoints, with "
            "--arch and the plan that they were cut by.",
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
            help="Where to write the average: a state dict (.pt) or a program (.pt2).",
        ),
    ],
    plan: Annotated[
        Path | None,
        typer.Option(
            "--plan",
            metavar="FILE",
            show_default=False,
            help="What the networks keep. Default: plan.json beside the first that has one.",
        ),
    ] = None,
    greedy: Annotated[
        bool,
        typer.Option(
            "--greedy",
            help="Add the networks one by one, the most accurate on --val first, and leave out those "
            "that make the average less accurate.",
        ),
    ] = False,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="DATA",
            show_default=False,
            help="Unlabelled inputs, as for compress: BatchNorm statistics are estimated on them anew. "
            "Default: they are averaged.",
        ),
    ] = "",
    val: Annotated[
        str,
        typer.Option(
            "--val",
            metavar="DATA",
            show_default=False,
            help="Labelled inputs, as for compress, to measure the accuracy of each network and of "
            "the average.",
        ),
    ] = "",
    mean: options.Mean = "",
    std: options.Std = "",
    size: options.Size = "",
    crop: options.Crop = None,
    interpolation: options.Interpolation = "",
    samples: options.Samples = data_sources.SAMPLES,
    seed: options.Seed = 0,
    force: options.Force = False,
    arch: options.Arch = "",
    inputs: options.Inputs = None,
    trust_pickle: options.TrustPickle = False,
    as_json: options.Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
) -> None:
    """Average the weights of networks that were cut by one plan and trained in several ways."""
    if greedy and not val:
        raise OptionError("--greedy needs --val")
    if len(members) < 2:
        raise OptionError("one network has no average", hint="name two or more")
    if out.suffix not in _SUFFIXES:
        raise OptionError(f"can't tell what to write into {out.name}", hint="end it in .pt or .pt2")
    chosen = option_values.plan(plan) if plan else None
    preparation = data_sources.Preparation(mean, std, size, crop, interpolation)
    with (
        output.new_file(out, force=force) as write,
        working(verbose=verbose, quiet=quiet, stages=3) as progress,
    ):
        from graphprune.workflow.soup_files import read_members, soup_of

        how = data_sources.sources(data, val, preparation, samples, seed)
        with users_code.own_code(arch, str(members[0]), trust_pickle=trust_pickle):
            found = read_members(
                members, plan=chosen, arch=arch, inputs=inputs or (), trust_pickle=trust_pickle
            )
        progress("average")
        made = soup_of(found, greedy=greedy, **how)
        progress("save")
        as_program = out.suffix == ".pt2"
        write(found.as_program(made.model) if as_program else found.weights(made.model))
    if as_json:
        scores = made.scores or (None,) * len(found.names)
        rows = [
            {"file": name, "used": number in made.used, "accuracy": scores[number]}
            for number, name in enumerate(found.names)
        ]
        said = {"members": rows, "accuracy": made.score, "batchnorm": made.estimated}
        render.document(json.dumps(said, indent=1))
    else:
        render.soup(found, made, out)
