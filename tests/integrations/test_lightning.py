"""Lightning: a tiny module is trained by a ``Trainer`` and ends as its class with smaller layers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from graphprune.errors import LoadError, OptionError
from graphprune.integrations import framework_run

from .over_processes import check_two_processes

pytestmark = [pytest.mark.zoo, pytest.mark.filterwarnings("default")]


def SparsifyCallback(**options: Any) -> Any:  # noqa: N802
    """The callback, once the library can be imported."""
    from graphprune.integrations import lightning

    return lightning.SparsifyCallback(**options)


class Net(nn.Sequential):
    """What is in the module."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(16, 3),
        )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def library() -> Any:
    from benchmarks.zoo_nets import import_torchvision  # which Lightning imports too

    import_torchvision()
    return pytest.importorskip("lightning.pytorch")


@pytest.fixture
def module(library: Any) -> Any:
    """A module as users write it."""

    class Module(library.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = Net()
            self.example_input_array = torch.zeros(2, 3, 8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def training_step(self, batch: Any, _: int) -> Tensor:
            x, y = batch
            loss = F.cross_entropy(self(x), y)
            self.log("loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    return Module


def loader() -> Any:
    made = torch.Generator().manual_seed(0)
    x = torch.randn(32, 3, 8, 8, generator=made)
    return DataLoader(TensorDataset(x, x.mean((2, 3)).argmax(1)), batch_size=8)


def trainer(library: Any, folder: Path, **options: Any) -> Any:
    return library.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=folder,
        enable_model_summary=False, **{"enable_checkpointing": False, "max_epochs": 5, **options},
    )  # fmt: skip


@pytest.mark.parametrize("part", ["", "net"])
def test_a_module_ends_small_with_its_class_and_its_optimiser(
    library: Any, module: Any, tmp_path: Path, part: str
) -> None:
    torch.manual_seed(0)
    model = module()
    inputs = {"example_inputs": (torch.randn(2, 3, 8, 8),)} if part else {}
    pruning = SparsifyCallback(part=part, flops=0.5, method="group-lasso", **inputs)
    assert pruning.result is None
    fit = trainer(library, tmp_path, callbacks=[pruning], gradient_clip_val=1.0)
    fit.fit(model, loader())
    result = pruning.result
    assert result is not None
    assert type(result.model) is (Net if part else module)
    assert result.report.budget["met"]
    assert 0.4 < result.report.after.macs / result.report.before.macs <= 0.5
    assert not any("held" in note for note in result.report.notes)
    small: Any = result.model.eval()
    x = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(small(x), model.eval()(x), atol=1e-5, rtol=1e-5)
    assert isinstance(result.optimizer, torch.optim.AdamW)
    states = result.optimizer.state
    for parameter in small.parameters():
        assert states[parameter]["exp_avg"].shape == parameter.shape
        assert float(states[parameter]["step"]) == 20.0
    if part:
        model.net = small
    trainer(library, tmp_path, max_epochs=1).fit(model if part else small, loader())


def test_a_run_that_was_killed_comes_to_the_same_plan(
    library: Any, module: Any, tmp_path: Path
) -> None:
    class Keep(library.Callback):
        def on_train_epoch_end(self, fit: Any, pl_module: Any) -> None:
            del pl_module
            if fit.current_epoch == 1:
                fit.save_checkpoint(tmp_path / "killed.ckpt")

    def run(pruning: Any, checkpoint: Path | None = None) -> Any:
        torch.manual_seed(0)
        model = module()
        fit = trainer(library, tmp_path, callbacks=[pruning, Keep()])
        fit.fit(model, loader(), ckpt_path=checkpoint)
        return model

    whole = SparsifyCallback(flops=0.5, method="group-lasso")
    model = run(whole)
    resumed = SparsifyCallback(flops=0.5, method="group-lasso")
    other = run(resumed, tmp_path / "killed.ckpt")
    assert whole.result is not None
    assert resumed.result is not None
    assert resumed.result.plan == whole.result.plan
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_what_cannot_be_followed_is_refused(library: Any, module: Any, tmp_path: Path) -> None:
    class Two(module):
        def configure_optimizers(self) -> Any:
            return [torch.optim.SGD(self.parameters(), 0.1) for _ in range(2)]

        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False

    with pytest.raises(OptionError, match="2 optimisers"):
        trainer(library, tmp_path, callbacks=[SparsifyCallback(flops=0.5)]).fit(Two(), loader())
    unknown = module()
    unknown.example_input_array = None
    with pytest.raises(OptionError, match="no example inputs"):
        trainer(library, tmp_path, callbacks=[SparsifyCallback(flops=0.5)]).fit(unknown, loader())
    endless = trainer(library, tmp_path, callbacks=[SparsifyCallback(flops=0.5)], max_epochs=-1)
    with pytest.raises(OptionError, match="isn't known"):
        endless.fit(module(), loader())


@pytest.mark.filterwarnings("error")
def test_a_missing_library_is_an_error_with_a_hint(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise LoadError(f"{name} is not installed", hint="pip install it")

    monkeypatch.setattr("graphprune.integrations.lightning.import_library", missing)
    assert framework_run.base_class("no_such_library", "Callback") is object
    with pytest.raises(LoadError, match="not installed"):
        SparsifyCallback(flops=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["group-lasso", "gradual"])
def test_two_processes_come_to_the_result_of_one(tmp_path: Path, method: str) -> None:
    check_two_processes("lightning", method, tmp_path)
