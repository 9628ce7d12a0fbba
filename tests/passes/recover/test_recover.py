"""Least-squares repair: exact where it can be, never worse, and the same over processes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.errors import OptionError
from graphprune.ir.trace import trace
from graphprune.passes import Decision
from graphprune.passes.latency import Measured, ProfileLatency, Stopwatch
from graphprune.passes.recover.recover import with_tensors
from graphprune.passes.tune_latency import TuneLatency, predicted
from graphprune.plan.latency_table import LatencyTable
from graphprune.plan.plan import Plan
from tests.nets import NETS
from tests.passes.latency.helpers import pretended
from tests.passes.observe.helpers import Residual, shaken


def test_tied_weights_stay_tied() -> None:
    torch.manual_seed(0)
    net = NETS["TiedWeights"]().eval()
    program = trace(net, net.inputs())
    given = dict(program.state_dict)
    other = {id(t): t.detach() + 1 for t in given.values()}
    found = with_tensors(program, {name: other[id(t)] for name, t in given.items()}).state_dict
    for a, b in itertools.combinations(given, 2):
        assert (found[a] is found[b]) == (given[a] is given[b])
    assert len(set(map(id, given.values()))) < len(given)


def test_compress_with_data_is_far_nearer_to_the_dense_model() -> None:
    torch.manual_seed(0)
    net = shaken(Residual())
    data = torch.randn(128, 3, 8, 8)
    results = {
        how: gp.compress(net, (data[:2],), flops=0.5, calibration=[data], recover=how)
        for how in ("none", "bn", "ls")
    }
    with torch.no_grad():
        errors = {
            how: float((r.model(data) - net(data)).square().mean()) for how, r in results.items()
        }
    assert errors["ls"] < 0.5 * errors["none"]
    report = results["ls"].report
    assert report.recovery["after"] < report.recovery["before"]
    assert report.eager["own_class"]
    assert not results["none"].report.recovery


def test_recovering_without_data_is_refused() -> None:
    with pytest.raises(OptionError, match="needs calibration data"):
        gp.compress(Residual(), (torch.randn(2, 3, 8, 8),), flops=0.5, recover="ls")
    with pytest.raises(OptionError, match="needs calibration data"):
        gp.compress(Residual(), (torch.randn(2, 3, 8, 8),), flops=0.5, score="obs")


@pytest.mark.slow
def test_two_processes_give_the_plan_and_weights_of_one(tmp_path: Path) -> None:
    """Of as many threads each: torchrun sets one, and float32 sums depend on their number."""
    script = str(Path(__file__).with_name("over_processes.py"))
    threads = os.environ | {"OMP_NUM_THREADS": "1"}
    starts = {
        "one": [sys.executable, script],
        "two": [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            "2",
            script,
        ],
    }
    for name, command in starts.items():
        (tmp_path / name).mkdir()
        subprocess.run(
            [*command, str(tmp_path / name)], check=True, capture_output=True, env=threads
        )
    plan = (tmp_path / "one" / "0.json").read_text()
    weights = torch.load(tmp_path / "one" / "0.pt", weights_only=True)
    for rank in (0, 1):
        assert (tmp_path / "two" / f"{rank}.json").read_text() == plan
        found = torch.load(tmp_path / "two" / f"{rank}.pt", weights_only=True)
        assert found.keys() == weights.keys()
        for key, value in weights.items():
            torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-5)


def test_a_plan_that_is_moved_to_its_budget_is_repaired_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch.manual_seed(0)
    net, data = shaken(Residual()), torch.randn(128, 3, 8, 8)
    plans: list[Plan] = []

    def slower_at_first(_: Stopwatch, decision: Decision) -> Measured:
        plans.append(decision.plan)
        return Measured(predicted(decision) ** (0.5 if len(plans) == 1 else 1))

    monkeypatch.setattr(Stopwatch, "measure", slower_at_first)
    monkeypatch.setattr(ProfileLatency, "run", lambda _, state: pretended(state[Analysis]))
    monkeypatch.setattr(TuneLatency, "run", lambda _, state: state[LatencyTable])
    found = gp.compress(net, (data[:2],), latency=0.6, calibration=[data], any_width=True)
    assert plans[0] != plans[1]
    assert found.plan.keep == plans[1].keep
    assert 0 < found.report.recovery["after"] < found.report.recovery["before"]
