"""JSON of others: read strictly, and quoted so that a terminal is safe."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.errors import LoadError, PlanError
from graphprune.io.strict_json import expect, finite, is_index, parsed, read_text, shown

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(JSON)
def test_what_python_writes_is_read_again(value: Any) -> None:
    assert parsed(json.dumps(value), 10**6, LoadError, "the file") == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "the file is not JSON"),
        ("[NaN]", "NaN is not a number in JSON"),
        ("-Infinity", "-Infinity is not a number in JSON"),
        ('{"a": {"b": 1, "b": 1}}', "a key occurs twice"),
        ("[" * 100_000, "the file is not JSON"),
        ("1" * 10_000, "the file is not JSON"),
        (" " * 200_000, "the file is too large"),
    ],
)
def test_anything_else_is_an_error_of_the_kind_asked_for(text: str, says: str) -> None:
    for kind in (LoadError, PlanError):
        with pytest.raises(kind, match=says) as error:
            parsed(text, 150_000, kind, "the file")
        assert len(str(error.value)) < 200


@given(st.text() | st.binary() | st.integers() | st.lists(st.text()))
def test_what_is_shown_is_short_and_printable(value: Any) -> None:
    text = shown(value)
    assert text.isprintable()
    assert len(text) <= 43


def test_containers_are_shown_by_their_kind() -> None:
    assert [shown(v) for v in ({"a": 1}, [1], "a", 1.5, "\x1b[31m")] == [
        "a dict", "a list", "a", "1.5", r"'\x1b[31m'"
    ]  # fmt: skip


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan, -(10**400), True, "1", None, [1]])
def test_what_is_no_number_to_compute_with(value: Any) -> None:
    assert not finite(value)
    assert not is_index(value)


def test_numbers_and_indices() -> None:
    assert all(map(finite, (0, -1.5, 10**299, 1e-300)))
    assert [is_index(value) for value in (0, 7, -1, 1.0)] == [True, True, False, False]


def test_expect_refuses_with_a_hint() -> None:
    expect(True, PlanError, "never said", "nor this")
    with pytest.raises(PlanError, match="said") as error:
        expect(False, PlanError, "said", "see the docs")
    assert error.value.hint == "see the docs"


def test_a_file_is_read_only_if_it_may_be_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('"ä"', encoding="utf-8")
    assert read_text(path, 4, PlanError) == '"ä"'
    with pytest.raises(PlanError, match="too large"):
        read_text(path, 3, PlanError)
    path.write_bytes(b"\xff")
    with pytest.raises(PlanError, match="not JSON"):
        read_text(path, 4, PlanError)
    os.mkfifo(tmp_path / "pipe")  # reading it waits forever; /dev/zero never ends
    for other in (tmp_path, tmp_path / "pipe", tmp_path / "none", Path("/dev/zero")):
        with pytest.raises(LoadError, match="can't read"):
            read_text(other, 4, LoadError)
