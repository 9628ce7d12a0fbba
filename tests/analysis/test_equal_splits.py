"""Splits into equal pieces, and the widths at which code that splits still fits."""

from __future__ import annotations

import pytest
import torch

import graphprune as gp
from graphprune.analysis.equal_splits import equal_splits, split_together
from tests import nets
from tests.analysis.helpers import analysed


@pytest.mark.parametrize("name", ["Chunked", "CrossStage", "UnevenSplit", "SplitCatAdd"])
def test_widths_at_which_the_code_that_splits_still_fits(name: str) -> None:
    torch.manual_seed(0)
    net = nets.NETS[name]()
    free = gp.compress(net, net.inputs(), flops=0.4, score="random", any_width=True)
    assert "any_width" in free.report.eager["reason"]
    kept = gp.compress(net, net.inputs(), flops=0.4, score="random")
    assert type(kept.model) is type(net), kept.report.eager["reason"]
    assert kept.report.after.macs <= 0.4 * kept.report.before.macs
    assert gp.compress(net, net.inputs(), plan=kept.plan).report.eager["own_class"]


def test_equal_pieces_are_protected_together() -> None:
    net = nets.Chunked()
    result = gp.compress(net, net.inputs(), flops=0.8, keep_class=True, protect=["b.weight"])
    whole = {g.id: g.before == g.after for g in result.report.groups}
    assert whole["b"]
    assert whole["a"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Chunked", {"a": "a", "a#2": "a", "b": "b", "c": "c"}),
        ("CrossStage", {"a": "a", "a#2": "a", "b": "b"}),
        ("UnevenSplit", {"a": "a", "a#2": "a#2", "b": "b", "c": "c"}),
    ],
)
def test_equal_pieces_go_with_the_first_of_them(name: str, expected: dict[str, str]) -> None:
    analysis = analysed(nets.NETS[name]())
    ids = [group.id for group in analysis.groups]
    found = {each: ids[first] for each, first in zip(ids, equal_splits(analysis), strict=True)}
    assert found == expected


@pytest.mark.parametrize("name", ["GroupedConv", "SqueezeExcite", "ChunkGate"])
def test_without_a_split_into_groups_each_is_by_itself(name: str) -> None:
    """The halves of ``ChunkGate`` are channels of one group, which go together anyway."""
    analysis = analysed(nets.NETS[name]())
    assert equal_splits(analysis) == tuple(range(len(analysis.groups)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Chunked", [("a", "a#2")]),
        ("UnevenSplit", [("a", "a#2")]),
        ("SqueezeExcite", []),
    ],
)
def test_groups_that_are_split_off_one_axis(name: str, expected: list[tuple[str, ...]]) -> None:
    analysis = analysed(nets.NETS[name]())
    ids = [group.id for group in analysis.groups]
    assert [tuple(ids[n] for n in each) for each in split_together(analysis)] == expected
