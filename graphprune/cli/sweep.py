"""The command ``graphprune sweep``: find out what a model loses at several budgets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphprune.errors import LoadError, OptionError, OutputError

from . import data_sources, option_values, options, render
from .model_source import ModelSource
from .progress import working

if TYPE_CHECKING:
    from graphprune.report.budget_curve import BudgetCurve

__all__ = ["sweep"]


def sweep(
    models: options.Models,
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
            help="Where to write front.csv, front.json and front.png; of several models, each has a folder in it, and "
            "checkpoints.csv compares them. What is there already is not "
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
    samples: options.Samples = data_sources.SAMPLES,
    seed: options.Seed = 0,
    score: options.ScoreName = "",
    allocate: options.Allocator = "dp",
    round_to: options.RoundTo = "fast",
    keep_class: options.KeepClass = False,
    any_width: options.AnyWidth = False,
    uniform: options.Uniform = None,
    keep_config: options.KeepConfig = None,
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
    """Show what a model loses at each of several budgets: predicted, and measured with --val.

    Several checkpoints of one architecture are swept alike, and compared.
    """
    from graphprune.report.budget_curve import shares

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
    preparation = data_sources.Preparation(mean, std, size, crop, interpolation)
    curves: dict[str, BudgetCurve] = {}
    several = len(models) > 1
    for name, (model, place) in _places(models, out).items():
        source = ModelSource(model, arch, tuple(inputs or ()), trust_pickle, ignore_extra_keys)
        limits = how | ({"keep_config": True} if source.keeps_config(keep_config) else {})
        of = {"model": _hash(source.content), "options": _hash(repr((limits, told)).encode())}
        folder = _Folder(place, of, force=force)
        with working(
            verbose=verbose, quiet=quiet, stages=5 + len(wanted) + (not any_width)
        ) as progress:
            where = option_values.device(device)
            missing = [share for share in wanted if share not in folder.known]
            if missing:
                seen = data_sources.sources(data, val, preparation, samples, seed)
                run = limits | {"latency_table": table, "device": where, "progress": progress}
                _sweep(source, seen, missing, folder, run)
            folder.finish(plot=not no_plot)
        curves[name] = folder.curve
        if not as_json:
            render.budget_curve(folder.curve, place)
        elif not several:
            render.document(folder.curve.to_json())
    if several:
        _compare(curves, out, as_json=as_json)


def _sweep(
    source: ModelSource,
    seen: dict[str, Any],
    shares: Sequence[float],
    folder: _Folder,
    how: dict[str, Any],
) -> None:
    """Read a model, try the budgets that are missing in a folder, and store each as soon as it is known.

    Args:
        source: of the model.
        seen: its data, by the names of the arguments of ``graphprune.sweep``.
        shares: the budgets.
        folder: of the curve.
        how: further arguments.
    """
    from graphprune.workflow import budget_sweep

    found = source.read()
    data = data_sources.as_the_model_says(seen, found)
    budget_sweep.sweep(found.dense, found.inputs, shares, tell=folder.add, **how, **data)


def _places(models: Sequence[Path], out: Path) -> dict[str, tuple[Path, Path]]:
    """Name each of several checkpoints, and the folder in the output that is for it."""
    if len(models) == 1:
        return {models[0].name: (models[0], out)}
    stems = [model.stem for model in models]
    if len(set(stems)) < len(stems):
        stems = [f"{model.absolute().parent.name}-{model.stem}" for model in models]
    if len(set(stems)) < len(stems):
        raise OptionError("two of the checkpoints have the same name", hint="rename one")
    return {stem: (model, out / stem) for stem, model in zip(stems, models, strict=True)}


def _compare(curves: Mapping[str, BudgetCurve], out: Path, *, as_json: bool) -> None:
    from graphprune.io.files import write_bytes
    from graphprune.report import checkpoint_curves

    write_bytes(out / "checkpoints.csv", checkpoint_curves.to_csv(curves).encode())
    if as_json:
        render.document(checkpoint_curves.to_json(curves))
    else:
        render.checkpoints(curves, out)


def _hash(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class _Folder:
    """The folder of a sweep: each point is on disk before the next one is begun."""

    def __init__(self, path: Path, of: dict[str, Any], *, force: bool) -> None:
        from graphprune.io.strict_json import read_text
        from graphprune.report.budget_curve import MAX_BYTES, BudgetCurve

        self.path, self.curve = path, BudgetCurve(of)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"can't write to {path}: {error.strerror}") from error
        stored = path / "front.json"
        if stored.exists() and not force:
            self.curve = BudgetCurve.from_json(read_text(stored, MAX_BYTES, LoadError))
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
