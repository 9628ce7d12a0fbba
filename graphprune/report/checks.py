"""The chain of proofs as a table: what was compared with what, on which inputs, and how it came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .report import Report

__all__ = ["Check", "checks"]


@dataclass(frozen=True)
class Check:
    """One comparison of the run, and its verdict.

    Attributes:
        what: names of the two sides.
        error: relative to the largest output; ``None`` where nothing was compared.
        tolerance: largest error that is right; ``None`` likewise.
        rounding: what float32 loses on the same inputs, against float64; 0 where it wasn't needed,
            since the error is below what is always allowed.
        inputs: what the two sides were run on.
        more: details in words; why nothing was compared.
    """

    what: str
    error: float | None = None
    tolerance: float | None = None
    rounding: float = 0.0
    inputs: str = ""
    more: str = ""

    @property
    def ok(self) -> bool | None:
        """The verdict; ``None`` where nothing was compared."""
        if self.error is None or self.tolerance is None:
            return None
        return self.error <= self.tolerance


def checks(report: Report) -> list[Check]:
    """List the links of the chain, from what the user gave to the files, and what wasn't compared."""
    return [
        *_dense(report),
        _masked(report),
        *_lossless(report),
        _own_class(report),
        *_pretrained(report),
        *_onnx(report),
    ]


def _dense(report: Report) -> list[Check]:
    """The first link: the dense program against the module or the file that it came from."""
    if not (found := report.traced):
        return []
    source = "onnxruntime" if found["reference"] == "file" else report.model
    inputs = "" if found["note"] else f"like the examples, {_batches(found['batches'])}"
    return [
        Check(f"dense program against {source}", *_errors(found), inputs, more=found["note"]),
    ]


def _masked(report: Report) -> Check:
    """The cut itself, against the dense program with zeros where channels are gone."""
    what, found = "cut program against masked original, float64", report.oracle
    if found.get("blind"):
        return Check(
            what,
            more="the cut program could not be told from another: no output depends on the weights for these inputs",
        )
    inputs = f"random, {_batches(found['batches'])}; then with perturbed weights"
    return Check(what, found["max_error"], found["tolerance"], inputs=inputs)


def _lossless(report: Report) -> list[Check]:
    """What went for nothing, against the dense program itself."""
    if not (found := report.lossless).get("groups"):
        return []
    what = {"cut": "cut program", "freed": "dense program without redundant channels"}
    return [
        Check(
            f"{what[found['of']]} against the dense one, float64",
            found["max_error"],
            found["tolerance"],
            inputs=f"random, {_batches(found['batches'])}",
            more=f"with weights as stored: {found['stored_error']:.1e}",
        )
    ]


def _own_class(report: Report) -> Check:
    if not report.eager["own_class"]:
        why = f"the trainable model is a GraphModule: {report.eager['reason']}"
        return Check("your own class", more=why)
    precision = report.eager.get("precision", "float64")
    tolerance = report.eager.get("tolerance", report.oracle["tolerance"])
    what = f"{report.model} against cut program, {precision}"
    return Check(what, report.eager["max_error"], tolerance, inputs="the same")


def _pretrained(report: Report) -> list[Check]:
    """The folder of the transformers library, read back."""
    if not (found := report.pretrained):
        return []
    what = "model read from hf/ against cut program"
    return [Check(what, found["max_error"], found["tolerance"], inputs="the same")]


def _onnx(report: Report) -> list[Check]:
    if not (found := report.onnx):
        return [Check("ONNX", more="no ONNX file was written")]
    what, inputs = (
        "onnxruntime against cut program",
        f"like the examples, {_batches(found['batches'])}",
    )
    whole = [Check(what, *_errors(found), inputs, more=_folded(report))]
    if "fp16_error" in found:
        half = found["fp16_error"], found["fp16_tolerance"]
        whole.append(Check(f"{what}, float16", *half, inputs=inputs))
    return whole


def _errors(found: Mapping[str, Any]) -> tuple[float, float, float]:
    return found["max_error"], found["tolerance"], found["rounding"]


def _batches(sizes: Sequence[int]) -> str:
    distinct = sorted(set(sizes))
    return f"batch{'es' if len(distinct) > 1 else ''} of {' and '.join(map(str, distinct))}"


def _folded(report: Report) -> str:
    before, after = (report.batchnorm.get(key, 0) for key in ("before", "after"))
    return f"{before} BatchNorm calls, {after} after folding" if after < before else ""
