"""Passes and pipelines.

An *analysis pass* returns one fact about a program. A *transform pass* returns a new program,
and with it the facts that hold of it; all other facts are dropped, so no pass can read a stale
one. A pipeline checks, before any work, that each pass finds what it needs.

Every pass and pipeline is a callable: ExportedProgram in, ExportedProgram out; GraphModule in,
``PassResult`` out, as torch.fx's own pass manager expects.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, TypeVar, overload

from torch import fx
from torch.export import ExportedProgram
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.ir.program import lift, unlift
from graphprune.ops.fixed_random import held

from .errors import InternalError

__all__ = ["AnalysisPass", "Pipeline", "State", "TransformPass"]

Fact = TypeVar("Fact")


@dataclass(frozen=True)
class State:
    """A program and what is known of it.

    Attributes:
        program: the program as it stands.
        facts: by type; each holds of the program unless its type says it is history.
        seconds: time spent, by pass name.
    """

    program: ExportedProgram
    facts: Mapping[type[Any], Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __getitem__(self, kind: type[Fact]) -> Fact:
        """The fact of that type."""
        return self.facts[kind]

    def get(self, kind: type[Fact]) -> Fact | None:
        """The fact of that type, if it is known."""
        return self.facts.get(kind)

    def knowing(self, *facts: Any) -> State:
        """The same, with these facts, each in place of the one of its type."""
        return replace(self, facts={**self.facts, **{type(fact): fact for fact in facts}})


class _Pass:
    """What both kinds of pass have in common."""

    name: ClassVar[str]
    needs: ClassVar[tuple[type[Any], ...]] = ()
    gives: ClassVar[tuple[type[Any], ...]] = ()

    @overload
    def __call__(self, program: ExportedProgram) -> ExportedProgram: ...
    @overload
    def __call__(self, program: fx.GraphModule) -> PassResult: ...
    def __call__(self, program: Any) -> Any:
        """Run this pass alone."""
        return Pipeline((self,))(program)  # type: ignore[arg-type]


class AnalysisPass(_Pass):
    """Finds out one fact; ``run`` returns it."""

    def run(self, state: State) -> Any:
        """Return a value of the type in ``gives``."""
        raise InternalError(f"{self.name} has no run()")


class TransformPass(_Pass):
    """Rewrites the program; ``run`` returns the new one and the facts that are now known.

    ``keeps`` names the facts that hold of the new program as well.
    """

    keeps: ClassVar[tuple[type[Any], ...]] = ()

    def run(self, state: State) -> tuple[ExportedProgram, tuple[Any, ...]]:
        """Return the new program and a value for each type in ``gives``."""
        raise InternalError(f"{self.name} has no run()")


Progress = Callable[[str], Any]
"""Called with a pass's name when it starts."""


@dataclass(frozen=True)
class Pipeline:
    """Passes in order.

    Raises:
        ValueError: at construction, if a pass needs a fact that none before it gives.
    """

    passes: Sequence[AnalysisPass | TransformPass]
    given: tuple[type[Any], ...] = ()

    def __post_init__(self) -> None:
        """Check that every pass finds what it needs."""
        known = set(self.given)
        for each in self.passes:
            missing = [kind.__name__ for kind in each.needs if kind not in known]
            if missing:
                raise ValueError(
                    f"pass {each.name} needs {', '.join(missing)}, which no pass before it gives"
                )
            if isinstance(each, AnalysisPass) and len(each.gives) != 1:
                raise ValueError(
                    f"analysis pass {each.name} must give one fact, not {len(each.gives)}"
                )
            if isinstance(each, TransformPass):
                known &= set(each.keeps)
            known |= set(each.gives)

    def run(self, state: State | ExportedProgram, progress: Progress | None = None) -> State:
        """Run all passes; the caller's program isn't changed."""
        if isinstance(state, ExportedProgram):
            state = State(state)
        done: list[str] = []
        for each in self.passes:
            if progress is not None:
                progress(each.name)
            start = time.perf_counter()
            with _noting(each.name, done), held(state.program.graph):
                state = _step(each, state)
            done.append(each.name)
            elapsed = state.seconds.get(each.name, 0.0) + time.perf_counter() - start
            state = replace(state, seconds={**state.seconds, each.name: elapsed})
        return state

    @overload
    def __call__(self, program: ExportedProgram) -> ExportedProgram: ...
    @overload
    def __call__(self, program: fx.GraphModule) -> PassResult: ...
    def __call__(self, program: ExportedProgram | fx.GraphModule) -> Any:
        """Run on a program, or on an unlifted graph with ``val`` metadata."""
        if isinstance(program, ExportedProgram):
            return self.run(program).program
        lifted = lift(program)
        result = self.run(lifted).program
        return PassResult(unlift(result) if result is not lifted else program, result is not lifted)


def _step(each: AnalysisPass | TransformPass, state: State) -> State:
    if isinstance(each, AnalysisPass):
        fact = each.run(state)
        return replace(state, facts={**state.facts, each.gives[0]: fact})
    program, new = each.run(state)
    facts = {kind: fact for kind, fact in state.facts.items() if kind in each.keeps}
    return replace(state, program=program, facts=facts | dict(zip(each.gives, new, strict=True)))


@contextmanager
def _noting(name: str, done: Sequence[str]) -> Generator[None]:
    """A failure keeps its type and gains a note on where in the pipeline it happened."""
    try:
        yield
    except BaseException as error:
        note = f"in pass {name}" + (f", after {', '.join(done)}" if done else "")
        if sys.version_info >= (3, 11):
            error.add_note(note)
        raise
