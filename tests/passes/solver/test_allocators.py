"""The table of allocators."""

from __future__ import annotations

from graphprune.passes.solver import ALLOCATORS


def test_table_names_its_entries() -> None:
    assert list(ALLOCATORS) == [
        "dp",
        "erk",
        "global_threshold",
        "pq-index",
        "random_search",
        "uniform",
    ]
    assert all(ALLOCATORS[name].name == name for name in ALLOCATORS)
