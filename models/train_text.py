"""Train the small language model on text that comes with Python, and store its checkpoint.

`python -m graphprune.models.train_text --out gpt.pt` writes `gpt.pt`, a state dict for `gpt.build()`, and
`gpt.json`, how it was made. A tenth of the documents is held out. The defaults are meant for about
a quarter of an hour on one core.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from . import gpt
from .checkpoint import write
from .python_text import chunks, documents, split

__all__ = ["cross_entropy", "main", "train"]

_BATCH, _RATE = 32, 3e-3
_MEASURED = 200
"""Rows of held-out text that are measured."""


def train(rows: Tensor, *, steps: int, seed: int = 0) -> nn.Module:
    """Train a language model from scratch.

    Args:
        rows: text `[n, t]`, as `python_text.chunks` makes it.
        steps: batches of 32 rows.
        seed: seed of the initial weights and the order of the rows.

    Returns:
        The network, in evaluation mode.
    """
    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    model = gpt.build().train()
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=_RATE, total_steps=steps, pct_start=0.1
    )
    for _ in range(steps):
        batch = rows[torch.randint(len(rows), (_BATCH,))]
        optimizer.zero_grad()
        _loss(model, batch).backward()  # pyright: ignore[reportUnknownMemberType]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()  # pyright: ignore[reportUnknownMemberType]
        schedule.step()
    return model.eval()


def cross_entropy(model: nn.Module, rows: Tensor) -> float:
    """Measure the cross-entropy of the next character, in nats; its exponential is the perplexity.

    Args:
        model: from `[n, t]` to scores `[n, t, vocabulary]`.
        rows: text `[n, t]`.
    """
    with torch.no_grad():
        losses = [float(_loss(model, part)) * len(part) for part in rows.split(_BATCH)]
    return sum(losses) / len(rows)


def _loss(model: nn.Module, rows: Tensor) -> Tensor:
    scores = model(rows)[:, :-1]
    return nn.functional.cross_entropy(scores.flatten(0, 1), rows[:, 1:].flatten())


def main(argv: Sequence[str] | None = None) -> None:
    """Train and store the network.

    Args:
        argv: command line arguments; those of the process by default.
    """
    parser = argparse.ArgumentParser(description="Train a small language model on Python's text.")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    parser.add_argument("--steps", type=int, default=800, help="batches of 32 rows")
    parser.add_argument("--seed", type=int, default=0, help="seed of all random numbers")
    args = parser.parse_args(argv)
    out: Path = args.out
    length = gpt.example_inputs()[0].shape[1]
    rows, held_out = (chunks(texts, length) for texts in split(documents()))
    start = time.perf_counter()
    model = train(rows, steps=args.steps, seed=args.seed)
    seconds = time.perf_counter() - start
    nats = cross_entropy(model, held_out[:_MEASURED])
    write(
        model,
        out,
        {
            "network": "gpt",
            "cross_entropy": round(nats, 4),
            "steps": args.steps,
            "seed": args.seed,
            "seconds": round(seconds),
            "train_rows": len(rows),
            "held_out_rows": _MEASURED,
        },
    )
    print(f"held-out cross-entropy {nats:.3f} nats after {seconds:.0f} s, wrote {out}")  # noqa: T201


if __name__ == "__main__":
    main()
