"""What the user's own code raises names it."""

from __future__ import annotations

import pytest

from graphprune.cli import users_code
from graphprune.errors import LoadError


def test_what_the_users_function_raises_names_it() -> None:
    assert users_code.callable_of("--optimizer", "math:sqrt")(4.0) == 2.0
    with pytest.raises(LoadError, match="math:sqrt fails: ValueError") as failure:
        users_code.callable_of("--optimizer", "math:sqrt")(-1.0)
    assert failure.value.hint == "check --optimizer"
    with pytest.raises(LoadError, match="can't find math:nothing"):
        users_code.callable_of("--optimizer", "math:nothing")
