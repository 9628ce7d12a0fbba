"""``graphprune passes``."""

from __future__ import annotations

import json
from dataclasses import MISSING, Field, asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from . import options, render
from .console import console, table

if TYPE_CHECKING:
    from graphprune.pipeline import AnalysisPass, TransformPass

__all__ = ["PassInfo", "passes"]

FORMAT = "graphprune.passes/1"


@dataclass(frozen=True)
class PassInfo:
    """A pass as ``graphprune passes`` lists it.

    Attributes:
        name: name of the pass.
        options: option -> default as Python code; ``None`` for an option that must be given.
        needs: facts that must be in the state before it.
        gives: facts that it adds to the state.
        summary: first line of its docstring.
    """

    name: str
    options: dict[str, str | None]
    needs: tuple[str, ...]
    gives: tuple[str, ...]
    summary: str

    @classmethod
    def of(cls, kind: type[AnalysisPass | TransformPass]) -> PassInfo:
        """Describe a pass by its class."""
        given: tuple[Field[Any], ...] = fields(kind)  # type: ignore[arg-type]
        return cls(
            kind.name,
            {
                field.name: None if field.default is MISSING else repr(field.default)
                for field in given
            },
            tuple(fact.__name__ for fact in kind.needs),
            tuple(fact.__name__ for fact in kind.gives),
            (kind.__doc__ or "").splitlines()[0],
        )


def passes(*, as_json: options.Json = False) -> None:
    """List the passes that a pipeline in Python is made of: options, facts needed and given."""
    from graphprune.passes import ALL_PASSES

    listed = [PassInfo.of(kind) for kind in ALL_PASSES.values()]
    if as_json:
        document = {"format": FORMAT, "passes": [asdict(each) for each in listed]}
        render.document(json.dumps(document, indent=2))
        return
    rows = [
        [
            each.name,
            ", ".join(n if value is None else f"{n}={value}" for n, value in each.options.items()),
            f"{', '.join(each.needs) or '-'} -> {', '.join(each.gives)}",
            each.summary,
        ]
        for each in listed
    ]
    table(console(), ["pass", "options", "needs -> gives", "what it does"], rows, right=())
