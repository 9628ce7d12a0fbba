"""Arguments and options that several commands share, and what is done with them first."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from graphprune.errors import GraphpruneError, LoadError, PlanError

if TYPE_CHECKING:
    from graphprune.latency import LatencyTable
    from graphprune.loading import Loaded
    from graphprune.plan import Plan

__all__ = [
    "Allocator",
    "AllowInexact",
    "Arch",
    "Augment",
    "Data",
    "Distil",
    "FileSize",
    "Flops",
    "Force",
    "Inputs",
    "Json",
    "KeepClass",
    "Latency",
    "MaxCut",
    "MaxDrop",
    "Mean",
    "Memory",
    "MinChannels",
    "Model",
    "Params",
    "PlanFile",
    "Protect",
    "Provider",
    "Quiet",
    "Recover",
    "RoundTo",
    "Samples",
    "ScoreName",
    "Seed",
    "Size",
    "Source",
    "Std",
    "StrictOps",
    "Table",
    "Threads",
    "TrustPickle",
    "Val",
    "Verbose",
    "check_budgets",
    "numbers",
    "read_plan",
    "read_table",
    "rounding",
    "sizes",
    "sources",
]

Model = Annotated[Path, typer.Argument(
    metavar="MODEL", show_default=False,
    help="A .pt2 program or an output folder, an .onnx file, a state dict or .safetensors (with "
    "--arch), or a pickled module or TorchScript (with --trust-pickle).")]  # fmt: skip
Arch = Annotated[str, typer.Option(
    "--arch", metavar="MODULE:FACTORY", show_default=False,
    help="What builds the module: my_nets.resnet:resnet20, torchvision:resnet50, timm:NAME, or "
    "hf:DIR with a config.json. Arguments may follow: 'timm:resnet18(num_classes=10)'.")]
Inputs = Annotated[list[str] | None, typer.Option(
    "--input", metavar="SHAPE", show_default=False,
    help="Shape of an input, as 1x3x224x224 or 1x128:int64; once for each input. Default: what "
    "example_inputs() of the module of --arch returns.")]
TrustPickle = Annotated[bool, typer.Option(
    "--trust-pickle", help="MODEL may run code when it is read.")]
StrictOps = Annotated[bool, typer.Option(
    "--strict-ops", help="Refuse operators without a rule instead of freezing what they touch.")]
AllowInexact = Annotated[bool, typer.Option(
    "--allow-inexact", help="Cut through statistics too, such as LayerNorm's over the channels.")]

Flops = Annotated[str, typer.Option(
    metavar="AMOUNT", show_default=False,
    help="Budget: a fraction of the dense FLOPs (0.5, 50%), or absolute (1.2G).")]
Params = Annotated[str, typer.Option(
    metavar="AMOUNT", show_default=False,
    help="Budget: a fraction of the dense parameters (0.5, 50%), or absolute (1.2M).")]
Latency = Annotated[str, typer.Option(
    metavar="AMOUNT", show_default=False,
    help="Budget: a fraction of the dense time of a run in onnxruntime (0.6), or absolute (8ms).")]
Memory = Annotated[str, typer.Option(
    metavar="AMOUNT", show_default=False,
    help="Budget: a fraction of the dense weights and largest live activations of a sample (0.5), "
    "or absolute (20MB).")]
FileSize = Annotated[str, typer.Option(
    "--size", metavar="AMOUNT", show_default=False,
    help="Budget: a fraction of the dense ONNX file (0.5), or absolute (5MB).")]
Table = Annotated[Path | None, typer.Option(
    "--latency-table", metavar="FILE", show_default=False,
    help="What `graphprune profile` measured, here or elsewhere. Default: it is measured now.")]
Data = Annotated[str, typer.Option(
    "--data", metavar="DATA", show_default=False,
    help="Unlabelled inputs to look at: a folder of images or a zip of one, a .npz, .npy or "
    ".safetensors file of tensors, or package.module:callable, which returns an iterable.")]
Mean = Annotated[str, typer.Option(
    "--mean", metavar="R,G,B", show_default=False,
    help="For images: mean of each channel, of pixels from 0 to 1.")]
Std = Annotated[str, typer.Option(
    "--std", metavar="R,G,B", show_default=False, help="For images: standard deviation likewise.")]
Size = Annotated[str, typer.Option(
    "--image-size", metavar="H,W", show_default=False,
    help="For images: scaled to cover this, the centre cropped. Default: the model's input.")]
Samples = Annotated[int, typer.Option(metavar="N", min=1, help="How many samples of --data to take.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Draws the samples.")]
MaxDrop = Annotated[str, typer.Option(
    "--max-drop", metavar="POINTS", show_default=False,
    help="Instead of a budget: the smallest network whose accuracy on --val drops by at most "
    "this (1%, 0.01). Budgets are bisected, and each is a whole run.")]
Val = Annotated[str, typer.Option(
    "--val", metavar="DATA", show_default=False,
    help="Labelled inputs for --max-drop: a folder or zip with one folder of images for each "
    "class, in alphabetical order; an .npz file of x and y; or package.module:callable, which "
    "returns an iterable of pairs.")]
Recover = Annotated[str, typer.Option(
    "--recover", metavar="HOW", show_default=False,
    help="Give back accuracy: with --data, ls refits all layers (the default) or bn only BatchNorm "
    "statistics; without, merge lets kept channels stand in for removed ones; none does nothing.")]
Distil = Annotated[str, typer.Option(
    "--distil", "--distill", metavar="STEPS|TIME", show_default=False,
    help="Train on --data towards the dense model's outputs: 2000 steps, or 5m, 90s, 1h.")]
Augment = Annotated[str, typer.Option(
    "--augment", metavar="NAMES", show_default=False,
    help="Changes of inputs while training: flip and crop (images), mix (any floats), as "
    "flip,crop.")]
ScoreName = Annotated[str, typer.Option(
    "--score", metavar="NAME", show_default=False,
    help="Importance of channels: l1, l2, bn-scale, lamp, fpgm, spline, synflow or random; with "
    "--data also obs, variance, hrank, taylor, obd, fisher or snip. Default: obs with --data, "
    "else l2.")]
Allocator = Annotated[str, typer.Option(
    "--allocate", metavar="NAME",
    help="How widths are chosen: dp (with a certificate), uniform, erk, pq-index, "
    "global_threshold or random_search.")]
RoundTo = Annotated[str, typer.Option(
    metavar="N|auto", help="Widths are multiples of N, or stay whole; auto: widths that run fast.")]
MinChannels = Annotated[int, typer.Option(
    metavar="N", help="No group keeps fewer channels.")]
MaxCut = Annotated[float, typer.Option(
    metavar="SHARE", help="No group loses a larger share of its channels.")]
Protect = Annotated[list[str] | None, typer.Option(
    metavar="PATTERN", show_default=False,
    help="Groups or parameters to leave whole, as 'layer1.*'; may be repeated.")]
KeepClass = Annotated[bool, typer.Option(
    help="Only widths that the code of the model's class follows, found by trying.")]
PlanFile = Annotated[Path | None, typer.Option(
    "--plan", metavar="FILE", show_default=False, help="A plan to use.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an earlier result.")]

Threads = Annotated[str, typer.Option(
    "--threads", metavar="N,...", help="Threads that one operator may use.")]
Provider = Annotated[str, typer.Option(
    "--provider", metavar="NAME", help="onnxruntime's execution provider: CPU, CUDA, ...")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Verbose = Annotated[int, typer.Option(
    "-v", "--verbose", count=True, show_default=False,
    help="Say what is being done; -vv: say more.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")]


@dataclass(frozen=True)
class Source:
    """Where a model comes from, as the user wrote it.

    Attributes:
        path: the file, or an output folder.
        arch: ``package.module:factory``, or ``""``.
        inputs: shapes.
        trust_pickle: whether reading the file may run code.
    """

    path: Path
    arch: str
    inputs: tuple[str, ...]
    trust_pickle: bool

    @property
    def file(self) -> Path:
        """The file to read.

        Raises:
            LoadError: if there is none. Torch isn't imported to find out.
        """
        if not self.path.exists():
            raise LoadError(f"no such file: {self.path}")
        return self.path / "model.pt2" if self.path.is_dir() else self.path

    def load(self) -> tuple[Any, tuple[Any, ...], str]:
        """The module or program, its example inputs, and a name to show.

        Raises:
            LoadError: if it can't be read.
        """
        found = self.read()
        if found.program is None:
            return found.model, found.inputs, type(found.model).__name__
        return found.program, (), self.file.name

    def read(self) -> Loaded:
        """What the file holds.

        Raises:
            LoadError: if it can't be read.
        """
        from graphprune.errors import first_line
        from graphprune.loading import load
        from graphprune.tracing import FORWARD_ERRORS, user_line

        if self.arch or self.trust_pickle:
            _import_from_here()
        try:
            return load(self.file, arch=self.arch, inputs=self.inputs,
                        trust_pickle=self.trust_pickle)
        except (*FORWARD_ERRORS, OSError, SystemExit) as error:  # from the user's own code
            raise LoadError(
                f"{self.arch or self.path} fails: {type(error).__name__}: {first_line(error)}",
                where=user_line(error), hint="check --arch",
            ) from error


def check_budgets(**amounts: str) -> dict[str, Any]:
    """The budgets as keyword arguments.

    Raises:
        PlanError: unless there is one, and all can be read.
    """
    from graphprune.budget import budgets

    budgets(amounts)
    return {name: amount for name, amount in amounts.items() if amount}


def rounding(text: str) -> int | Literal["auto"]:
    """``--round-to``.

    Raises:
        PlanError: if it can't be read.
    """
    if text == "auto":
        return "auto"
    if not text.lstrip("-").isdecimal():
        raise PlanError(f"can't read --round-to {text!r}", hint="write 8, or auto")
    return int(text)


def read_table(path: Path | None) -> LatencyTable | None:
    """Read a latency table, if one is named.

    Raises:
        LoadError: if it can't be read, or isn't one.
    """
    from graphprune.latency import MAX_BYTES, LatencyTable

    return None if path is None else LatencyTable.from_json(_text(path, MAX_BYTES, LoadError))


def sources(data: str, val: str, mean: str, std: str, size: str, samples: int,
            seed: int) -> dict[str, Any]:
    """The calibration and validation data as keyword arguments. Nothing of it is read yet.

    Raises:
        LoadError: if there is no such data.
        PlanError: if an option can't be read, or is for data that isn't there.
    """
    means, stds = _numbers("--mean", mean), _numbers("--std", std)
    sizes = [int(value) for value in _numbers("--size", size)]
    if len(sizes) > 2:
        raise PlanError(f"can't read --image-size {size!r}", hint="write 224, or 224,320")
    if not data and not val and (means or stds or sizes):
        raise PlanError("--mean, --std and --image-size need --data or --val")
    from graphprune.data import open_source

    _import_from_here()
    how: dict[str, Any] = {"mean": means, "std": stds, "seed": seed,
                           "size": (sizes[0], sizes[-1]) if sizes else None}
    found: dict[str, Any] = {"val": open_source(val, **how)} if val else {}
    if data:
        found |= {"calibration": open_source(data, **how), "samples": samples}
    return found


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise PlanError(f"can't read {option} {text!r}", hint="write 0.5, or 0.5,0.4,0.3") from error


def numbers(option: str, text: str) -> list[int]:
    """``1,8`` as numbers.

    Raises:
        PlanError: unless there are some, all at least 1.
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise PlanError(f"can't read {option} {text!r}", hint="write 1, or 1,8") from error
    if min(found) < 1:
        raise PlanError(f"{option} must be at least 1")
    return found


def sizes(option: str, pairs: list[str]) -> dict[str, int]:
    """``NAME=N`` each, as a table.

    Raises:
        PlanError: if one can't be read.
    """
    found: dict[str, int] = {}
    for pair in pairs:
        name, equals, number = pair.rpartition("=")
        if not equals or not name:
            raise PlanError(f"can't read {option} {pair!r}", hint="write NAME=128")
        found[name], = numbers(option, number)
    return found


def _import_from_here() -> None:
    """Find the user's own modules; at the end, so that nothing installed is shadowed."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        PlanError: if it can't be read, or isn't one.
    """
    from graphprune.plan import MAX_BYTES, Plan

    return Plan.from_json(_text(path, MAX_BYTES, PlanError))


def _text(path: Path, limit: int, kind: type[GraphpruneError]) -> str:
    """A text file that may be read whole.

    Raises:
        GraphpruneError: of that kind.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would block, a device never end
            raise kind(f"can't read {path}: not a file")
        with path.open("rb") as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise kind(f"{path} is too large")
        return data.decode("utf-8")
    except OSError as error:
        raise kind(f"can't read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise kind(f"{path} is not text") from error
