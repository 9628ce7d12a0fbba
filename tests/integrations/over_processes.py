"""Train and prune a small net by a framework's trainer, alone or in two processes, and write what comes out.

Run as ``torchrun --nproc-per-node 2 over_processes.py OUT FRAMEWORK``. Samples come in one order, and each process has every
second one, or every second half of a batch, so that gradients average to those of all.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    SequentialSampler,
    TensorDataset,
)

import graphprune as gp
from tests.sources import ROOT

EPOCHS = 4
BATCH = 8
CLOSE = 1e-9
"""Sums of gradients in another order, float64."""


def images() -> tuple[Tensor, Tensor]:
    """Images whose class is a matter of their colours."""
    made = torch.Generator().manual_seed(0)
    x = torch.randn(32, 3, 6, 6, generator=made, dtype=torch.float64)
    return x, x.mean((2, 3)).argmax(1)


def net() -> nn.Module:
    """Without BatchNorm, whose statistics are those of the process."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 3),
    ).double()  # fmt: skip


def lightning(method: str, processes: int, folder: Path) -> gp.Result:
    import lightning.pytorch as library

    from graphprune.integrations.lightning import SparsifyCallback

    class Module(library.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net()
            self.example_input_array = images()[0][:2]

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

        def training_step(self, batch: Any, _: int) -> Tensor:
            return F.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)

    pruning = SparsifyCallback(flops=0.5, method=method)
    trainer = library.Trainer(
        accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto",
        logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, max_epochs=EPOCHS, callbacks=[pruning],
        default_root_dir=folder, use_distributed_sampler=False,
    )  # fmt: skip
    samples = TensorDataset(*images())
    rank = int(os.environ.get("RANK", "0"))
    own = DistributedSampler(samples, processes, rank, shuffle=False)  # Lightning's own shuffles
    trainer.fit(Module(), DataLoader(samples, batch_size=BATCH // processes, sampler=own))
    assert pruning.result is not None
    return pruning.result


class Items(Dataset[Mapping[str, Any]]):
    """Images as a ``Trainer`` of transformers takes them."""

    def __len__(self) -> int:
        return len(images()[0])

    def __getitem__(self, number: int) -> Mapping[str, Any]:
        x, labels = images()
        return {"x": x[number], "labels": labels[number]}


class WithLoss(nn.Module):
    """A model as a ``Trainer`` of transformers takes it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.net(x)
        loss = {} if labels is None else {"loss": F.cross_entropy(logits, labels)}
        return {**loss, "logits": logits}


def transformers(method: str, processes: int, folder: Path) -> gp.Result:
    import transformers as library

    from graphprune.integrations.transformers import SparsifyCallback

    class Trainer(library.Trainer):
        def _get_train_sampler(self, *args: Any) -> Any:
            return SequentialSampler(Items())

    pruning = SparsifyCallback(flops=0.5, method=method, example_kwargs={"x": images()[0][:2]})
    arguments = library.TrainingArguments(
        output_dir=str(folder), use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no",
        per_device_train_batch_size=BATCH // processes, num_train_epochs=EPOCHS,
        learning_rate=1e-3, ddp_backend="gloo" if processes > 1 else None,
    )  # fmt: skip
    Trainer(model=WithLoss(), args=arguments, train_dataset=Items(), callbacks=[pruning]).train()
    assert pruning.result is not None
    return pruning.result


FRAMEWORKS = {"lightning": lightning, "transformers": transformers}


def check_two_processes(framework: str, method: str, folder: Path) -> None:
    """Check that two processes come to the result of one."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [*torchrun, "--nproc-per-node", "2", __file__, str(folder), framework, method],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    alone = FRAMEWORKS[framework](method, 1, folder)
    plans = {(folder / f"{rank}.json").read_text() for rank in (0, 1)}
    assert plans == {alone.plan.to_json()}
    states = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name, value in alone.model.state_dict().items():
        assert torch.equal(states[0][name], states[1][name])
        torch.testing.assert_close(states[0][name], value, atol=CLOSE, rtol=CLOSE)


def main(folder: Path, framework: str, method: str) -> None:
    result = FRAMEWORKS[framework](method, int(os.environ["WORLD_SIZE"]), folder)
    rank = os.environ["RANK"]
    torch.save(result.model.state_dict(), folder / f"{rank}.pt")
    (folder / f"{rank}.json").write_text(result.plan.to_json())
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    from benchmarks.zoo_nets import import_torchvision  # which both libraries import too

    import_torchvision()
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
