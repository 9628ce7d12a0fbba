"""The coupling graph: its nodes, its edges and where they stand."""

from __future__ import annotations

from graphprune.report.html.coupling import MOST, figure, graph, positions
from graphprune.report.report import GroupWidth, LayerCost
from tests.report.html.samples import full


def test_layers_join_groups_and_frozen_channels() -> None:
    found = graph(full())
    assert list(found) == [0, "stem", "block.a", 1]
    names = {
        (a, b): [layer.name for layer in layers] for a, b, layers in found.edges(data="layers")
    }
    assert names == {
        (0, "stem"): ["stem"],
        ("stem", "block.a"): ["block.a"],
        ("block.a", "stem"): ["block.b"],
        ("stem", 1): ["fc"],
    }


def test_columns_follow_the_program_and_what_leads_back_moves_nothing() -> None:
    places = positions(graph(full()))
    assert {node: column for node, (column, _) in places.items()} == {
        0: 0,
        "stem": 1,
        "block.a": 2,
        1: 2,
    }
    assert places["block.a"][1] < places[1][1]  # in a column from the top, in program order
    assert all(-1 <= height <= 1 for _, height in places.values())


def test_a_group_on_both_sides_of_an_attention_isn_t_its_own_neighbour() -> None:
    layers = (
        LayerCost(
            "sdpa",
            "aten.scaled_dot_product_attention.default",
            "",
            1,
            1,
            ("dims",),
            ("heads", "values"),
        ),
        LayerCost("same", "aten.conv2d.default", "", 1, 1, ("heads",), ("heads",)),
    )
    found = graph(full(layers=layers, groups=()))
    assert set(found.edges) == {("dims", "heads"), ("dims", "values"), ("heads", "heads")}


def test_groups_without_a_layer_are_there() -> None:
    report = full(groups=(*full().groups, GroupWidth("lonely", 4, 4, ("embedding:0",))))
    assert "lonely" in graph(report)


def test_a_graph_is_drawn_up_to_its_bound() -> None:
    groups = tuple(GroupWidth(f"g{i}", 8, 4, ()) for i in range(MOST + 7))
    layers = tuple(
        LayerCost(f"l{i}", "op", "", 1, 1, (f"g{i}",), (f"g{i + 1}",)) for i in range(MOST + 6)
    )
    drawn = figure(full(groups=groups, layers=layers, frozen=()))
    assert max(len(trace["x"]) for trace in drawn.data if trace["mode"] == "markers+text") == MOST


def test_nothing_at_all_can_be_drawn() -> None:
    assert figure(full(groups=(), layers=(), frozen=())).data
