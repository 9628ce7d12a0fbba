"""Latency tables: what is written comes back, and what is no table is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.errors import LoadError
from graphprune.plan.latency_table import LatencyTable
from tests.plan.test_kernel_times import times


def table(**changes: Any) -> LatencyTable:
    plain = {
        "kernels": {"k": times()},
        "per_byte": 1e-9,
        "per_mac": 1e-10,
        "machine": {"threads": 1, "provider": "CPU"},
    }
    return LatencyTable(**(plain | changes))


def test_a_table_survives_being_written() -> None:
    first = table(error={"mean": 0.03, "largest": 0.08, "networks": 5.0}, scale=1.1, batch=4)
    again = LatencyTable.from_json(first.to_json())
    assert again == first
    assert again.to_json() == first.to_json()


def broken(change: Callable[[dict[str, Any]], object]) -> str:
    data = json.loads(table().to_json())
    change(data)
    return json.dumps(data)


def put(path: str, value: Any) -> Callable[[dict[str, Any]], object]:
    def change(data: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        for name in parents:
            data = data[int(name)] if isinstance(data, list) else data[name]
        data[last] = value

    return change


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("format", "graphprune.latency/2"),
        ("scale", 0),
        ("scale", "1"),
        ("scale", True),
        ("batch", 0),
        ("batch", 1.5),
        ("batch", 10**30),
        ("per_byte", -1),
        ("machine", []),
        ("machine/provider", [1]),
        ("kernels", []),
        ("error/mean", "x"),
        ("extra", 1),
        ("kernels/k/extra", 1),
        ("kernels/k/classes", [0.5]),
        ("kernels/k/classes", [2.0] * 25),
        ("kernels/k/even/axes", [[16, 8], [16, 32, 64]]),
        ("kernels/k/even/axes", [[0, 8], [16, 32, 64]]),
        ("kernels/k/even/axes", [[8, 10**30], [16, 32, 64]]),
        ("kernels/k/even/axes", []),
        ("kernels/k/even/axes", [[8, 16]] * 3),
        ("kernels/k/even/axes", [[8, 16]]),
        ("error", {"mean": 0.1}),
        ("kernels/k/even/seconds", [1.0]),
        ("kernels/k/even/seconds", [0.0] * 6),
        ("kernels/k/even/seconds", [None] * 6),
        ("kernels/k/odd", {"axes": [[1]], "seconds": [1.0]}),
    ],
)
def test_what_is_not_exactly_a_table_is_refused(path: str, value: Any) -> None:
    with pytest.raises(LoadError):
        LatencyTable.from_json(broken(put(path, value)))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"format": "graphprune.latency/1"}',
        '{"a": NaN}',
        "[" * 100_000,
        '{"a": 1, "a": 2}',
    ],
)
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(LoadError):
        LatencyTable.from_json(text)


def test_numbers_that_json_can_write_and_floats_cannot() -> None:
    text = table().to_json().replace('"per_mac": 1e-10', '"per_mac": 1e999')
    with pytest.raises(LoadError):
        LatencyTable.from_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(JSON, st.sampled_from(["kernels", "scale", "batch", "machine", "error", "per_mac"]))
def test_nothing_else_is_raised(value: Any, name: str) -> None:
    try:
        text = broken(put(name, value))
        LatencyTable.from_json(text)
    except LoadError:
        pass
