"""Draw accuracy over FLOPs from the measured rows of ``accuracy.py``.

    python benchmarks/plot_accuracy.py

Reads ``results/accuracy.json`` and writes ``docs/img/accuracy.png``: networks without training, one
panel for each ResNet. Methods that were given the same treatment have the same colour. Needs matplotlib.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

__all__ = ["plot"]

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "accuracy.json"
PLOT = ROOT / "docs" / "img" / "accuracy.png"
PANELS = {"resnet20": "ResNet-20", "resnet56": "ResNet-56"}

STYLES: Mapping[str, Mapping[str, Any]] = {
    "graphprune": {"color": "#1f5fbf", "linewidth": 2.6, "marker": "o"},
    "torch-pruning magnitude + BN": {"color": "#d9730d", "marker": "s"},
    "torch-pruning taylor + BN": {"color": "#d9730d", "marker": "^", "linestyle": "--"},
    "torch-pruning hessian + BN": {"color": "#d9730d", "marker": "D", "linestyle": ":"},
    "graphprune, weights alone": {
        "color": "#1f5fbf",
        "marker": "o",
        "linestyle": "--",
        "alpha": 0.6,
    },
    "torch-pruning magnitude": {"color": "#8a8a8a", "marker": "s"},
    "torch-pruning taylor": {"color": "#8a8a8a", "marker": "^", "linestyle": "--"},
    "torch-pruning hessian": {"color": "#8a8a8a", "marker": "D", "linestyle": ":"},
}
"""Method -> style of its line, in the order of the legend."""

LABELS = {
    "graphprune": "graphprune, with --data",
    "graphprune, weights alone": "graphprune, without data",
    **{
        f"torch-pruning {criterion}{suffix}": f"Torch-Pruning, {title}{note}"
        for criterion, title in (
            ("magnitude", "magnitude"),
            ("taylor", "Taylor"),
            ("hessian", "Hessian"),
        )
        for suffix, note in ((" + BN", ", BN re-estimated"), ("", ""))
    },
}


def plot(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw accuracy over FLOPs.

    Args:
        rows: the rows of ``accuracy.py``: ``flops`` and ``accuracy`` are fractions.
        path: the image to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(PANELS), figsize=(9, 4.2), sharey=True)
    for axis, (model, title) in zip(axes, PANELS.items(), strict=True):
        own = [row for row in rows if row["model"] == model and not row["minutes"]]
        for method, style in reversed(STYLES.items()):
            points = sorted((r["flops"], r["accuracy"]) for r in own if r["method"] == method)
            x, y = zip(*points, (1.0, own[0]["dense"]), strict=True)
            axis.plot(
                [100 * v for v in x],
                [100 * v for v in y],
                label=LABELS[method],
                **{"linewidth": 1.3, "markersize": 4.5, **style},
            )
        axis.set(title=title, xlabel="FLOPs kept, %", xlim=(102, 33), ylim=(0, 100))
        axis.grid(visible=True, alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("top-1 accuracy, %, no training")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(
        handles[::-1], labels[::-1], loc="lower center", ncols=3, fontsize="small", frameon=False
    )
    figure.tight_layout(rect=(0, 0.15, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    with Image.open(path) as picture:
        picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=64).save(path, optimize=True)


def main() -> None:
    """Draw the rows that were measured."""
    plot(list(json.loads(RESULTS.read_text("utf-8")).values()), PLOT)


if __name__ == "__main__":
    main()
