"""What the callbacks share: one optimiser, a known number of steps, and options that aren't the framework's."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

from graphprune.errors import OptionError
from graphprune.integrations import transformers
from graphprune.integrations.framework_run import FrameworkRun, base_class


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))


def run(**options: Any) -> FrameworkRun:
    return FrameworkRun({"params": 0.6, "example_inputs": (torch.randn(2, 4),), **options})


def test_a_missing_library_leaves_a_class_to_derive_from() -> None:
    assert base_class("no_such_library.at_all", "Callback") is object
    assert base_class("collections.abc", "Mapping").__name__ == "Mapping"


@pytest.mark.parametrize("name", ["model", "optimizer", "steps"])
def test_what_the_framework_knows_is_refused(name: str) -> None:
    with pytest.raises(OptionError, match=f"{name} comes from the framework"):
        run(**{name: None})


def test_example_inputs_are_known_where_they_are_given_in_any_form() -> None:
    for inputs in (torch.randn(2, 4), (torch.randn(2, 4),), [torch.randn(2, 4)]):
        assert run(example_inputs=inputs).has_inputs
    assert FrameworkRun({"example_kwargs": {"x": torch.randn(2, 4)}}).has_inputs
    assert not run(example_inputs=None).has_inputs
    assert not FrameworkRun({"params": 0.6}).has_inputs


def test_the_callback_of_transformers_takes_one_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transformers, "import_library", lambda _: None)
    made = transformers.SparsifyCallback(flops=0.5, example_inputs=torch.randn(2, 4))
    assert made.result is None


def test_loops_that_cannot_be_followed_are_refused() -> None:
    model = net()
    optimizers = [torch.optim.SGD(model.parameters(), 0.1) for _ in range(2)]
    with pytest.raises(OptionError, match="2 optimisers"):
        run().begin(model, optimizers, 10)
    with pytest.raises(OptionError, match="0 optimisers"):
        run().begin(model, [], 10)
    for steps in (0, float("inf"), -1):
        with pytest.raises(OptionError, match="isn't known"):
            run().begin(model, optimizers[:1], steps)


def train(each: FrameworkRun, model: nn.Module, optimizer: Any, steps: int) -> None:
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        optimizer.zero_grad()
        model(x).square().mean().backward()
        optimizer.step()


def test_a_run_that_was_killed_goes_on() -> None:
    whole = run()
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    assert whole.state == {}
    whole.begin(model, [optimizer], 8)
    train(whole, model, optimizer, 5)
    states = copy.deepcopy([model.state_dict(), optimizer.state_dict()])
    killed = whole.state
    train(whole, model, optimizer, 3)
    result = whole.end()
    assert result is whole.result
    assert result.report.budget["met"]

    again, other = run(), net()
    other.load_state_dict(states[0])
    resumed = torch.optim.SGD(other.parameters(), 0.1, momentum=0.9)
    resumed.load_state_dict(states[1])
    again.begin(other, [resumed], 8, killed)
    train(again, other, resumed, 3)
    assert again.end().plan == result.plan
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)
