"""Names for arguments: what Python takes, all different, and those that were there stay."""

from __future__ import annotations

import inspect

from hypothesis import given
from hypothesis import strategies as st

from graphprune.loading.argument_names import distinct, identifiers, named

NAMES = st.lists(
    st.sampled_from(["x", "x_2", "x_3", "self", "class", "", "0", "a.b", "_", "é"]) | st.text()
)


@given(NAMES)
def test_names_are_arguments_of_python(names: list[str]) -> None:
    found = identifiers(names)
    assert len(found) == len(set(found)) == len(names)
    function = named(lambda *inputs: inputs, names)
    assert list(inspect.signature(function).parameters) == found
    assert "self" not in found


@given(NAMES)
def test_the_first_of_each_name_keeps_it(names: list[str]) -> None:
    found = distinct(names)
    assert len(set(found)) == len(names)
    assert all(found[names.index(name)] == name for name in names)


def test_numbers_go_round_names_that_are_there() -> None:
    assert distinct(["x", "x", "x_2", "x"]) == ["x", "x_3", "x_2", "x_4"]
    assert identifiers(["forward", "in", "3d", "x-y"]) == ["forward", "x_in", "x_3d", "x_y"]


def test_the_function_runs_what_it_was_given() -> None:
    assert named(lambda *inputs: sum(inputs), ["a", "b"])(1, 2) == 3
