"""States of runs whose layers had shrunk."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from graphprune.errors import MismatchError

from .loop import STEPS, Run, net


@pytest.mark.parametrize("killed", [5, 8, 13, 30])
def test_a_run_that_shrinks_goes_on_to_the_same_weights(killed: int) -> None:
    """Before the first cut, at it, between two, and after the last."""
    whole, run = Run.of("progressive").go(), Run.of("progressive").go(killed)
    again = Run.of("progressive", net(seed=5))
    assert run.sparsify is not None
    assert again.sparsify is not None
    again.sparsify.load_state_dict(run.sparsify.state_dict())
    again.model.load_state_dict(run.model.state_dict())
    again.optimizer.load_state_dict(run.optimizer.state_dict())
    again.go(STEPS - killed)
    assert whole.sparsify is not None
    assert again.sparsify.plan == whole.sparsify.plan
    for a, b in zip(again.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_run_that_shrank_is_not_taken_up_without_its_optimiser() -> None:
    run = Run.of("progressive").go(10)
    assert run.sparsify is not None
    again = Run.of("progressive", optimizer=None)
    assert again.sparsify is not None
    with pytest.raises(MismatchError, match="no optimizer was given"):
        again.sparsify.load_state_dict(run.sparsify.state_dict())


@pytest.mark.parametrize("state", [[], None, "state", 3])
def test_what_is_no_state_is_named(state: Any) -> None:
    sparsify = Run.of("gradual").sparsify
    assert sparsify is not None
    with pytest.raises(MismatchError, match=type(state).__name__):
        sparsify.load_state_dict(state)
