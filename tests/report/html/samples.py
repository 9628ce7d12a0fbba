"""Reports made by hand, with something in every section."""

from __future__ import annotations

import dataclasses
from typing import Any

from graphprune.report.report import DistortionCurve, GroupWidth, LayerCost, Report, Size

HOSTILE = (
    "</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)><b>&lt;%{customdata[0]}"
    "{{ 7 * 7 }}<a href='javascript:alert(3)'>&amp;\u202e\x1b]0;\u2028`${alert(4)}--><!--"
)
"""What a module path or a source line in a model's file may hold."""


BUDGET = {
    "cost": "macs",
    "asked": 0.5,
    "bound": 2.24e6,
    "reached": 2.24e6,
    "dense": 4.48e6,
    "met": True,
}


def full(**changes: Any) -> Report:
    """A run with a residual stream, a block, a frozen input and output, and all that followed."""
    report = Report(
        model="Net",
        before=Size(4.48e6, 175_500, 702_000, 120_000),
        after=Size(2.24e6, 102_500, 410_000, 90_000),
        budget=BUDGET,
        budgets=(BUDGET,),
        allocation={"method": "dp", "distortion": 1.854, "lower_bound": 1.85, "gap": 0.0021},
        groups=(
            GroupWidth("stem", 16, 12, ("stem.weight:0", "block.a.weight:1", "fc.weight:1")),
            GroupWidth("block.a", 32, 8, ("block.a.weight:0", "block.b.weight:1")),
        ),
        inexact=({"group": "block.a", "operator": "aten.layer_norm.default", "where": "net.py:9"},),
        frozen=(
            {
                "reason": "model input x",
                "operator": "placeholder",
                "where": "",
                "axes": ("stem.weight:1",),
                "channels": 3,
                "macs_share": 0.1,
                "unknown": False,
            },
            {
                "reason": "model output",
                "operator": "output",
                "where": "net.py:31",
                "axes": ("fc.weight:0",),
                "channels": 10,
                "macs_share": 0.02,
                "unknown": False,
            },
        ),
        unknown_operators=(
            {"operator": "aten.bucketize.Tensor", "where": "net.py:14", "macs_share": 0.03},
        ),
        oracle={"max_error": 1.4e-15, "tolerance": 1e-9, "batches": [2, 3]},
        eager={"own_class": True, "reason": "", "max_error": 0.0},
        calibration={"source": "images", "samples": 512, "skipped": 1},
        traced={
            "max_error": 0.0,
            "tolerance": 1e-4,
            "rounding": 0.0,
            "batches": [2, 3],
            "reference": "module",
            "note": "",
        },
        distilled={"before": 0.1, "after": 0.05, "steps": 200},
        search={
            "max_drop": 0.01,
            "dense": 0.98,
            "accuracy": 0.975,
            "probes": (
                {"budget": 0.5, "cost": 0.499, "accuracy": 0.975, "drop": 0.005, "holds": True},
                {"budget": 0.25, "cost": 0.249, "accuracy": 0.9, "drop": 0.08, "holds": False},
                {"budget": 0.1, "cost": None, "accuracy": None, "drop": None, "holds": False},
            ),
        },
        batchnorm={"before": 10, "after": 0},
        onnx={"max_error": 3.6e-7, "tolerance": 1e-4, "rounding": 0.0, "batches": [2, 3]},
        source={"file": "net.pt", "bytes": 726_600},
        files={"model.pt": 437_000, "model.onnx": 419_000},
        recovery={
            "method": "ls",
            "before": 0.31,
            "after": 0.04,
            "refitted": 1,
            "layers": 2,
            "fits": (
                {"layer": "block.a.weight", "before": 2.0, "after": 0.5, "refitted": True},
                {"layer": "fc.weight", "before": 1.0, "after": 1.0, "refitted": False},
            ),
            "left": ("tied.weight",),
        },
        settings={"score": "obs", "recover": "ls"},
        layers=(
            LayerCost(
                "stem", "aten.conv2d.default", "net.py:20", 0.48e6, 0.36e6, (), ("stem",), (0,)
            ),
            LayerCost(
                "block.a", "aten.conv2d.default", "net.py:21", 2e6, 1e6, ("stem",), ("block.a",)
            ),
            LayerCost(
                "block.b",
                "aten.conv2d.default",
                "net.py:22",
                1.9e6,
                0.87e6,
                ("block.a",),
                ("stem",),
            ),
            LayerCost(
                "fc", "aten.linear.default", "net.py:23", 0.1e6, 0.01e6, ("stem",), (), (), (1,)
            ),
        ),
        curves=(
            DistortionCurve("stem", (0, 12, 16), (3.0, 0.4, 0.0)),
            DistortionCurve("block.a", (0, 8, 32), (1.0, 0.3, 0.0)),
        ),
        notes=("calibration was short",),
        versions={"graphprune": "0.1.0", "torch": "2.13.0"},
    )
    return dataclasses.replace(report, **changes)


def poisoned(value: Any) -> Any:
    """The same with every string made hostile, names of things as well as words."""
    if isinstance(value, str):
        return value + HOSTILE
    if isinstance(value, dict):
        return {key: poisoned(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(poisoned, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.replace(
            value,
            **{
                field.name: poisoned(getattr(value, field.name))
                for field in dataclasses.fields(value)
            },
        )
    return value
