"""Errors that a user can meet, each with a stable code, a message, and a hint on what to do next."""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ExportError",
    "GraphpruneError",
    "InfeasibleBudgetError",
    "InternalError",
    "LoadError",
    "MismatchError",
    "OptionError",
    "OutputError",
    "PassError",
    "PlanError",
    "ResourceError",
    "TraceError",
    "UnsupportedOpError",
    "VerifyError",
]


class GraphpruneError(Exception):
    """Base class of errors that the user can act on.

    Args:
        message: what went wrong, in one sentence.
        hint: what to do about it; shown on a line of its own.
        where: the source line it concerns, ``file.py:12``, when one is known.
        options: names of the arguments that it concerns or that would help, as in ``compress``;
            the command line shows them as its flags.
    """

    code: ClassVar[str] = "GP000"
    exit_code: ClassVar[int] = 2

    def __init__(
        self, message: str, *, hint: str = "", where: str = "", options: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.where = where
        self.options = options

    def __str__(self) -> str:
        """Format the message with its place and its hint, each on a line of its own."""
        lines = [f"{self.message} ({self.where})" if self.where else self.message]
        if self.hint:
            lines.append(f"hint: {self.hint}")
        return "\n".join(lines)


class LoadError(GraphpruneError):
    """A model file can't be read, or its inputs don't fit it."""

    code = "GP001"


class TraceError(GraphpruneError):
    """torch.export can't capture the model."""

    code = "GP002"


class UnsupportedOpError(GraphpruneError):
    """The model has operators without a rule, and ``strict_ops`` refuses these."""

    code = "GP003"


class OptionError(GraphpruneError):
    """An option, budget or argument that is invalid, or doesn't fit the model."""

    code = "GP010"


class PlanError(GraphpruneError):
    """A plan is malformed."""

    code = "GP004"


class MismatchError(PlanError):
    """A plan was made for another architecture."""

    code = "GP005"


class InfeasibleBudgetError(PlanError):
    """No plan within the given limits reaches the budget.

    Args:
        message: what was asked and what can be reached.
        smallest: the smallest reachable cost, in the unit of the budget.
        hint: what to relax.
    """

    code = "GP006"
    exit_code = 1

    def __init__(
        self, message: str, *, smallest: float, hint: str = "", options: tuple[str, ...] = ()
    ) -> None:
        super().__init__(message, hint=hint, options=options)
        self.smallest = smallest


class VerifyError(GraphpruneError):
    """The smaller model doesn't compute what it should."""

    code = "GP007"
    exit_code = 1


class ExportError(GraphpruneError):
    """The ONNX file can't be made, or disagrees with PyTorch."""

    code = "GP008"
    exit_code = 1


class OutputError(GraphpruneError):
    """The results can't be written."""

    code = "GP009"


class ResourceError(GraphpruneError):
    """The machine has too little memory for the run."""

    code = "GP011"


class InternalError(Exception):
    """A bug in graphprune itself, never the user's fault; exit code 3."""


class PassError(InternalError):
    """A pass breaks its promises: it changes its input, or gives other facts than announced."""


def first_line(error: BaseException | None) -> str:
    """Return an error's message up to the first line break, or its type."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def innermost(failure: BaseException) -> str:
    """Return the first line of the innermost cause; outer ones are advice for a library's authors."""
    while failure.__cause__ is not None:
        failure = failure.__cause__
    return first_line(failure)
