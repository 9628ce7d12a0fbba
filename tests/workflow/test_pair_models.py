"""The smaller model stands beside the dense one, on its device, and tells whether weights changed before the cut."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from graphprune.analysis.analyse import analyse
from graphprune.cut.cut import Cut
from graphprune.ir.trace import trace
from graphprune.passes import Redundant
from graphprune.pipeline import State
from graphprune.rebuild.rebuild import Rebuilt
from graphprune.workflow.pair_models import pair_models
from tests import nets


@pytest.mark.parametrize("reason", [None, "zero", "constant"])
def test_the_pair_of_a_run(reason: str | None) -> None:
    net: Any = nets.NETS["SqueezeExcite"]().eval()
    program = trace(net, net.inputs())
    analysis = analyse(program)
    cut = Cut.keeping(analysis, {"a": tuple(range(4))})
    state = State(program)
    if reason is not None:
        state = state.knowing(Redundant({"a": (4,)}, {"a": {reason: 1}}, program))
    rebuilt = Rebuilt(torch.nn.Linear(2, 2), own_class=True, reason="", max_error=0.0)
    given = torch.nn.Sequential(net)
    pair = pair_models(given, net, rebuilt, cut, state, torch.device("meta"))
    assert (pair.given, pair.dense, pair.cut, pair.own_class) == (given, net, cut, True)
    assert {p.device.type for p in pair.small.parameters()} == {"meta"}
    assert pair.reweighted is (reason == "constant")
