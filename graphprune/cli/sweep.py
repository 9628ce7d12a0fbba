"""The command ``graphprune sweep``: find out what a model loses at several budgets."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

import typer

from graphprune.errors import OptionError, OutputError

from . import option_values, options, render
from .progress import working

__all__ = ["sweep"]


def sweep(
    model: options.Model,
    *,
    flops: Annotated[
        str,
        typer.Option(
            "--flops",
            metavar="RANGE",
            show_default=False,
            help="Shares of the dense FLOPs: 0.3..0.9 (seven of them), 0.3..0.9:13, or 0.3,0.5.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="FOLDER",
            show_default=False,
            help="Where to write front.csv, front.json and front.png. What is there already is not "
            "computed again, so a run that was killed goes on.",
        ),
    ],
    latency_table: options.Table = None,
    val: options.Val = "",
    data: options.Data = "",
    mean: options.Mean = "",
    std: options.Std = "",
    size: options.Size = "",
    crop: options.Crop = None,
    interpolation: options.Interpolation = "",
    samples: options.Samples = 1024,
    seed: options.Seed = 0,
    score: options.ScoreName = "",
    allocate: options.Allocator = "dp",
    round_to: options.RoundTo = "fast",
    keep_class: options.KeepClass = False,
    any_width: options.AnyWidth = False,
    uniform: options.Uniform = None,
    depth: options.Depth = None,
    device: options.Device = "",
    no_plot: Annotated[bool, typer.Option("--no-plot", help="No picture.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Begin anew.")] = False,
    arch: options.Arch = "",
    inputs: options.Inputs = None,
    trust_pickle: options.TrustPickle = False,
    ignore_extra_keys: options.IgnoreExtraKeys = False,
    strict_ops: options.StrictOps = False,
    allow_inexact: options.AllowInexact = False,
    as_json: options.Json = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
) -> None:
    """Show what a model loses at each of several budgets: predicted, and measured with --val."""
    from graphprune.report.budget_curve import shares

    source = option_values.ModelSource(
        model, arch, tuple(inputs or ()), trust_pickle, ignore_extra_keys
    )
    if device and not data and not val:
        raise OptionError("--device needs --data or --val")
    wanted = shares(flops)
    table = option_values.latency_table(latency_table)
    how: dict[str, Any] = {
        "score": score or None,
        "allocate": allocate,
        "round_to": option_values.rounding(round_to),
        "keep_class": keep_class,
        "any_width": any_width,
        "uniform": option_values.patterns(uniform),
        "depth": bool(depth),
        "strict_ops": strict_ops,
        "allow_inexact": allow_inexact,
    }
    told = {
        "data": data,
        "val": val,
        "mean": mean,
        "std": std,
        "size": size,
        "crop": crop,
        "interpolation": interpolation,
        "samples": samples,
        "seed": seed,
        "arch": arch,
        "inputs": list(inputs or ()),
        "table": table.to_json() if table else "",
    }
    of = {"model": _hash(source.content), "options": _hash(repr((how, told)).encode())}
    folder = _Folder(out, of, force=force)
    with working(
        verbose=verbose, quiet=quiet, stages=5 + len(wanted) + (not any_width)
    ) as progress:
        from graphprune.workflow import budget_sweep

        where = option_values.device(device)
        missing = [share for share in wanted if share not in folder.known]
        if missing:
            found = source.read()
            seen = option_values.sources(
                data,
                val,
                option_values.Preparation(mean, std, size, crop, interpolation),
                samples,
                seed,
            )
            budget_sweep.sweep(
                found.dense,
                found.inputs,
                missing,
                tell=folder.add,
                latency_table=table,
                device=where,
                progress=progress,
                **how,
                **option_values.as_the_model_says(seen, found),
            )
        folder.finish(plot=not no_plot)
    if as_json:
        render.document(folder.curve.to_json())
    else:
        render.budget_curve(folder.curve, out)


def _hash(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class _Folder:
    """The folder of a sweep: each point is on disk before the next one is begun."""

    def __init__(self, path: Path, of: dict[str, Any], *, force: bool) -> None:
        from graphprune.report.budget_curve import BudgetCurve

        self.path, self.curve = path, BudgetCurve(of)
        try:
            path.mkdir(parents=True, exist_ok=True)
            stored = path / "front.json"
            if stored.exists() and not force:
                self.curve = BudgetCurve.from_json(stored.read_text("utf-8"))
        except OSError as error:
            raise OutputError(f"can't write to {path}: {error.strerror}") from error
        if self.curve.of != of:
            raise OptionError(
                f"{path} holds a sweep of another model, or with other options",
                hint="--force begins anew; or choose another folder",
            )

    @property
    def known(self) -> set[float]:
        """Budgets that are done already."""
        return {point.asked for point in self.curve.points}

    def add(self, point: Any) -> None:
        """Store one more point in the folder."""
        from graphprune.io.files import write_bytes

        self.curve = self.curve.with_point(point)
        write_bytes(self.path / "front.json", self.curve.to_json().encode())

    def finish(self, *, plot: bool) -> None:
        """Write the table and the picture."""
        from graphprune.io.files import write_bytes
        from graphprune.report.budget_curve import draw

        write_bytes(self.path / "front.csv", self.curve.to_csv().encode())
        if plot:
            draw(self.curve, self.path / "front.png")
