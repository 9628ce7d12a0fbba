"""The command ``graphprune verify``: compare a smaller model with the dense one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphprune.errors import LoadError
from graphprune.workflow.write import PLAN

from . import for_ci, option_values, options, render
from .model_source import ModelSource
from .progress import working

if TYPE_CHECKING:
    from graphprune.plan.plan import Plan

__all__ = ["verify"]


def verify(
    a: options.Model,
    b: Annotated[
        Path,
        typer.Argument(
            metavar="B",
            show_default=False,
            help="The smaller model: a .pt2 or .onnx file, or an output folder.",
        ),
    ],
    *,
    plan: Annotated[
        Path | None,
        typer.Option(
            "--plan",
            metavar="FILE",
            show_default=False,
            help="What the smaller model keeps. Default: plan.json beside B, if there is one.",
        ),
    ] = None,
    retrained: Annotated[
        bool,
        typer.Option(
            "--retrained",
            help="B's weights were changed after the cut (--data, --distil, or by you): "
            "compare with MODEL's structure and B's weights.",
        ),
    ] = False,
    outputs: options.Outputs = None,
    arch: options.Arch = "",
    inputs: options.Inputs = None,
    trust_pickle: options.TrustPickle = False,
    ignore_extra_keys: options.IgnoreExtraKeys = False,
    summary: for_ci.Summary = None,
    junit: for_ci.Junit = None,
    as_json: options.Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
) -> None:
    """Compare a smaller model B with the dense MODEL in which the removed channels are silenced.

    Without a plan the two are compared as they are. Exit code 1 if they differ.
    """
    source = ModelSource(
        a, arch, tuple(inputs or ()), trust_pickle, ignore_extra_keys, tuple(outputs or ())
    )
    source.check()
    for_ci.check_places(summary, junit)
    kept = _plan(plan, b)
    with working(verbose=verbose, quiet=quiet, stages=4) as progress:
        from graphprune.workflow.compare_files import compare

        loaded = source.read()
        found = compare(
            loaded.dense,
            loaded.inputs,
            b,
            kept,
            retrained=retrained,
            outputs=loaded.outputs,
            name=source.name_of(loaded),
            progress=progress,
        )
    if as_json:
        render.document(found.to_json())
    else:
        render.comparison(found)
    for_ci.tell(render.comparison_gate(found), summary=summary, junit=junit)
    if not found.ok:
        raise typer.Exit(1)


def _plan(path: Path | None, b: Path) -> Plan | None:
    """Read the plan that was named, or the one beside B."""
    if path is not None:
        return option_values.plan(path)
    if not b.exists():
        raise LoadError(f"no such file: {b}")
    beside = (b if b.is_dir() else b.parent) / PLAN
    return option_values.plan(beside) if beside.is_file() else None
