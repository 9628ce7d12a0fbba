"""Name the flags of the arguments that the library and the commands share."""

from __future__ import annotations

__all__ = ["flag"]

_FLAGS = {
    "calibration": "--data",
    "onnx": "--no-onnx",
    "plot": "--no-plot",
}
"""Library arguments whose flags have other names."""


def flag(argument: str) -> str:
    """Name the flag of a library argument: ``--round-to`` for ``round_to``."""
    return _FLAGS.get(argument, f"--{argument.replace('_', '-')}")
