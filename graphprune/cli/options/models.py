"""Declare the model that a command reads, and how it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "AllowInexact",
    "Arch",
    "IgnoreExtraKeys",
    "Inputs",
    "Model",
    "Models",
    "Outputs",
    "StrictOps",
    "TrustPickle",
]

Model = Annotated[Path, typer.Argument(
    metavar="MODEL", show_default=False,
    help="A .pt2 program or an output folder, an .onnx file, a state dict or .safetensors (with "
    "--arch), hf:DIR of transformers' save_pretrained, or a pickled module or TorchScript (with "
    "--trust-pickle).")]  # fmt: skip
Models = Annotated[list[Path], typer.Argument(
    metavar="MODEL ...", show_default=False,
    help="A model as other commands take it; or several checkpoints of one architecture.")]  # fmt: skip
Arch = Annotated[
    str,
    typer.Option(
        "--arch",
        metavar="MODULE:FACTORY",
        show_default=False,
        help="What builds the module: my_nets.resnet:resnet20, torchvision:resnet50, timm:NAME, or "
        "hf:DIR with a config.json. Arguments may follow: 'timm:resnet18(num_classes=10)'.",
    ),
]
Inputs = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        metavar="SHAPE",
        show_default=False,
        help="Shape of an input, as 1x3x224x224 or 1x128:int64; once for each input, with its name "
        "where it isn't the next one (mask=1x128:bool). Or a .npz file "
        "of example inputs, named as the model's are. Default: what example_inputs() of the module "
        "of --arch returns.",
    ),
]
TrustPickle = Annotated[
    bool, typer.Option("--trust-pickle", help="MODEL may run code when it is read.")
]
IgnoreExtraKeys = Annotated[
    bool,
    typer.Option(
        "--ignore-extra-keys", help="Leave out of a state dict what the module has no place for."
    ),
]
Outputs = Annotated[
    list[str] | None,
    typer.Option(
        "--outputs",
        metavar="NAME",
        show_default=False,
        help="Keep only this output, by its key or number in what the model returns, as 'aux.0', or its name in an ONNX "
        "file; may be repeated. What feeds the others alone goes; budgets count from what is left.",
    ),
]
StrictOps = Annotated[
    bool,
    typer.Option(
        "--strict-ops", help="Refuse operators without a rule instead of freezing what they touch."
    ),
]
AllowInexact = Annotated[
    bool,
    typer.Option(
        "--allow-inexact", help="Cut through statistics too, such as LayerNorm's over the channels."
    ),
]
