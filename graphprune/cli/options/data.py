"""Declare the data that a command looks at, and how images are prepared."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "Crop",
    "Data",
    "Interpolation",
    "Mean",
    "Samples",
    "Seed",
    "Size",
    "Std",
    "Val",
]

Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="DATA",
        show_default=False,
        help="Unlabelled inputs to look at: a folder of images or a zip of one, a .npz, .npy or "
        ".safetensors file of tensors, a folder that the datasets library saved, or package.module:callable, "
        "which returns an iterable.",
    ),
]
Mean = Annotated[
    str,
    typer.Option(
        "--mean",
        metavar="R,G,B",
        show_default=False,
        help="For images: mean of each channel, of pixels from 0 to 1. Default: what a model of timm or a folder "
        "of transformers says itself.",
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
    float | None,
    typer.Option(
        "--crop",
        metavar="SHARE",
        min=0,
        max=1,
        show_default=False,
        help="For images: share that the cropped centre has; 0.875 for 224 of 256 pixels. Default: as "
        "for --mean, else 1.",
    ),
]
Interpolation = Annotated[
    str,
    typer.Option(
        "--interpolation",
        metavar="FILTER",
        show_default=False,
        help="For images: the filter they are scaled with, such as bilinear, bicubic or lanczos. Default: as "
        "for --mean, else bilinear.",
    ),
]
Samples = Annotated[
    int, typer.Option(metavar="N", min=1, help="How many samples of --data to take.")
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Draws the samples.")]
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
