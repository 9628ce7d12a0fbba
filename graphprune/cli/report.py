"""The command ``graphprune report``: make the HTML page of one run or several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphprune.errors import LoadError, OutputError

from . import data_sources, options, output, render
from .progress import working

if TYPE_CHECKING:
    from graphprune.report.html import Accuracies

__all__ = ["report"]


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="OUT...", show_default=False, help="Folders that compress wrote."),
    ],
    *,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            show_default=False,
            help="Where to write the page. Default, for one folder: its report.html.",
        ),
    ] = None,
    val: Annotated[
        str,
        typer.Option(
            "--val",
            metavar="DATA",
            show_default=False,
            help="Labelled inputs, as for compress: the page then has the accuracy on them, and on "
            "corrupted ones if they are images.",
        ),
    ] = "",
    mean: options.Mean = "",
    std: options.Std = "",
    size: options.Size = "",
    crop: options.Crop = None,
    interpolation: options.Interpolation = "",
    force: options.Force = False,
    verbose: options.Verbose = 0,
    quiet: options.Quiet = False,
) -> None:
    """Make the HTML page of a run again, or one that compares several runs."""
    if out is None and len(folders) > 1:
        raise OutputError("no place to write to", hint="-o FILE")
    target = out or _beside(folders[0])
    found = data_sources.sources(
        "", val, data_sources.Preparation(mean, std, size, crop, interpolation)
    )
    with (
        output.new_file(target, force=force or out is None) as write,
        working(verbose=verbose, quiet=quiet, stages=len(folders) + 1, engine=False) as progress,
    ):
        from graphprune.report.html import one, several
        from graphprune.report.html.read_report import read

        names = _names(folders)
        reports = {name: read(folder) for name, folder in zip(names, folders, strict=True)}
        measured: dict[str, Accuracies] = {}
        if found:
            for name, folder in zip(names, folders, strict=True):
                progress(f"accuracy {name}")
                measured[name] = _accuracies(folder, val, found)
        progress("page")
        if len(names) == 1:
            page = one(reports[names[0]], measured.get(names[0]))
        else:
            page = several(reports, measured)
        write(page)
    if measured:
        render.accuracies(measured)
    render.document(f"wrote {target}")


def _beside(path: Path) -> Path:
    """Find the page of a folder, or of the folder that a report.json is in.

    Raises:
        LoadError: if there is no such thing.
    """
    if not path.exists():
        raise LoadError(f"no such file: {path}")
    return (path if path.is_dir() else path.parent) / "report.html"


def _names(folders: Sequence[Path]) -> list[str]:
    """Name each folder by as much of its path as tells it from the others."""
    paths = [(f if f.is_dir() else f.parent).absolute().parts for f in folders]
    for depth in range(1, max(map(len, paths)) + 1):
        names = ["/".join(parts[-depth:]) for parts in paths]
        if len({*names}) == len(names):
            return names
    raise LoadError("a folder is given twice")


def _accuracies(folder: Path, val: str, found: Mapping[str, Any]) -> Accuracies:
    from graphprune.data import accuracy, robustness
    from graphprune.loading import load
    from graphprune.report.html import Accuracies
    from graphprune.workflow.write import PROGRAM

    program = load((folder if folder.is_dir() else folder.parent) / PROGRAM).program
    if program is None:
        raise LoadError(f"{folder} holds no program", hint="give folders that compress wrote")
    data = found["val"]
    return Accuracies(Path(val).name, accuracy(program, data), robustness(program, data))
