"""The table of methods."""

from __future__ import annotations

import pytest

from graphprune.errors import OptionError
from graphprune.training.group_lasso import GroupLasso
from graphprune.training.methods import METHODS, method_of


def test_names_are_those_of_the_methods() -> None:
    names = ["group-lasso", "mask-sparsity", "proximal", "progressive", "gradual", "at-init"]
    assert list(METHODS) == names
    assert all(name == method.name == method_of(name).name for name, method in METHODS.items())


def test_a_method_with_options_is_taken_as_it_is() -> None:
    mine = GroupLasso(strength=3.0)
    assert method_of(mine) is mine


def test_an_unknown_name_is_refused_with_those_that_are_known() -> None:
    with pytest.raises(OptionError, match="no method 'lasso'") as failure:
        method_of("lasso")
    assert "group-lasso" in failure.value.hint


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
@pytest.mark.parametrize("name", METHODS)
def test_plans_are_within_the_steps_and_the_last_is_for_the_whole_budget(
    name: str, steps: int
) -> None:
    plans = METHODS[name].plans(steps)
    assert all(0 <= step <= steps and 0 < share <= 1 for step, share in plans.items())
    assert plans[max(plans)] == 1.0
    assert list(plans.values()) == sorted(plans.values())
