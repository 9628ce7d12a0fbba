"""Treemaps: layers in the boxes of their modules."""

from __future__ import annotations

from typing import Any

from graphprune.report.html.treemap import DEEPEST, figures
from graphprune.report.report import LayerCost
from tests.report.html.samples import full


def boxes(*names: str) -> dict[str, Any]:
    """The boxes after the cut, of layers that cost 8 before and 2 after."""
    layers = tuple(LayerCost(name, "aten.conv2d.default", "net.py:1", 8, 2) for name in names)
    return dict(figures(full(layers=layers))[1].data[0])


def test_a_tile_for_each_layer_with_its_macs() -> None:
    before, after = (figure.data[0] for figure in figures(full()))
    assert before["labels"][0] == after["labels"][0] == "Net"
    assert sum(before["values"]) == sum(layer.before for layer in full().layers)
    assert sum(after["values"]) == sum(layer.after for layer in full().layers)
    cut = dict(zip(after["labels"], after["marker"]["colors"], strict=True))
    assert cut["a"] == 0.5


def test_modules_are_boxes_around_their_layers() -> None:
    found = boxes("stage.a", "stage.b", "head")
    parent = dict(zip(found["ids"], found["parents"], strict=True))
    label = dict(zip(found["ids"], found["labels"], strict=True))
    inside = {label[i]: label.get(parent[i], "") for i in found["ids"]}
    assert inside == {"Net": "", "stage": "Net", "a": "stage", "b": "stage", "head": "Net"}
    assert found["marker"]["colors"] == [0.75] * 5


def test_a_box_with_nothing_beside_it_is_joined_with_its_own() -> None:
    found = boxes("only.block.a", "only.block.b")
    assert found["labels"] == ["Net.only.block", "a", "b"]


def test_a_weight_that_several_calls_read_has_a_tile_for_each() -> None:
    found = boxes("shared", "shared", "other")
    assert found["labels"].count("aten.conv2d.default") == 2
    assert sum(found["values"]) == 6


def test_paths_end_at_a_depth() -> None:
    deep = ".".join("abcdefgh" * 20)
    found = boxes(deep, f"{deep}.x", "head")
    assert len(found["labels"]) < 3 * DEEPEST
    assert sum(found["values"]) == 6
