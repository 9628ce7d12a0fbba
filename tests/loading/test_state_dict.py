"""State dicts as training scripts and wrappers save them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from graphprune.errors import LoadError
from graphprune.loading import load
from graphprune.loading.state_dict import fill, prefixes


class Wide(nn.Module):
    """A module to fill."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.fc = nn.Linear(3, width)


HERE = __name__


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, HERE, sys.modules[__name__])


class Holder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.module = Wide()


def test_the_one_state_dict_of_a_checkpoint(tmp_path: Path) -> None:
    file, wide, holder = tmp_path / "run.pt", Wide().state_dict(), Holder().state_dict()
    for content in (
        {"model": wide, "epoch": 3, "optimizer": {"lr": 0.1}},
        {"state_dict": holder},
        holder,
        {f"model.{name}": value for name, value in holder.items()},
    ):
        torch.save(content, file)
        found = load(file, arch=f"{HERE}:Wide", inputs=["1x3"]).model
        assert found is not None
        values = list(content.get("model", content.get("state_dict", content)).values())
        assert torch.equal(found.get_parameter("fc.weight"), values[0])


def test_a_checkpoint_that_could_mean_several(tmp_path: Path) -> None:
    torch.save({"model": Wide().state_dict(), "ema": Wide().state_dict()}, tmp_path / "run.pt")
    with pytest.raises(LoadError, match="several state dicts: model, ema"):
        load(tmp_path / "run.pt", arch=f"{HERE}:Wide", inputs=["1x3"])
    torch.save({"model": Wide(), "ema": Wide()}, tmp_path / "run.pt")
    with pytest.raises(LoadError, match="several modules: model, ema"):
        load(tmp_path / "run.pt", inputs=["1x3"], trust_pickle=True)


def test_names_that_do_not_fit_are_shown_as_they_are(tmp_path: Path) -> None:
    torch.save({"model.other.weight": torch.ones(3)}, tmp_path / "run.pt")
    with pytest.raises(
        LoadError, match=r"doesn't fit Wide: Missing .*fc.weight.*Unexpected .*model.other.weight"
    ):
        load(tmp_path / "run.pt", arch=f"{HERE}:Wide", inputs=["1x3"])


class Averaged(nn.Module):
    """Keeps counters of its own beside the module, as AveragedModel does."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.inner = module
        self.register_buffer("steps", torch.tensor(7))
        self.register_buffer("epochs", torch.tensor(2, dtype=torch.int32))


@pytest.mark.parametrize(
    "wrap",
    [AveragedModel, Averaged, lambda net: AveragedModel(nn.DataParallel(net))],
    ids=["averaged", "own", "both"],
)
def test_a_wrappers_counter_is_no_weight(
    wrap: Callable[[nn.Module], nn.Module], tmp_path: Path
) -> None:
    net = Wide()
    torch.save(wrap(net).state_dict(), tmp_path / "run.pt")
    found = load(tmp_path / "run.pt", arch=f"{HERE}:Wide", inputs=["1x3"]).model
    assert found is not None
    assert torch.equal(found.get_parameter("fc.weight"), net.fc.weight)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_extra_names_are_ignored_only_when_asked(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net, file = Wide(), tmp_path / "run.pt"
    state = {**net.state_dict(), "auxiliary.weight": torch.ones(2), "scale": torch.tensor(2.0)}
    torch.save({prefix + name: value for name, value in state.items()}, file)
    with pytest.raises(LoadError, match="doesn't fit Wide: Unexpected") as caught:
        load(file, arch=f"{HERE}:Wide", inputs=["1x3"])
    assert caught.value.options == ("arch", "ignore_extra_keys")
    with caplog.at_level(logging.WARNING, "graphprune"):
        found = load(file, arch=f"{HERE}:Wide", inputs=["1x3"], ignore_extra_keys=True).model
    assert found is not None
    assert torch.equal(found.get_parameter("fc.weight"), net.fc.weight)
    assert "ignored 'auxiliary.weight', 'scale'" in caplog.text


def test_a_warning_lists_a_few_names(caplog: pytest.LogCaptureFixture) -> None:
    model = torch.nn.Linear(2, 2)
    extra = {f"extra{number:02}": torch.zeros(1) for number in range(12)}
    fill(model, model.state_dict() | extra, "net.pt", ignore_extra_keys=True)
    assert "'extra09' and 2 more" in caplog.text
    assert "extra10" not in caplog.text


def test_missing_names_are_never_ignored(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.ones(4, 3), "other": torch.ones(1)}, tmp_path / "run.pt")
    for ignore in (False, True):
        with pytest.raises(LoadError, match=r"Missing .*fc\.bias") as caught:
            load(
                tmp_path / "run.pt",
                arch=f"{HERE}:Wide",
                inputs=["1x3"],
                ignore_extra_keys=ignore,
            )
        assert caught.value.options == ("arch",)


@pytest.mark.parametrize("prefix", ["model.", "net.inner.", "student_."])
def test_the_module_within_a_larger_one(
    prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A module of Lightning has the weights of its loss beside those of the model."""
    wide = Wide().state_dict()
    larger = {f"{prefix.rstrip('_.')}.{name}": value for name, value in wide.items()}
    torch.save({"state_dict": {**larger, "loss.weight": torch.ones(4)}}, tmp_path / "run.ckpt")
    with caplog.at_level(logging.WARNING):
        found = load(tmp_path / "run.ckpt", arch=f"{HERE}:Wide", inputs=["1x3"]).model
    assert found is not None
    assert torch.equal(found.get_parameter("fc.weight"), wide["fc.weight"])
    assert "loss.weight" in caplog.text
    assert "fc.weight" not in caplog.text


def test_several_copies_in_one_state_dict_are_refused(tmp_path: Path) -> None:
    state = {f"{head}.{n}": v for head in ("model", "ema") for n, v in Wide().state_dict().items()}
    torch.save(state, tmp_path / "run.pt")
    with pytest.raises(LoadError, match=r"several copies of the Wide: model\., ema\."):
        load(tmp_path / "run.pt", arch=f"{HERE}:Wide", inputs=["1x3"])


def test_prefixes_need_all_names() -> None:
    own = Wide().state_dict()
    assert prefixes(own, own) == prefixes({**own, "ema.fc.weight": 0}, own) == [""]
    assert prefixes({"a.fc.weight": 0, "b.x": 0}, own) == []
    assert prefixes({"a.fc.weight": 0, "a.fc.bias": 0, "b.fc.weight": 0}, own) == ["a."]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_counters_that_were_cast_along_are_counters_again(kind: torch.dtype) -> None:
    model = nn.BatchNorm2d(4)
    state = {name: value.to(kind) for name, value in model.state_dict().items()}
    state["num_batches_tracked"] += 3
    fill(model, state, "half.pt", ignore_extra_keys=False)
    assert model.num_batches_tracked is not None
    assert int(model.num_batches_tracked) == 3
    assert model.num_batches_tracked.dtype == torch.int64
    with pytest.raises(LoadError, match="num_batches_tracked"):
        fill(
            model,
            {**state, "num_batches_tracked": torch.tensor(0.5)},
            "half.pt",
            ignore_extra_keys=False,
        )
