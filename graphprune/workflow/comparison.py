"""What a comparison of files with the dense model found."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

__all__ = ["FORMAT", "Comparison", "FileCheck"]

FORMAT = "graphprune.verify/1"


@dataclass(frozen=True)
class FileCheck:
    """The comparison of one file with the dense model.

    Attributes:
        file: its name.
        max_error: largest error relative to the largest output; ``None`` if the two can't be
            compared.
        tolerance: the bound on it.
        reason: why they can't be compared, or ``""``.
    """

    file: str
    max_error: float | None
    tolerance: float
    reason: str

    @property
    def ok(self) -> bool:
        """Whether the file computes what it should."""
        return self.max_error is not None and self.max_error <= self.tolerance


@dataclass(frozen=True)
class Comparison:
    """The comparison of all files of a smaller model with the dense one.

    Attributes:
        model: the dense model.
        masked: whether the channels that a plan removes were silenced in it.
        own_weights: how many tensors of the smaller model aren't the dense model's, cut; 0 if
            that isn't known, as of an ONNX file alone.
        retrained: whether the dense model had these in the place of its own.
        checks: one for each file.
    """

    model: str
    masked: bool
    own_weights: int
    retrained: bool
    checks: tuple[FileCheck, ...]

    @property
    def ok(self) -> bool:
        """Whether every file computes what it should."""
        return all(check.ok for check in self.checks)

    def to_json(self) -> str:
        """Write one JSON document with a ``format`` key."""
        data = asdict(self)
        for entry, check in zip(data["checks"], self.checks, strict=True):
            entry["ok"] = check.ok
        return json.dumps({"format": FORMAT, "ok": self.ok} | data, indent=2) + "\n"
