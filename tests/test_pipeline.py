"""What a pipeline promises of its passes is checked, each promise with an error of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from torch import nn
from torch.export import ExportedProgram

import graphprune as gp
from graphprune.errors import PassError
from graphprune.ir.trace import trace
from graphprune.passes import Allocate, Analyse, Prune, Score
from graphprune.pipeline import RunFact


@dataclass(frozen=True)
class Count:
    """How many calls a program has."""

    calls: int


@dataclass(frozen=True)
class Origin(RunFact):
    """Where a program came from."""

    name: str


class Counting(gp.AnalysisPass):
    name: ClassVar[str] = "count"
    gives = (Count,)

    def run(self, state: gp.State) -> Any:
        return Count(len(state.program.graph.find_nodes(op="call_function", target=RELU)))


class Same(gp.TransformPass):
    """Gives the program as it is, as a new object."""

    name: ClassVar[str] = "same"
    keeps: ClassVar[tuple[type[Any], ...]] = ()

    def run(self, state: gp.State) -> tuple[ExportedProgram, tuple[Any, ...]]:
        return program(), ()


class Keeping(Same):
    keeps = (Count,)


RELU = torch.ops.aten.relu.default


def program() -> ExportedProgram:
    torch.manual_seed(0)
    return trace(nn.Sequential(nn.Linear(4, 3), nn.ReLU()), (torch.randn(2, 4),))


def test_facts_of_the_program_are_dropped_unless_kept() -> None:
    start = gp.State(program()).knowing(Origin("test"))
    plain = gp.Pipeline((Counting(), Same())).run(start)
    assert Count not in plain.facts
    assert plain[Origin] == Origin("test")
    assert gp.Pipeline((Counting(), Keeping())).run(start)[Count] == Count(1)


def test_a_pass_that_needs_a_dropped_fact_is_refused_before_any_work() -> None:
    class Needing(Counting):
        needs = (Count,)

    gp.Pipeline((Counting(), Keeping(), Needing()))
    with pytest.raises(ValueError, match="pass count needs Count"):
        gp.Pipeline((Counting(), Same(), Needing()))


def edit_graph(state: gp.State) -> None:
    (relu,) = state.program.graph.find_nodes(op="call_function", target=RELU)
    relu.target = torch.ops.aten.tanh.default


def edit_weights(state: gp.State) -> None:
    state.program.state_dict["0.weight"].data.add_(1.0)


def replace_weights(state: gp.State) -> None:
    state.program.state_dict["0.weight"] = nn.Parameter(torch.zeros(3, 4))


EDITS = [edit_graph, edit_weights, replace_weights]


@pytest.mark.parametrize("edit", EDITS)
def test_an_analysis_that_changes_the_program_is_an_error(
    edit: Callable[[gp.State], None],
) -> None:
    class Editing(Counting):
        def run(self, state: gp.State) -> Any:
            edit(state)
            return Count(0)

    with pytest.raises(PassError, match="pass count changed the program that it was given"):
        gp.Pipeline((Editing(),)).run(program())


@pytest.mark.parametrize("edit", EDITS)
def test_a_transform_that_changes_its_input_is_an_error(
    edit: Callable[[gp.State], None],
) -> None:
    class Editing(Same):
        def run(self, state: gp.State) -> tuple[ExportedProgram, tuple[Any, ...]]:
            edit(state)
            return state.program, ()

    with pytest.raises(PassError, match="pass same changed the program that it was given"):
        gp.Pipeline((Editing(),)).run(program())


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (Origin("x"), "pass count gives Count, but returned Origin"),
        (None, "pass count gives Count, but returned NoneType"),
        ((Count(1), Count(2)), "pass count gives Count, but returned tuple"),
    ],
)
def test_an_analysis_gives_what_it_announced(returned: Any, said: str) -> None:
    class Other(Counting):
        def run(self, state: gp.State) -> Any:
            return returned

    with pytest.raises(PassError, match=said):
        gp.Pipeline((Other(),)).run(program())


def test_a_transform_gives_what_it_announced() -> None:
    class Silent(Same):
        gives = (Count,)

    with pytest.raises(PassError, match="pass same gives Count, but returned "):
        gp.Pipeline((Silent(),)).run(program())

    class Graphless(Same):
        def run(self, state: gp.State) -> Any:
            return state.program.graph_module, ()

    with pytest.raises(PassError, match="pass same returned a GraphModule for a program"):
        gp.Pipeline((Graphless(),)).run(program())


def test_an_analysis_may_give_several_facts() -> None:
    class Both(Counting):
        gives = (Count, Origin)

        def run(self, state: gp.State) -> Any:
            return Count(1), Origin("both")

    done = gp.Pipeline((Both(),)).run(program())
    assert (done[Count].calls, done[Origin].name) == (1, "both")
    assert not hasattr(done.program, "facts")


@pytest.mark.parametrize(
    "value",
    [lambda: None, print, torch.zeros(1), nn.Linear(2, 2), [1], {"a": print}, (1, torch.ones(1))],
    ids=["function", "builtin", "tensor", "module", "list", "mapping", "nested"],
)
def test_fields_of_a_pass_are_plain_options(value: Any) -> None:
    @dataclass(frozen=True)
    class Holding(Counting):
        held: Any = None

    gp.Pipeline((Holding((1, "a", frozenset({2.0}), Origin("x"))),))
    with pytest.raises(ValueError, match="the field 'held' of pass count isn't a plain option"):
        gp.Pipeline((Holding(value),))


def test_a_program_is_no_option() -> None:
    @dataclass(frozen=True)
    class Holding(Counting):
        held: Any = None

    with pytest.raises(ValueError, match="isn't a plain option"):
        gp.Pipeline((Holding(program()),))


def test_a_failure_says_where_it_happened() -> None:
    class Failing(Counting):
        name: ClassVar[str] = "fail"

        def run(self, state: gp.State) -> Any:
            raise LookupError("nothing there")

    with pytest.raises(LookupError) as caught:
        gp.Pipeline((Counting(), Failing())).run(program())
    assert "in pass fail, after count" in getattr(
        caught.value, "__notes__", ["in pass fail, after count"]
    )


def test_progress_reaches_the_passes() -> None:
    class Telling(Counting):
        def run(self, state: gp.State) -> Any:
            state.tell("count 1 of 1")
            return super().run(state)

    told: list[str] = []
    gp.Pipeline((Telling(),)).run(program(), told.append)
    assert told == ["count", "count 1 of 1"]
    state = gp.State(program(), progress=told.append).knowing(Origin("here"))
    gp.Pipeline((Telling(),)).run(state.silent())
    assert len(told) == 2
    assert state.silent().facts == state.facts


def test_stated_passes_run_in_order() -> None:
    passes = (Analyse(), Score(), Allocate(budget=gp.Budget.flops(0.5)), Prune())
    done = gp.Pipeline(passes).run(
        trace(nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2)), (torch.randn(2, 4),))
    )
    assert list(done.seconds) == [each.name for each in passes]
