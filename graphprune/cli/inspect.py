"""The command ``graphprune inspect``: show the groups of a model, and what is frozen and why."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options, render
from .model_source import ModelSource
from .progress import working

__all__ = ["inspect"]


def inspect(
    model: options.Model,
    *,
    arch: options.Arch = "",
    inputs: options.Inputs = None,
    trust_pickle: options.TrustPickle = False,
    ignore_extra_keys: options.IgnoreExtraKeys = False,
    strict_ops: options.StrictOps = False,
    allow_inexact: options.AllowInexact = False,
    why: Annotated[
        str, typer.Option(help="Explain one group, or parameter:dim: what couples or freezes it.")
    ] = "",
    as_json: options.Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
) -> None:
    """Show the groups of channels that can be cut, what they cost, and what is frozen and why."""
    source = ModelSource(model, arch, tuple(inputs or ()), trust_pickle, ignore_extra_keys)
    source.check()
    with working(verbose=verbose, quiet=quiet, stages=3) as progress:
        from graphprune import api
        from graphprune.analysis.why import why as explained
        from graphprune.report import inspection

        found = source.read()
        analysis = api.inspect(
            found.dense,
            found.inputs,
            strict_ops=strict_ops,
            allow_inexact=allow_inexact,
            progress=progress,
        )
        steps = explained(analysis, why) if why else ()
        view = inspection.describe(analysis, source.name_of(found))
    if why:
        render.chain(why, steps, as_json=as_json)
    elif as_json:
        render.document(view.to_json())
    else:
        render.inspection(view)
