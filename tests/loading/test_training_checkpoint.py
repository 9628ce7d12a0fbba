"""Which entry of a training checkpoint is what, by what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from graphprune.errors import LoadError
from graphprune.loading.training_checkpoint import (
    is_optimizer_state,
    is_weights,
    load_training_checkpoint,
)
from tests import nets


def test_weights_are_known_by_names_and_shapes() -> None:
    net = nn.Linear(3, 2)
    state = net.state_dict()
    for weights in (state, nn.DataParallel(net).state_dict(), AveragedModel(net).state_dict(), net):
        assert is_weights(weights, net)
    for other in (
        nn.Linear(2, 2).state_dict(),
        {"weight": state["weight"]},
        {**state, "more": torch.ones(1)},
        {**state, "bias": 0.0},
        nn.Flatten(),
        [state],
        3,
        {1: state["weight"]},
    ):
        assert not is_weights(other, net)


def test_tied_weights_may_be_left_out() -> None:
    net: Any = nets.NETS["TiedWeights"]()
    state = {name: value for name, value in net.state_dict().items() if name != "b.weight"}
    assert is_weights(state, net)
    del state["a.weight"]
    assert not is_weights(state, net)


def test_an_optimisers_state_is_known_by_its_form() -> None:
    net = nn.Linear(3, 2)
    assert is_optimizer_state(torch.optim.SGD(net.parameters(), 0.1).state_dict())
    for other in (
        net.state_dict(),
        {"state": {}, "param_groups": {}},
        {"state": {}, "param_groups": [{"params": "all"}]},
        {"state": 1, "param_groups": []},
        torch.optim.SGD(net.parameters(), 0.1),
    ):
        assert not is_optimizer_state(other)


def test_the_first_weights_in_the_file_are_the_models(tmp_path: Path) -> None:
    net: Any = nets.NETS["SqueezeExcite"]()
    other: Any = nets.NETS["SqueezeExcite"]()
    file = tmp_path / "train.pt"
    torch.save({"run": {"epoch": 1, "net": net.state_dict()}, "ema": other.state_dict()}, file)
    found = load_training_checkpoint(file, arch="tests.nets:SqueezeExcite", inputs=["2x3x8x8"])
    assert torch.equal(found.model.get_parameter("a.weight"), net.a.weight)
    assert found.inputs[0].shape == (2, 3, 8, 8)
    assert found.content["run"]["epoch"] == 1
    with pytest.raises(LoadError, match="no such file"):
        load_training_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"a.weight": torch.ones(9, 3, 3, 3)}, "'a.weight' is of shape (9, 3, 3, 3), in the model"),
        ({"a.weight": None}, "'a.weight' is missing"),
        ({"more": torch.ones(2)}, "'more' isn't of the model"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_weights_that_differ_from_the_models_are_told_from_others(
    tmp_path: Path, change: dict[str, Any], said: str, prefix: str
) -> None:
    """Other numbers of classes, layers that were added since, and weights that were cut already."""
    net: Any = nets.NETS["SqueezeExcite"]()
    state = {f"{prefix}{name}": value for name, value in {**net.state_dict(), **change}.items()}
    state = {name: value for name, value in state.items() if value is not None}
    torch.save({"epoch": 3, "weights": state}, tmp_path / "t.pt")
    with pytest.raises(LoadError) as failure:
        load_training_checkpoint(tmp_path / "t.pt", arch="tests.nets:SqueezeExcite")
    assert str(failure.value).startswith("t.pt holds weights of another tests.nets:SqueezeExcite")
    assert said in str(failure.value)
    assert "classes=10" in failure.value.hint


def test_a_trusted_module_brings_its_class(tmp_path: Path) -> None:
    net: Any = nets.NETS["SqueezeExcite"]()
    file = tmp_path / "train.pt"
    torch.save({"net": nn.DataParallel(net), "epoch": 1}, file)
    with pytest.raises(LoadError, match="pickled"):
        load_training_checkpoint(file, inputs=["2x3x8x8"])
    for arch in ("", "tests.nets:SqueezeExcite"):
        found = load_training_checkpoint(file, arch=arch, inputs=["2x3x8x8"], trust_pickle=True)
        assert torch.equal(found.model.get_parameter("a.weight"), net.a.weight)
