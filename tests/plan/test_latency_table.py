"""Latency tables: what they predict between their points, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.errors import LoadError
from graphprune.plan.latency_table import CLASSES, Grid, KernelTimes, LatencyTable, alignment


def table(**changes: Any) -> LatencyTable:
    even = Grid(((8, 16), (16, 32, 64)), (1.0, 2.0, 4.0, 2.0, 4.0, 8.0))
    odd = Grid(((7, 15), (15, 63)), (2.0, 8.0, 4.0, 16.0))
    classes = tuple(
        0.0 if i == j == CLASSES - 1 else 1.0 for i in range(CLASSES) for j in range(CLASSES)
    )
    plain = {
        "kernels": {"k": KernelTimes(even, odd, classes)},
        "per_byte": 1e-9,
        "per_mac": 1e-10,
        "machine": {"threads": 1, "provider": "CPU"},
    }
    return LatencyTable(**(plain | changes))


def test_between_the_points_it_is_linear_in_each_width() -> None:
    grid = table().kernels["k"].even
    inner, outer = np.meshgrid(np.arange(8, 17), np.arange(16, 65), indexing="ij")
    # The seconds above are in * out / 128.
    np.testing.assert_allclose(grid.at([inner, outer]), inner * outer / 128)


def test_outside_it_is_that_of_the_nearest_point() -> None:
    grid = Grid(((8, 16),), (1.0, 3.0))
    np.testing.assert_allclose(grid.at([np.array([1, 8, 12, 16, 99])]), [1, 1, 2, 3, 3])


def test_widths_broadcast() -> None:
    found = table().kernels["k"].at(np.array([[8], [16]]), np.array([[16, 32, 64]]))
    assert found.shape == (2, 3)


def test_odd_widths_are_looked_up_among_odd_ones() -> None:
    kernel = table().kernels["k"]
    assert float(kernel.at(np.array(16), np.array(64))) == 8.0
    assert float(kernel.at(np.array(15), np.array(63))) == 16.0


@pytest.mark.parametrize(("width", "expected"), [(1, 0), (6, 1), (4, 2), (24, 3), (16, 4), (64, 4)])
def test_classes_of_widths(width: int, expected: int) -> None:
    assert int(alignment(np.array(width))) == expected


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
