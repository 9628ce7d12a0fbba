"""Widths that the class can run with, chosen by default."""

from __future__ import annotations

import torch
from torch import nn

import graphprune as gp
from graphprune.analysis.analyse import Analysis
from graphprune.passes import Allocate, Decision
from graphprune.passes.latency import workload
from graphprune.pipeline import Pipeline
from graphprune.plan.budget import Budget
from graphprune.rebuild.class_constraints import ClassConstraints
from graphprune.workflow.class_widths import class_widths, has_values, noting_price
from graphprune.workflow.job import Job
from graphprune.workflow.options import Options
from tests import nets
from tests.passes.latency.test_branch_workload import table_of


def test_a_program_and_a_model_without_values_have_no_class_to_keep() -> None:
    net = nets.NETS["Chunked"]()
    program = torch.export.export(net, net.inputs())
    assert gp.compress(program, flops=0.5).report.budget["met"]
    with torch.device("meta"):
        huge = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 4))
        inputs = (torch.randn(2, 8),)
    assert (has_values(huge), has_values(net)) == (False, True)
    allocator = Allocate(budget=Budget("macs", 0.5))
    assert (
        gp.decide(huge, inputs, allocator=allocator, score="random").get(ClassConstraints) is None
    )


def test_deciding_alone_chooses_them_too() -> None:
    torch.manual_seed(0)
    net = nets.NETS["Chunked"]()
    allocator = Allocate(budget=Budget("macs", 0.4))
    kept = gp.decide(net, net.inputs(), allocator=allocator)
    free = gp.decide(net, net.inputs(), allocator=allocator, any_width=True)
    assert kept[ClassConstraints].binding
    assert free.get(ClassConstraints) is None


def test_the_price_of_a_latency_is_read_off_the_table_that_was_measured_meanwhile() -> None:
    torch.manual_seed(0)
    net = nets.NETS["Chunked"]()
    scored = Job.begin(net, net.inputs(), None, None, 1, Options(), None).scored
    limits, allocate = class_widths(net, scored), Allocate(budget=Budget.latency(0.5))
    assert isinstance(limits, ClassConstraints)
    assert limits.binding
    known = scored.knowing(limits, table_of(workload(scored[Analysis], 1)))
    decided = Pipeline((allocate,), given=tuple(known.facts)).run(known)
    (note,) = set(noting_price(allocate, scored, decided)[Decision].notes) - {
        *decided[Decision].notes
    }
    assert note.startswith("widths that the model's class can run with")


def test_where_the_class_runs_with_any_widths_nothing_is_said() -> None:
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4)), (torch.randn(2, 8),)
    kept, free = (gp.compress(net, x, flops=0.5, any_width=free) for free in (False, True))
    assert kept.plan == free.plan
    assert not any("class" in note for note in kept.report.notes)
