"""Passes, and pipelines that check that passes do what they declare.

An *analysis pass* finds facts about a program. A *transform pass* returns a new program, and with
it the facts that hold of it; other facts about the program are dropped, so no pass can read a
stale one. A pipeline checks when it is made that each pass finds what it needs and has nothing but
plain options, and as it runs that each pass gives what it announced and leaves its input alone.

Every pass and pipeline is a callable: ExportedProgram in, ExportedProgram out; GraphModule in,
``PassResult`` out, as torch.fx's own pass manager expects.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any, ClassVar, TypeVar, overload

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.fx.passes.infra.pass_base import PassResult

from graphprune.errors import InternalError, PassError
from graphprune.ir.devices import full_float32
from graphprune.ir.fingerprint import fingerprint
from graphprune.ir.program import lift, unlift
from graphprune.ir.unchanged import unchanged
from graphprune.ops.fixed_random import fix_random_numbers

__all__ = ["AnalysisPass", "Pipeline", "RunFact", "State", "TransformPass"]

Fact = TypeVar("Fact")

Progress = Callable[[str], Any]
"""Callback that is given a pass's name when it starts, and its progress where it takes long."""


class RunFact:
    """Base class of facts about the run, kept across rewrites: data, decisions, verdicts.

    Facts of other types are about the program as it stands.
    """


@dataclass(frozen=True)
class State:
    """A program and the facts known of it and of the run.

    Attributes:
        program: the program as it stands.
        facts: by type.
        seconds: time spent, by pass name.
        progress: told how far a run is.
    """

    program: ExportedProgram
    facts: Mapping[type[Any], Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    progress: Progress | None = field(default=None, repr=False, compare=False)

    def __getitem__(self, kind: type[Fact]) -> Fact:
        """Return the fact of a type."""
        return self.facts[kind]

    def get(self, kind: type[Fact]) -> Fact | None:
        """Return the fact of a type, or ``None`` if it isn't known."""
        return self.facts.get(kind)

    def knowing(self, *facts: Any) -> State:
        """Copy the state with more facts, each in place of the one of its type."""
        return replace(self, facts={**self.facts, **{type(fact): fact for fact in facts}})

    def silent(self) -> State:
        """Copy the state without its callback, to run passes that are a part of another stage."""
        return replace(self, progress=None)

    def tell(self, news: str) -> None:
        """Report progress to the callback, if there is one."""
        if self.progress is not None:
            self.progress(news)


class _Pass:
    """Base class of both kinds of pass. The fields of a pass are its options."""

    name: ClassVar[str]
    needs: ClassVar[tuple[type[Any], ...]] = ()
    gives: ClassVar[tuple[type[Any], ...]] = ()

    @overload
    def __call__(self, program: ExportedProgram) -> ExportedProgram: ...
    @overload
    def __call__(self, program: fx.GraphModule) -> PassResult: ...
    def __call__(self, program: Any) -> Any:
        """Run this pass alone on a program or graph."""
        return Pipeline((self,))(program)  # type: ignore[arg-type]


class AnalysisPass(_Pass):
    """Finds facts about a program and leaves the program alone."""

    def run(self, state: State) -> Any:
        """Return a value of the type in ``gives``; a tuple of values, if there are several."""
        raise InternalError(f"{self.name} has no run()")


class TransformPass(_Pass):
    """Makes a new program, and states facts that hold of it.

    ``keeps`` names the facts about the old program that hold of the new one as well.
    """

    keeps: ClassVar[tuple[type[Any], ...]] = ()

    def run(self, state: State) -> tuple[ExportedProgram, tuple[Any, ...]]:
        """Return the new program and a value for each type in ``gives``."""
        raise InternalError(f"{self.name} has no run()")


@dataclass(frozen=True)
class Pipeline:
    """A sequence of passes, checked when it is made and as it runs.

    Attributes:
        passes: what to run.
        given: types of the facts that are known before.

    Raises:
        ValueError: if a pass needs a fact that none before it gives, or has a field that isn't a
            plain option.
    """

    passes: Sequence[AnalysisPass | TransformPass]
    given: tuple[type[Any], ...] = ()

    def __post_init__(self) -> None:
        """Check that every pass finds what it needs, and has options only."""
        known = set(self.given)
        for pass_ in self.passes:
            missing = [kind.__name__ for kind in pass_.needs if kind not in known]
            if missing:
                raise ValueError(
                    f"pass {pass_.name} needs {', '.join(missing)}, which no pass before it gives"
                )
            if isinstance(pass_, AnalysisPass) and not pass_.gives:
                raise ValueError(f"analysis pass {pass_.name} must give a fact")
            if odd := _odd_field(pass_):
                raise ValueError(
                    f"the field {odd!r} of pass {pass_.name} isn't a plain option: "
                    "data, programs and callbacks are facts of the state"
                )
            if isinstance(pass_, TransformPass):
                known = {kind for kind in known if _survives(kind, pass_)}
            known |= set(pass_.gives)

    def run(self, state: State | ExportedProgram, progress: Progress | None = None) -> State:
        """Run all passes; the caller's program isn't changed.

        Args:
            state: a program, or one with facts that are known already.
            progress: told how far the run is; by default as the state says.

        Raises:
            PassError: if a pass breaks its promises.
        """
        if isinstance(state, ExportedProgram):
            state = State(state)
        if progress is not None:
            state = replace(state, progress=progress)
        done: list[str] = []
        print_ = fingerprint(state.program)
        for pass_ in self.passes:
            state.tell(pass_.name)
            start = time.perf_counter()
            fixed = fix_random_numbers(state.program.graph)
            stored = (*state.program.buffers(), *state.program.constants.values())
            with _noting(pass_.name, done), full_float32(), fixed, unchanged(stored):
                after = _step(pass_, state)
            if fingerprint(state.program) != print_:
                raise PassError(f"pass {pass_.name} changed the program that it was given")
            if after.program is not state.program:
                print_ = fingerprint(after.program)
            done.append(pass_.name)
            elapsed = state.seconds.get(pass_.name, 0.0) + time.perf_counter() - start
            state = replace(after, seconds={**state.seconds, pass_.name: elapsed})
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


def _step(pass_: AnalysisPass | TransformPass, state: State) -> State:
    if isinstance(pass_, AnalysisPass):
        result = pass_.run(state)
        new = _announced(pass_, result if len(pass_.gives) > 1 else (result,))
        return replace(state, facts={**state.facts, **new})
    program, results = pass_.run(state)
    kind: type[Any] = type(program)
    if not issubclass(kind, ExportedProgram):
        raise PassError(f"pass {pass_.name} returned a {kind.__name__} for a program")
    facts = {kind: fact for kind, fact in state.facts.items() if _survives(kind, pass_)}
    return replace(state, program=program, facts={**facts, **_announced(pass_, results)})


def _announced(pass_: AnalysisPass | TransformPass, results: Any) -> dict[type[Any], Any]:
    """Return the facts that a pass found by type, if they are those that it announced."""
    kinds = [type(fact) for fact in results] if isinstance(results, tuple) else [type(results)]
    if len(kinds) != len(pass_.gives) or not all(map(issubclass, kinds, pass_.gives)):
        announced, got = (", ".join(k.__name__ for k in side) for side in (pass_.gives, kinds))
        raise PassError(f"pass {pass_.name} gives {announced or 'nothing'}, but returned {got}")
    return dict(zip(pass_.gives, results, strict=True))


def _survives(kind: type[Any], transform: TransformPass) -> bool:
    """Whether a fact still holds after a rewrite."""
    return issubclass(kind, RunFact) or kind in transform.keeps


def _odd_field(pass_: Any) -> str | None:
    """Find the first field of a pass that isn't a plain option."""
    named = fields(pass_) if is_dataclass(pass_) else ()
    return next((f.name for f in named if not _is_option(getattr(pass_, f.name))), None)


def _is_option(value: Any) -> bool:
    """Whether a value is plain, or an object that holds plain values only."""
    if value is None or isinstance(value, bool | int | float | str | Path | Enum):
        return True
    if isinstance(value, tuple | frozenset):
        return all(map(_is_option, value))
    if isinstance(value, Mapping):
        return all(map(_is_option, (*value.keys(), *value.values())))
    functions = (FunctionType, BuiltinFunctionType, MethodType, partial, torch.Tensor, type)
    if isinstance(value, functions) or not hasattr(value, "__dict__"):
        return False
    return all(map(_is_option, vars(value).values()))


@contextmanager
def _noting(name: str, done: Sequence[str]) -> Generator[None]:
    """Add a note to any failure on where in the pipeline it happened; its type stays."""
    try:
        yield
    except BaseException as error:
        note = f"in pass {name}" + (f", after {', '.join(done)}" if done else "")
        if sys.version_info >= (3, 11):
            error.add_note(note)
        raise
