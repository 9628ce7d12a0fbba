"""The report of a run: what was asked, what was done and what was checked. Plain data, JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = [
    "FORMAT",
    "LAYERS",
    "DistortionCurve",
    "FileSizes",
    "GroupWidth",
    "LayerCost",
    "Report",
    "Size",
]

FORMAT = "graphprune.report/1"

LAYERS = 2000
"""Most layers that a report lists; the cheapest of a larger network are added up in the last."""


@dataclass(frozen=True)
class Size:
    """The costs of a model, per sample if its batch is dynamic.

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
class FileSizes:
    """The file of the dense model beside the smaller one of the same form, in bytes.

    Attributes:
        dense: name of the dense file.
        before: its size.
        small: name of the smaller one.
        after: its size.
    """

    dense: str
    before: int
    small: str
    after: int


@dataclass(frozen=True)
class GroupWidth:
    """The channels of one group before and after.

    Attributes:
        id: its name.
        before: channels in the dense model.
        after: channels that are kept.
        axes: parameter axes it lies in, ``name:dim``.
    """

    id: str
    before: int
    after: int
    axes: tuple[str, ...]


@dataclass(frozen=True)
class LayerCost:
    """One call that multiplies, such as a convolution or an attention.

    Attributes:
        name: the module its weight is in, or the name of the call.
        operator: what is called, ``aten.conv2d.default``.
        where: the user's source line, or ``""``.
        before: its multiply-accumulates in the dense model, per sample.
        after: the same in the smaller model.
        reads: groups that it sums over.
        makes: groups that its result has.
        reads_frozen: numbers of the entries of ``Report.frozen`` that it sums over.
        makes_frozen: numbers of those that its result has.
    """

    name: str
    operator: str
    where: str
    before: float
    after: float
    reads: tuple[str, ...] = ()
    makes: tuple[str, ...] = ()
    reads_frozen: tuple[int, ...] = ()
    makes_frozen: tuple[int, ...] = ()


@dataclass(frozen=True)
class DistortionCurve:
    """What cutting one group costs, by the criterion; the scale is the same for all groups.

    Attributes:
        group: its name.
        widths: numbers of channels kept, ascending; the one that was chosen is among them.
        distortion: of each.
    """

    group: str
    widths: tuple[int, ...]
    distortion: tuple[float, ...]


@dataclass(frozen=True)
class Report:
    """Everything that a run was asked for, did and checked.

    Every number that ``graphprune compress`` prints is a field of this.

    Attributes:
        model: what was compressed.
        before: dense costs.
        after: costs of the smaller model.
        budget: the first ``cost`` that was bounded, what was ``asked``, what ``bound`` that is, what
            was ``reached``, the ``dense`` cost, and whether all budgets are ``met``.
        budgets: the same for each of them.
        allocation: the allocator, its distortion, lower bound and certified gap.
        groups: widths.
        inexact: ``group``, ``operator`` and ``where`` of every statistic that lost channels which
            zero parameters don't silence; see ``allow_inexact``.
        frozen: channels that can't be cut and why; see ``analysis.frozen.Frozen``.
        unknown_operators: calls without a rule: ``operator``, ``where`` and ``macs_share``.
        data_sizes: sizes that depend on values, as one run on the example inputs gave them:
            ``operator`` and ``where`` of the call that makes each, and ``size``.
        traced: error of the dense program against the module, or the ONNX ``file`` in onnxruntime, on other
            inputs, in the model's own precision: ``max_error``, ``tolerance``, what ``rounding`` loses (0 if
            that wasn't needed), ``batches``, the ``reference`` and a ``note``; empty if there was neither.
        oracle: error against the masked original in float64, and the tolerance; ``blind`` where no output depends on the
            weights for the inputs that were tried, so that it says nothing.
        lossless: where channels that go with no loss were looked for: ``max_error`` against the dense
            program in float64, ``tolerance`` and ``batches`` of the proof; ``stored_error``: the same
            error with weights rounded to the model's own type; ``of``: what was compared, the ``cut``
            program, or ``freed`` where a budget follows: the dense one in which nothing reads them; and ``groups``, with the
            number of channels for each reason; else empty.
        eager: whether the user's class came back (``own_class``), or the ``reason`` why not; its
            ``max_error`` against the cut program, the ``tolerance``, and the ``precision`` in which they
            were compared. Older reports have neither of the last two: it was 1e-9, in float64.
        calibration: ``source``, ``samples`` used and files ``skipped``; empty without such data.
        distilled: held-out error ``before`` and ``after``, ``steps``; else empty.
        finetuned: of training with labels, on samples that were held out: cross-entropy ``before`` and ``after``,
            ``accuracy_before`` and ``accuracy_after``; ``epochs``, ``steps`` and labelled ``samples``; else empty.
        search: under a bound on the drop of accuracy: ``max_drop``, accuracy of the ``dense``
            model and of this one, all ``probes``; else empty.
        batchnorm: BatchNorm calls before and after folding.
        onnx: error of onnxruntime against the cut program, as in ``traced``; ``fp16_error`` and
            ``fp16_tolerance``, if that was asked for; empty if not exported.
        pretrained: of a folder of the transformers library: error of what is read from it against the smaller program, the
            tolerance, and the values of its ``config`` that changed; empty if none was written.
        source: ``file`` and ``bytes`` of the dense model; empty if it came from memory.
        files: name -> bytes, of what was written, but for the report itself.
        recovery: ``method``, relative squared error of the outputs on held-out data ``before``
            and ``after``, and how many ``layers`` were looked at and ``refitted``; empty
            without calibration data. ``fits`` has an entry for each layer that was looked at:
            its squared error on the held-out data ``before`` and ``after``, and whether it was
            ``refitted``. ``left``: names of the weights that lost inputs and can't be refitted.
            ``scale``: what class scores were multiplied with after that, 1 for other outputs.
        settings: ``score`` and ``recover``, by name.
        layers: what costs MACs, in program order; at most ``LAYERS`` of them.
        curves: distortion by width of each group, sampled; none if a plan was given.
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
    data_sizes: tuple[Mapping[str, Any], ...] = ()
    budgets: tuple[Mapping[str, Any], ...] = ()
    traced: Mapping[str, Any] = field(default_factory=dict)
    lossless: Mapping[str, Any] = field(default_factory=dict)
    calibration: Mapping[str, Any] = field(default_factory=dict)
    distilled: Mapping[str, float] = field(default_factory=dict)
    finetuned: Mapping[str, float] = field(default_factory=dict)
    search: Mapping[str, Any] = field(default_factory=dict)
    batchnorm: Mapping[str, int] = field(default_factory=dict)
    onnx: Mapping[str, Any] = field(default_factory=dict)
    pretrained: Mapping[str, Any] = field(default_factory=dict)
    source: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    recovery: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[LayerCost, ...] = ()
    curves: tuple[DistortionCurve, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def file_sizes(self) -> FileSizes | None:
        """The dense file and the one of its form that was written, weights or a program, if there are both."""
        if not self.source:
            return None
        name = "model.pt2" if self.source["file"].endswith(".pt2") else "model.pt"
        if name not in self.files:
            return None
        return FileSizes(self.source["file"], self.source["bytes"], name, self.files[name])

    def to_json(self) -> str:
        """Write one JSON document with a ``format`` key, one line for each entry of a list."""
        content = {"format": FORMAT} | asdict(self)
        lines = [f"  {json.dumps(key)}: {_laid_out(value)}" for key, value in content.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"


def _laid_out(value: Any) -> str:
    if isinstance(value, list | tuple) and value:
        return "[\n    " + ",\n    ".join(map(json.dumps, value)) + "\n  ]"
    return json.dumps(value)
