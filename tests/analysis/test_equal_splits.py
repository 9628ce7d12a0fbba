"""Splits into equal pieces, and the widths at which code that splits still fits."""

from __future__ import annotations

import pytest
import torch

import graphprune as gp
from tests import nets


@pytest.mark.parametrize("name", ["Chunked", "CrossStage", "UnevenSplit", "SplitCatAdd"])
def test_widths_at_which_the_code_that_splits_still_fits(name: str) -> None:
    torch.manual_seed(0)
    net = nets.NETS[name]()
    free = gp.compress(net, net.inputs(), flops=0.4, score="random")
    assert "--keep-class" in free.report.eager["reason"]
    kept = gp.compress(net, net.inputs(), flops=0.4, score="random", keep_class=True)
    assert type(kept.model) is type(net), kept.report.eager["reason"]
    assert kept.report.after.macs <= 0.4 * kept.report.before.macs
    assert gp.compress(net, net.inputs(), plan=kept.plan).report.eager["own_class"]


def test_equal_pieces_are_protected_together() -> None:
    net = nets.Chunked()
    result = gp.compress(net, net.inputs(), flops=0.8, keep_class=True, protect=["b.weight"])
    whole = {g.id: g.before == g.after for g in result.report.groups}
    assert whole["b"]
    assert whole["a"]
