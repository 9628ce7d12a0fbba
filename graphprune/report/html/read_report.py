"""Read reports from files, which may contain anything."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from graphprune.errors import LoadError
from graphprune.io.strict_json import parsed, read_text
from graphprune.report.report import (
    FORMAT,
    LAYERS,
    DistortionCurve,
    GroupWidth,
    LayerCost,
    Report,
    Size,
)

__all__ = ["MAX_BYTES", "read"]

MAX_BYTES = 1 << 26
"""Largest size of a report, in bytes; those of the largest networks that were tried have less than a million."""

_LARGEST = 1e300

Shape = Any
"""What a value must look like.

A type, where numbers aren't negative; ``[shape]``: a list of such; a mapping of names: exactly
these keys; ``{str: shape}``: any keys; ``(shape, ...)``: one of these; ``{}``: an empty object.
"""

_NUMBER = float
_SIGNED = complex
"""Shape of a number that may be negative, as a drop that is a gain."""
_NAMES, _NUMBERS = [str], {str: _NUMBER}
_COST = {"macs": _NUMBER, "params": _NUMBER, "weight_bytes": _NUMBER, "activation_bytes": _NUMBER}
_MAYBE = (_NUMBER, None)
_FIT = {"layer": str, "before": _NUMBER, "after": _NUMBER, "refitted": bool}
_BUDGET = {
    "cost": str,
    "asked": _NUMBER,
    "bound": _NUMBER,
    "reached": _NUMBER,
    "dense": _NUMBER,
    "met": bool,
}
_EAGER = {"own_class": bool, "reason": str, "max_error": _MAYBE}
_LOSSLESS = {
    "of": str,
    "max_error": _NUMBER,
    "stored_error": _NUMBER,
    "tolerance": _NUMBER,
    "batches": [int],
    "groups": [
        {
            "group": str,
            "unread": int,
            "zero": int,
            "constant": int,
            "duplicate": int,
            "combination": int,
        }
    ],
}
_RECOVERY = {
    "method": str,
    "before": _NUMBER,
    "after": _NUMBER,
    "refitted": int,
    "layers": int,
    "fits": [_FIT],
    "left": _NAMES,
}
_ONNX = {"max_error": _NUMBER, "tolerance": _NUMBER, "rounding": _NUMBER, "batches": [int]}
_ORACLE = {"max_error": _NUMBER, "tolerance": _NUMBER, "batches": [int]}
_PROBE = (
    {"budget": _NUMBER, "cost": _NUMBER, "accuracy": _NUMBER, "drop": _SIGNED, "holds": bool},
    {"budget": _NUMBER, "cost": None, "accuracy": None, "drop": None, "holds": bool},
)

_SHAPES: Mapping[str, Shape] = {
    "model": str,
    "before": _COST,
    "after": _COST,
    "budget": _BUDGET,
    "budgets": [_BUDGET],
    "allocation": {
        "method": str,
        "distortion": _SIGNED,
        "lower_bound": (_SIGNED, None),
        "gap": (_SIGNED, None),
    },
    "groups": [{"id": str, "before": int, "after": int, "axes": _NAMES}],
    "inexact": [{"group": str, "operator": str, "where": str}],
    "frozen": [
        {
            "reason": str,
            "operator": str,
            "where": str,
            "axes": _NAMES,
            "channels": int,
            "macs_share": _NUMBER,
            "unknown": bool,
        }
    ],
    "unknown_operators": [{"operator": str, "where": str, "macs_share": _NUMBER}],
    "data_sizes": [{"operator": str, "where": str, "size": int}],
    "oracle": (_ORACLE, _ORACLE | {"blind": bool}),
    "traced": (
        {},
        _ONNX | {"reference": str, "note": str},
    ),
    "lossless": ({}, _LOSSLESS),
    "eager": (_EAGER, _EAGER | {"tolerance": _NUMBER, "precision": str}),
    "calibration": ({}, {"source": str, "samples": int, "skipped": int}),
    "distilled": ({}, {"before": _NUMBER, "after": _NUMBER, "steps": int}),
    "finetuned": (
        {},
        {
            **dict.fromkeys(("before", "after", "accuracy_before", "accuracy_after"), _NUMBER),
            **dict.fromkeys(("epochs", "steps", "samples"), int),
        },
    ),
    "search": (
        {},
        {"max_drop": _NUMBER, "dense": _NUMBER, "accuracy": _NUMBER, "probes": [_PROBE]},
    ),
    "batchnorm": ({}, {"before": int, "after": int}),
    "onnx": ({}, _ONNX, _ONNX | {"fp16_error": _NUMBER, "fp16_tolerance": _NUMBER}),
    "pretrained": ({}, {"max_error": _NUMBER, "tolerance": _NUMBER, "config": _NUMBERS}),
    "source": ({}, {"file": str, "bytes": int}),
    "files": {str: int},
    "recovery": ({}, _RECOVERY, _RECOVERY | {"scale": _NUMBER}),
    "settings": {str: str},
    "layers": [
        {
            "name": str,
            "operator": str,
            "where": str,
            "before": _NUMBER,
            "after": _NUMBER,
            "reads": _NAMES,
            "makes": _NAMES,
            "reads_frozen": [int],
            "makes_frozen": [int],
        }
    ],
    "curves": [{"group": str, "widths": [int], "distortion": [_SIGNED]}],
    "notes": _NAMES,
    "seconds": _NUMBERS,
    "versions": {str: str},
}


def read(path: Path) -> Report:
    """Read the report in an output folder.

    Args:
        path: the folder, or a report.json.

    Raises:
        LoadError: if there is none, or it isn't one of this version.
    """
    file = path / "report.json" if path.is_dir() else path
    if not file.is_file():
        raise LoadError(f"no such file: {file}", hint="give folders that compress wrote")
    data = parsed(read_text(file, MAX_BYTES, LoadError), MAX_BYTES, LoadError, str(file))
    if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
        raise LoadError(f"{file} is not a report", hint=f"this version reads {FORMAT}")
    missing = {f.name for f in fields(Report)} ^ data.keys()
    if missing or set(data) != set(_SHAPES):
        raise LoadError(f"{file} is of another version", hint="run compress again")
    for name, shape in _SHAPES.items():
        if not _fits(data[name], shape):
            raise LoadError(f"{file}: {name} can't be read")
    report = _report(data)
    if not _is_consistent(report):
        raise LoadError(f"{file} contradicts itself")
    return report


def _fits(value: Any, shape: Shape) -> bool:
    if isinstance(shape, tuple):
        return any(_fits(value, each) for each in shape)
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(each, shape[0]) for each in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and _entries_fit(value, shape)
    return _is_one(value, shape)


def _entries_fit(value: dict[str, Any], shape: dict[Any, Shape]) -> bool:
    if str in shape:
        return all(_fits(each, shape[str]) for each in value.values())
    return value.keys() == shape.keys() and all(_fits(value[key], shape[key]) for key in shape)


def _is_one(value: Any, kind: type | None) -> bool:
    if kind is None:
        return value is None
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if kind is _SIGNED:
        return isinstance(value, int | float) and abs(value) < _LARGEST
    if kind is _NUMBER:
        return isinstance(value, int | float) and 0 <= value < _LARGEST
    return isinstance(value, kind) and (kind is not int or 0 <= value < _LARGEST)


def _is_consistent(report: Report) -> bool:
    """Whether the pages can divide by, or look up, what they need to."""
    return (
        all(group.after <= group.before > 0 for group in report.groups)
        and all(len(curve.widths) == len(curve.distortion) for curve in report.curves)
        and bool(report.budgets)
        and all(b["dense"] > 0 for b in report.budgets)
        and len(report.layers) <= LAYERS
        and not (report.eager["own_class"] and report.eager["max_error"] is None)
    )


def _report(data: dict[str, Any]) -> Report:
    made: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
    }
    made["before"], made["after"] = Size(**data["before"]), Size(**data["after"])
    made["groups"] = tuple(GroupWidth(**_tuples(entry)) for entry in data["groups"])
    made["layers"] = tuple(LayerCost(**_tuples(entry)) for entry in data["layers"])
    made["curves"] = tuple(DistortionCurve(**_tuples(entry)) for entry in data["curves"])
    return Report(**made)


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
