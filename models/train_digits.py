"""Train the network for digits and store its checkpoint.

`python -m graphprune.models.train_digits --out digits.pt` writes `digits.pt`, a state dict,
and `digits.json`, how it was made. It takes under a minute on two cores.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from .checkpoint import write
from .digits import DigitsNet, Split, build, evaluate, load_data

__all__ = ["main", "train"]


def train(data: Split, *, epochs: int = 40, seed: int = 0) -> DigitsNet:
    """Train a network from scratch.

    Args:
        data: training images and labels.
        epochs: passes over the images.
        seed: seed of the initial weights and of the order of the images.

    Returns:
        The network, in evaluation mode.
    """
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    generator = torch.Generator().manual_seed(seed)
    model = build().train()
    optimizer = torch.optim.SGD(
        model.parameters(), lr=0.1, momentum=0.9, nesterov=True, weight_decay=5e-4
    )
    batch = 64
    steps = len(data.labels) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.1, total_steps=epochs * steps
    )
    for _ in range(epochs):
        order = torch.randperm(len(data.labels), generator=generator)
        for i in range(steps):
            index = order[i * batch : (i + 1) * batch]
            logits = model(data.images[index])
            loss = nn.functional.cross_entropy(logits, data.labels[index], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()  # pyright: ignore[reportUnknownMemberType]
            optimizer.step()  # pyright: ignore[reportUnknownMemberType]
            schedule.step()
    return model.eval()


def main(argv: Sequence[str] | None = None) -> None:
    """Train the network for digits and store its checkpoint.

    Args:
        argv: command line arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(description="Train the network for digits.")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--epochs", type=int, default=40, help="passes over the images")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers")
    args = parser.parse_args(argv)
    out: Path = args.out
    training, held_out = load_data()
    model = train(training, epochs=args.epochs, seed=args.seed)
    accuracy = evaluate(model, held_out.images, held_out.labels)
    write(
        model,
        out,
        {
            "accuracy": round(accuracy, 4),
            "train_accuracy": round(evaluate(model, training.images, training.labels), 4),
            "epochs": args.epochs,
            "seed": args.seed,
            "train_images": len(training.labels),
            "held_out_images": len(held_out.labels),
        },
    )
    print(f"held-out accuracy {accuracy:.2%}, wrote {out}")  # noqa: T201


if __name__ == "__main__":
    main()
