"""Declare the arguments and options that several commands share.

``option_values.py`` turns their text into values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = [
    "Allocator",
    "AllowInexact",
    "AnyWidth",
    "Arch",
    "Augment",
    "Data",
    "Depth",
    "Distil",
    "FileSize",
    "Finetune",
    "Flops",
    "Force",
    "IgnoreExtraKeys",
    "Inputs",
    "Json",
    "KeepClass",
    "KeepConfig",
    "Latency",
    "Lossless",
    "MaxCut",
    "MaxDrop",
    "Mean",
    "Memory",
    "MinChannels",
    "Model",
    "Outputs",
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
    "Std",
    "StrictOps",
    "Table",
    "Threads",
    "Train",
    "TrustPickle",
    "Uniform",
    "Val",
    "Verbose",
    "flag",
]

_FLAGS = {
    "calibration": "--data",
    "onnx": "--no-onnx",
    "plot": "--no-plot",
}
"""Library arguments whose flags have other names."""


def flag(argument: str) -> str:
    """Name the flag of a library argument: ``--round-to`` for ``round_to``."""
    return _FLAGS.get(argument, f"--{argument.replace('_', '-')}")


Model = Annotated[Path, typer.Argument(
    metavar="MODEL", show_default=False,
    help="A .pt2 program or an output folder, an .onnx file, a state dict or .safetensors (with "
    "--arch), hf:DIR of transformers' save_pretrained, or a pickled module or TorchScript (with "
    "--trust-pickle).")]  # fmt: skip
AnyWidth = Annotated[
    bool,
    typer.Option(
        "--any-width",
        help="Any widths, also those that the code of the model's class can't follow.",
    ),
]
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

Flops = Annotated[
    str,
    typer.Option(
        metavar="AMOUNT",
        show_default=False,
        help="Budget: a fraction of the dense FLOPs (0.5, 50%), or absolute (1.2G).",
    ),
]
Params = Annotated[
    str,
    typer.Option(
        metavar="AMOUNT",
        show_default=False,
        help="Budget: a fraction of the dense parameters (0.5, 50%), or absolute (1.2M).",
    ),
]
Latency = Annotated[
    str,
    typer.Option(
        metavar="AMOUNT",
        show_default=False,
        help="Budget: a fraction of the dense time of a run in onnxruntime (0.6), or absolute (8ms).",
    ),
]
Memory = Annotated[
    str,
    typer.Option(
        metavar="AMOUNT",
        show_default=False,
        help="Budget: a fraction of the dense weights and largest live activations of a sample (0.5), "
        "or absolute (20MB).",
    ),
]
FileSize = Annotated[
    str,
    typer.Option(
        "--size",
        metavar="AMOUNT",
        show_default=False,
        help="Budget: a fraction of the dense ONNX file (0.5), or absolute (5MB).",
    ),
]
Table = Annotated[
    Path | None,
    typer.Option(
        "--latency-table",
        metavar="FILE",
        show_default=False,
        help="What `graphprune profile` measured, here or elsewhere. Default: it is measured now.",
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        show_default=False,
        help="Unlabelled inputs to look at: a folder of images or a zip of one, a .npz, .npy or "
        ".safetensors file of tensors, or package.module:callable, which returns an iterable.",
    ),
]
Mean = Annotated[
    str,
    typer.Option(
        "--mean",
        metavar="R,G,B",
        show_default=False,
        help="For images: mean of each channel, of pixels from 0 to 1.",
    ),
]
Std = Annotated[
    str,
    typer.Option(
        "--std",
        metavar="R,G,B",
        show_default=False,
        help="For images: standard deviation likewise.",
    ),
]
Size = Annotated[
    str,
    typer.Option(
        "--image-size",
        metavar="H,W",
        show_default=False,
        help="For images: scaled to cover this, the centre cropped. Default: the model's input.",
    ),
]
Crop = Annotated[
    float,
    typer.Option(
        "--crop",
        metavar="SHARE",
        min=0,
        max=1,
        help="For images: share that the cropped centre has; 0.875 for 224 of 256 pixels.",
    ),
]
Interpolation = Annotated[
    str,
    typer.Option(
        "--interpolation",
        metavar="FILTER",
        help="For images: the filter they are scaled with, such as bilinear, bicubic or lanczos.",
    ),
]
Samples = Annotated[
    int, typer.Option(metavar="N", min=1, help="How many samples of --data to take.")
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Draws the samples.")]
MaxDrop = Annotated[
    str,
    typer.Option(
        "--max-drop",
        metavar="POINTS",
        show_default=False,
        help="Instead of a budget: the smallest network whose accuracy on --val drops by at most "
        "this (1%, 0.01). Budgets are bisected, and each is a whole run.",
    ),
]
Val = Annotated[
    str,
    typer.Option(
        "--val",
        metavar="DATA",
        show_default=False,
        help="Labelled inputs for --max-drop: a folder or zip with one folder of images for each "
        "class, in alphabetical order or named by the classes' numbers; an .npz file of x and y; or package.module:callable, which "
        "returns an iterable of pairs.",
    ),
]
Recover = Annotated[
    str,
    typer.Option(
        "--recover",
        metavar="HOW",
        show_default=False,
        help="Give back accuracy: with --data, ls refits all layers (the default) or bn only BatchNorm "
        "statistics; without, merge lets kept channels stand in for removed ones; none does nothing.",
    ),
]
Distil = Annotated[
    str,
    typer.Option(
        "--distil",
        "--distill",
        metavar="STEPS|TIME",
        show_default=False,
        help="Train on --data towards the dense model's outputs: 2000 steps, or 5m, 90s, 1h.",
    ),
]
Finetune = Annotated[
    int | None,
    typer.Option(
        "--finetune",
        metavar="EPOCHS",
        min=1,
        show_default=False,
        help="Train a classifier on --train, towards the labels and the dense model's outputs.",
    ),
]
Train = Annotated[
    str,
    typer.Option(
        "--train",
        metavar="DATA",
        show_default=False,
        help="Labelled inputs for --finetune, as for --val. They are --data too, where there is none.",
    ),
]
Augment = Annotated[
    str,
    typer.Option(
        "--augment",
        metavar="NAMES",
        show_default=False,
        help="Changes of inputs while training: flip and crop (images), mix (any floats), as "
        "flip,crop.",
    ),
]
ScoreName = Annotated[
    str,
    typer.Option(
        "--score",
        metavar="NAME",
        show_default=False,
        help="Importance of channels: l1, l2, bn-scale, lamp, fpgm, spline, synflow or random; with "
        "--data also obs, variance, hrank, taylor, obd, fisher or snip. Default: obs with --data, "
        "else l2.",
    ),
]
Allocator = Annotated[
    str,
    typer.Option(
        "--allocate",
        metavar="NAME",
        help="How widths are chosen: dp (with a certificate), uniform, erk, pq-index, "
        "global_threshold or random_search.",
    ),
]
RoundTo = Annotated[
    str,
    typer.Option(
        metavar="N|fast|auto",
        help="Widths are multiples of N, or stay whole; fast: of 16, 8 or 4 where that costs little; auto: by a latency "
        "table; 1: any.",
    ),
]
MinChannels = Annotated[int, typer.Option(metavar="N", help="No group keeps fewer channels.")]
MaxCut = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        show_default=False,
        help="No group loses a larger share of its channels. By default seven eighths if there is no data and "
        "the budget allows it.",
    ),
]
Protect = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PATTERN",
        show_default=False,
        help="Groups or parameters to leave whole, as 'layer1.*'; may be repeated.",
    ),
]
KeepClass = Annotated[
    bool,
    typer.Option(
        help="Only widths that the code of the model's class follows, even if none meets the budget."
    ),
]
Lossless = Annotated[
    bool,
    typer.Option(
        "--lossless",
        help="Remove channels that go with no loss, as the weights prove it: zero, constant, "
        "duplicates, linear combinations. Alone, or before a budget.",
    ),
]
Uniform = Annotated[
    list[str] | None,
    typer.Option(
        "--uniform",
        metavar="PATTERN,...",
        show_default=False,
        help="Groups that keep equally many channels, each its own best ones, as "
        "'*.mlp.fc1'; may be repeated, for a width of their own.",
    ),
]
KeepConfig = Annotated[
    bool | None,
    typer.Option(
        "--keep-config/--no-keep-config",
        show_default=False,
        help="Only widths that the model's config can state, found by trying its fields; FOLDER/hf is written then. "
        "Default: for a folder of the transformers library.",
    ),
]
Depth = Annotated[
    bool,
    typer.Option(
        "--depth/--no-depth",
        show_default=False,
        help="Remove whole branches too, such as residual blocks, where that costs least. Default: --no-depth.",
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
PlanFile = Annotated[
    Path | None, typer.Option("--plan", metavar="FILE", show_default=False, help="A plan to use.")
]
Force = Annotated[bool, typer.Option("--force", help="Replace an earlier result.")]

Threads = Annotated[
    str,
    typer.Option(
        "--threads",
        metavar="N,...",
        help="Threads that one operator may use; 0: as many as onnxruntime takes by itself.",
    ),
]
Provider = Annotated[
    str,
    typer.Option(
        "--provider", metavar="NAME", help="onnxruntime's execution provider: CPU, CUDA, ..."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]
Verbose = Annotated[
    int,
    typer.Option(
        "-v",
        "--verbose",
        count=True,
        show_default=False,
        help="Say what is being done; -vv: say more.",
    ),
]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")]
