"""Report: what was asked, what was done, and what was checked. Plain data, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["FORMAT", "GroupWidth", "Report", "Size"]

FORMAT = "graphprune.report/1"


@dataclass(frozen=True)
class Size:
    """What a model costs: per sample, where its batch is dynamic.

    Attributes:
        macs: multiply-accumulates; FLOPs are twice as many.
        params: elements of parameters.
        weight_bytes: bytes of parameters and buffers.
        activation_bytes: bytes of all operator results together.
    """

    macs: float
    params: float
    weight_bytes: float
    activation_bytes: float


@dataclass(frozen=True)
class GroupWidth:
    """One group's channels before and after."""

    id: str
    before: int
    after: int
    axes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """The whole run. Every number that is printed is a field of this.

    Attributes:
        model: what was compressed.
        before: dense costs.
        after: costs of the smaller model.
        budget: what was asked, what bound that is, what was reached, whether it is met.
        allocation: the allocator, its distortion, lower bound and certified gap.
        groups: widths.
        inexact: ``group``, ``operator`` and ``where`` of every statistic that lost channels which
            zero parameters don't silence; see ``allow_inexact``.
        frozen: channels that can't be cut and why; see ``explain.Frozen``.
        unknown_operators: calls without a rule: ``operator``, ``where`` and ``macs_share``.
        oracle: error against the masked original in float64, and the tolerance.
        eager: whether the user's class came back, and why not.
        calibration: ``source``, ``samples`` used and files ``skipped``; empty without such data.
        distilled: held-out error ``before`` and ``after``, ``steps``, ``seconds``; else empty.
        search: under a bound on the drop of accuracy: ``max_drop``, accuracy of the ``dense``
            model and of this one, all ``probes``; else empty.
        batchnorm: BatchNorm calls before and after folding.
        onnx: error of onnxruntime against PyTorch, and the tolerance; empty if not exported.
        source: ``file`` and ``bytes`` of the dense model; empty if it came from memory.
        files: name -> bytes, of what was written.
        recovery: ``method``, relative squared error of the outputs on data kept aside ``before``
            and ``after``, and how many ``layers`` were looked at and ``refitted``; empty
            without calibration data.
        notes: what the user should know.
        seconds: per stage.
        versions: of graphprune and torch.
    """

    model: str
    before: Size
    after: Size
    budget: Mapping[str, Any]
    allocation: Mapping[str, Any]
    groups: tuple[GroupWidth, ...]
    inexact: tuple[Mapping[str, Any], ...]
    frozen: tuple[Mapping[str, Any], ...]
    unknown_operators: tuple[Mapping[str, Any], ...]
    oracle: Mapping[str, Any]
    eager: Mapping[str, Any]
    calibration: Mapping[str, Any] = field(default_factory=dict)
    distilled: Mapping[str, float] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    batchnorm: Mapping[str, int] = field(default_factory=dict)
    onnx: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    recovery: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """One JSON document with a ``format`` key."""
        return json.dumps({"format": FORMAT} | asdict(self), indent=2) + "\n"
