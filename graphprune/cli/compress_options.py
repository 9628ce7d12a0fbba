"""Check which options of ``compress`` go together, and what they ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from graphprune.errors import OptionError

from . import option_values

__all__ = ["DEFAULTS", "check_pairs", "given", "wanted"]

DEFAULTS: Mapping[str, Any] = {
    "score": None,
    "allocate": "dp",
    "round_to": "fast",
    "min_channels": 1,
    "max_cut": None,
    "protect": (),
    "keep_class": False,
    "any_width": False,
    "uniform": (),
    "keep_config": False,
    "depth": None,
    "allow_inexact": False,
    "lossless": False,
}
"""What the options that choose widths are when they aren't given."""


_WITHOUT_DATA = ("none", "merge")
"""Ways to recover that take no data."""


def wanted(
    budgets: dict[str, str], max_drop: str, *, lossless: bool, outputs: Sequence[str] | None
) -> dict[str, Any]:
    """Collect the budgets, or the allowed drop of accuracy, as keyword arguments.

    Raises:
        OptionError: unless there is either, or what is lossless or feeds other outputs suffices, and it can be read.
    """
    if not max_drop and not any(budgets.values()):
        if lossless:
            return {}
        if outputs:
            return {"flops": 1.0}  # outputs of an ONNX file are gone once it is read
    if not max_drop:
        return option_values.budgets(**budgets)
    also = [f"--{name}" for name, amount in budgets.items() if amount]
    if also:
        raise OptionError(f"--max-drop decides the budget; leave out {', '.join(also)}")
    from graphprune.workflow.accuracy_search import parse_drop

    return {"max_drop": parse_drop(max_drop)}


def check_pairs(
    *,
    max_drop: str,
    val: str,
    augment: str,
    distil: str,
    finetune: int | None,
    train: str,
    data: str,
    recover: str,
    onnx: bool,
    opset: int | None,
    fp16: bool,
    device: str,
) -> None:
    """Refuse options that mean nothing without another; their values are as they were given.

    Raises:
        OptionError: with both names.
    """
    for name, value, other, needed in (
        ("--max-drop", max_drop, "--val", val),
        ("--val", val, "--max-drop", max_drop),
        ("--augment", augment, "--distil or --finetune", distil or finetune),
        ("--finetune", finetune, "--train", train),
        ("--train", train, "--finetune", finetune),
        ("--distil", distil, "--data", data),
        ("--recover", recover not in ("", *_WITHOUT_DATA), "--data", data or train),
        ("--device", device, "--data, --train or --val", data or train or val),
        ("--opset", opset, "the ONNX file", onnx),
        ("--fp16", fp16, "the ONNX file", onnx),
    ):
        if value and not needed:
            raise OptionError(f"{name} needs {other}")


def given(path: Path, limits: dict[str, Any], *, budget: bool) -> dict[str, Any]:
    """Read a plan as keyword arguments; nothing else may ask for widths.

    Args:
        path: of the plan.
        limits: the options that choose widths, as in ``DEFAULTS``.
        budget: whether there is a budget too, or an allowed drop of accuracy.

    Raises:
        OptionError: if an option would be ignored, or the plan can't be read.
    """
    ignored = [name for name, value in limits.items() if value != DEFAULTS[name]]
    if budget or ignored:
        names = ["a budget"] * bool(budget) + [f"--{n.replace('_', '-')}" for n in ignored]
        raise OptionError(f"--plan decides already; leave out {', '.join(names)}")
    return {"plan": option_values.plan(path)}
