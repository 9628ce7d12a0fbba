"""Pruning at initialisation."""

from __future__ import annotations

import torch

import graphprune as gp
from graphprune.training.at_init import AtInit

from .loop import Run, data, net
from .test_method import moment


def test_the_channels_are_those_that_synaptic_flow_chooses() -> None:
    run = Run.of("at-init")
    assert run.sparsify is not None
    want = gp.compress(net(), (data()[0][:2],), flops=0.5, score="synflow").plan
    assert run.sparsify.plan == want
    assert run.sparsify.settled


def test_making_it_changes_no_weight_and_the_first_step_does() -> None:
    before = net().state_dict()
    run = Run.of("at-init")
    assert run.sparsify is not None
    assert all(torch.equal(v, before[n]) for n, v in run.model.state_dict().items())
    assert run.sparsify.report().dead == 0
    run.go(1)
    report = run.sparsify.report()
    assert report.dead == report.going > 0


def test_other_widths_and_criteria_are_taken() -> None:
    erk = Run.of("at-init", allocate="erk").sparsify
    snip = Run.of("at-init", score="snip", calibration=[data()[0]]).sparsify
    assert erk is not None
    assert snip is not None
    assert erk.plan != snip.plan


def test_what_goes_is_zero() -> None:
    now = moment(step=1)
    AtInit().after_step(now)
    assert (now.channels.norms()[now.going] == 0).all()
