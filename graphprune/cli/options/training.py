"""Declare how accuracy is given back: refits and training."""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = [
    "Augment",
    "Distil",
    "Finetune",
    "Recover",
    "Train",
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
