"""Arguments and options that several commands share, and what is done with them first."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphprune.errors import LoadError, PlanError

if TYPE_CHECKING:
    from graphprune.loading import Loaded
    from graphprune.plan import Plan

__all__ = [
    "Allocator",
    "AllowInexact",
    "Arch",
    "Flops",
    "Force",
    "Inputs",
    "Json",
    "MaxCut",
    "MinChannels",
    "Model",
    "Params",
    "PlanFile",
    "Protect",
    "Quiet",
    "RoundTo",
    "ScoreName",
    "Source",
    "StrictOps",
    "TrustPickle",
    "Verbose",
    "check_budget",
    "read_plan",
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
ScoreName = Annotated[str, typer.Option(
    "--score", metavar="NAME", help="Importance of channels: l1, l2, bn-scale or random.")]
Allocator = Annotated[str, typer.Option(
    "--allocate", metavar="NAME",
    help="How widths are chosen: dp (with a certificate), uniform, erk, global_threshold or "
    "random_search.")]
RoundTo = Annotated[int, typer.Option(
    metavar="N", help="Widths are multiples of N, or stay whole.")]
MinChannels = Annotated[int, typer.Option(
    metavar="N", help="No group keeps fewer channels.")]
MaxCut = Annotated[float, typer.Option(
    metavar="SHARE", help="No group loses a larger share of its channels.")]
Protect = Annotated[list[str] | None, typer.Option(
    metavar="PATTERN", show_default=False,
    help="Groups or parameters to leave whole, as 'layer1.*'; may be repeated.")]
PlanFile = Annotated[Path | None, typer.Option(
    "--plan", metavar="FILE", show_default=False, help="A plan to use.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an earlier result.")]

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

        here = str(Path.cwd())
        if (self.arch or self.trust_pickle) and here not in sys.path:
            # The user's own modules; at the end, so that nothing installed is shadowed.
            sys.path.append(here)
        try:
            return load(self.file, arch=self.arch, inputs=self.inputs,
                        trust_pickle=self.trust_pickle)
        except (*FORWARD_ERRORS, OSError, SystemExit) as error:  # from the user's own code
            raise LoadError(
                f"{self.arch or self.path} fails: {type(error).__name__}: {first_line(error)}",
                where=user_line(error), hint="check --arch",
            ) from error


def check_budget(flops: str, params: str) -> dict[str, str]:
    """The budget as keyword arguments.

    Raises:
        PlanError: unless there is exactly one, and it can be read.
    """
    from graphprune.budget import Budget

    if bool(flops) == bool(params):
        raise PlanError("give exactly one budget", hint="--flops 0.5 or --params 0.5")
    if flops:
        Budget.flops(flops)
        return {"flops": flops}
    Budget.params(params)
    return {"params": params}


def read_plan(path: Path) -> Plan:
    """Read a plan.

    Raises:
        PlanError: if it can't be read, or isn't one.
    """
    from graphprune.plan import MAX_BYTES, Plan

    try:
        if path.exists() and not path.is_file():  # a pipe would block, a device never end
            raise PlanError(f"can't read {path}: not a file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise PlanError(f"{path} is too large for a plan")
        return Plan.from_json(data.decode("utf-8"))
    except OSError as error:
        raise PlanError(f"can't read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PlanError(f"{path} is not text") from error
