"""Errors that come out of a model's own code, and the line that they came from."""

from __future__ import annotations

import re

__all__ = ["FORWARD_ERRORS", "user_line"]

_OURS_OR_TORCH = re.compile(r"(torch|graphprune(?!\.models))(\.|$)")

# What comes out of a user's forward, or of torch.export when it can't capture it: torch's own
# errors derive from RuntimeError, the others are raised by Python code that meets odd sizes.
FORWARD_ERRORS = (
    RuntimeError, ValueError, TypeError, AssertionError, AttributeError, LookupError,
    ArithmeticError, OSError,
)  # fmt: skip


def user_line(error: BaseException | None) -> str:
    """Locate the innermost line of the user's code that an error passed through: ``file.py:12``."""
    where, traceback = "", error.__traceback__ if error else None
    while traceback:
        module = str(traceback.tb_frame.f_globals.get("__name__", ""))
        if not _OURS_OR_TORCH.match(module):
            file = traceback.tb_frame.f_code.co_filename.replace("\\", "/")
            where = f"{file.rsplit('/', 1)[-1]}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return where
