"""Labels: united, frozen, refined, and never undone."""

from __future__ import annotations

import networkx as nx
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from graphprune.axes.labels import FROZEN, Labels, unlabelled
from graphprune.axes.unify import tie
from tests.axes.helpers import rows


def test_freezing_is_final_and_spreads() -> None:
    labels = Labels()
    a, b = labels.fresh(3), labels.fresh(3)
    tie(labels, a, b, 0)
    labels.freeze(a[1:2], 1)
    assert [bool(row) for row in rows(labels, b)] == [True, False, True]


def test_more_labels_than_the_first_arrays_hold() -> None:
    labels = Labels()
    axes = [labels.fresh(700) for _ in range(4)]
    assert len(labels) == 2801
    assert np.unique(np.concatenate(axes)).size == 2800
    labels.unite(axes[3][:, 0], axes[0][:, 0], 0)
    assert (labels.find(axes[3]) == axes[0]).all()


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=12))
def test_classes_are_those_of_a_graph(pairs: list[tuple[int, int]]) -> None:
    labels, graph = Labels(), nx.Graph(pairs)
    labels.fresh(8)
    graph.add_nodes_from(range(9))
    for link, (left, right) in enumerate(pairs):
        labels.unite(np.array([left]), np.array([right]), link)
    for component in nx.connected_components(graph):
        assert set(labels.find(np.array(sorted(component))).tolist()) == {min(component)}
    assert len(labels.log) == 9 - nx.number_connected_components(graph)


def test_a_refined_label_stands_for_all_its_parts() -> None:
    labels = Labels()
    whole, parts = labels.fresh(1), labels.fresh(4)
    labels.refine(whole[:, 0], parts[:, 0][None], 5)
    assert rows(labels, whole) == [set(parts[:, 0].tolist())]
    labels.freeze(parts[:1], 6)
    assert rows(labels, whole) == [set(parts[1:, 0].tolist())]
    assert [event.link for event in labels.log] == [5, 6]


def test_what_changes_nothing_leaves_no_trace() -> None:
    labels = Labels()
    a = labels.fresh(2)
    labels.unite(a[:, 0], a[:, 0], 0)
    labels.freeze(unlabelled(3), 0)
    assert labels.log == []
    assert labels.version == 0
    assert labels.resolve(a) is labels.resolve(a)
    assert labels.resolve(a).tolist() == a.tolist()


def test_resolved_rows_are_sets_in_descending_order() -> None:
    labels = Labels()
    (a,), (b,) = labels.fresh(2)
    axis = np.array([[a, b, a], [FROZEN, a, FROZEN], [b, b, b]])
    assert labels.resolve(axis).tolist() == [[b, a], [a, FROZEN], [b, FROZEN]]
