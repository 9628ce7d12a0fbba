"""Train a network of this package on 32x32 images and store its checkpoint.

`python -m graphprune.models.train_images mobilenetv2 --train train.zip --val val.zip --out m.pt`
writes `m.pt`, a state dict for `build` with the options of `OPTIONS`, and `m.json`, how it was
made. The archives hold one folder of images for each class, as `train/<class>/<n>.jpg`. The
defaults are meant for about five minutes on two cores and 20,000 images.
"""

from __future__ import annotations

import argparse
import io
import time
import zipfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from . import ALL
from .checkpoint import write
from .digits import Split, evaluate

__all__ = ["OPTIONS", "load_zip", "main", "train"]

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "densenet": {"growth": 8},
    "mobilenetv2": {},
    "vgg": {"image_size": 32},
    "vit": {},
}
"""Networks, and the options of their `build` that differ from its defaults."""

RATES = {"densenet": 5e-3, "mobilenetv2": 5e-3, "vgg": 3e-3, "vit": 1e-3}
"""Highest learning rate of AdamW, by network."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BATCH = 128


def load_zip(path: Path, limit: int | None = None) -> Split:
    """Read the images of an archive, normalised, with their classes.

    Args:
        path: one folder of RGB images of one size for each class.
        limit: take so many, spread evenly; all by default.

    Returns:
        Images `[n, 3, h, w]` and classes `[n]`, the places of their folders in alphabetical order.
    """
    image: Any = import_module("PIL.Image")
    with zipfile.ZipFile(path) as archive:
        names = sorted(n for n in archive.namelist() if not n.endswith("/"))
        classes = sorted({PurePosixPath(name).parent.name for name in names})
        chosen = names if limit is None else names[:: max(1, len(names) // limit)][:limit]
        pixels = [
            np.asarray(image.open(io.BytesIO(archive.read(n))).convert("RGB")) for n in chosen
        ]
    labels = torch.tensor([classes.index(PurePosixPath(n).parent.name) for n in chosen])
    images = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (MEAN, STD))
    return Split((images - mean) / std, labels)


def train(name: str, data: Split, *, epochs: int, seed: int = 0) -> nn.Module:
    """Train a network from scratch, with mirrored and shifted images.

    Args:
        name: a key of `OPTIONS`.
        data: training images and labels.
        epochs: passes over the images.
        seed: seed of the initial weights, the order of the images and their changes.

    Returns:
        The network, in evaluation mode.
    """
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    model = ALL[name].build(**OPTIONS[name]).train()
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.05)
    steps = len(data.labels) // _BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=RATES[name], total_steps=epochs * steps
    )
    for _ in range(epochs):
        order = torch.randperm(len(data.labels))
        for i in range(steps):
            index = order[i * _BATCH : (i + 1) * _BATCH]
            logits = model(_changed(data.images[index]))
            loss = nn.functional.cross_entropy(logits, data.labels[index], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()  # pyright: ignore[reportUnknownMemberType]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()  # pyright: ignore[reportUnknownMemberType]
            schedule.step()
    return model.eval()


def _changed(images: Tensor) -> Tensor:
    """Mirror half of the images, and shift all of a batch by up to 4 pixels."""
    mirrored = (torch.rand(len(images)) < 0.5).view(-1, 1, 1, 1)
    images = torch.where(mirrored, images.flip(3), images)
    padded = nn.functional.pad(images, (4, 4, 4, 4))
    top, left = (int(torch.randint(9, ())) for _ in range(2))
    return padded[:, :, top : top + images.shape[2], left : left + images.shape[3]]


def main(argv: Sequence[str] | None = None) -> None:
    """Train and store the network that the command line names.

    Args:
        argv: command line arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(description="Train a small network on 32x32 images.")
    parser.add_argument("name", choices=sorted(OPTIONS), help="the network")
    parser.add_argument("--train", type=Path, required=True, help="zip archive to train on")
    parser.add_argument("--val", type=Path, required=True, help="zip archive to measure on")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--epochs", type=int, default=12, help="passes over the images")
    parser.add_argument("--limit", type=int, help="train on so many images")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers")
    args = parser.parse_args(argv)
    out: Path = args.out
    training, held_out = load_zip(args.train, args.limit), load_zip(args.val)
    start = time.perf_counter()
    model = train(args.name, training, epochs=args.epochs, seed=args.seed)
    seconds = time.perf_counter() - start
    accuracy = evaluate(model, held_out.images, held_out.labels)
    write(
        model,
        out,
        {
            "network": args.name,
            "options": dict(OPTIONS[args.name]),
            "accuracy": round(accuracy, 4),
            "epochs": args.epochs,
            "seed": args.seed,
            "seconds": round(seconds),
            "train_images": len(training.labels),
            "held_out_images": len(held_out.labels),
        },
    )
    print(f"held-out accuracy {accuracy:.2%} after {seconds:.0f} s, wrote {out}")  # noqa: T201


if __name__ == "__main__":
    main()
