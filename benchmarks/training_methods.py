"""The methods that ``training.py`` compares, in one loop: each gets a dense network and so many epochs.

What is trained, in which order and with which learning rates is the same for all. Where a method has two phases,
each has a schedule of its own, and both together have the epochs that the others have.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import graphprune as gp
from graphprune.models import cifar_resnet
from graphprune.models.digits import Split
from graphprune.models.train_images import MEAN, STD
from graphprune.training.gradual import Gradual
from graphprune.training.group_lasso import GroupLasso
from graphprune.training.proximal import Proximal

BATCH = 128
SEEN = 1024
"""Images without labels that our methods see for plans and repairs; Torch-Pruning plans by the weights."""

HEAT, TAUGHT = 4.0, 0.9
"""Temperature of the teacher's outputs, and their share of the loss (Hinton et al. 2015, arXiv:1503.02531)."""
EXAMPLE = cifar_resnet.example_inputs()

PEERS = ("torch-pruning one-shot", "torch-pruning group-norm", "torch-pruning growing-reg")
PEER_STRENGTH = {"torch-pruning group-norm": 1e-4, "torch-pruning growing-reg": 1e-4}
"""Of its regularisers: the library's default for group-norm, ten times that of growing-reg, whose ``reg`` is increased four
times in a run, by as much. At 1e-3 no ratio meets half of the FLOPs after group-norm; after growing-reg none does at 1e-4."""


MOST = 0.9
"""Largest share of a layer that Torch-Pruning removes after its sparse learning, which otherwise empties layers."""


@dataclass(frozen=True)
class Task:
    """Data and a budget of training.

    Attributes:
        train: images and labels to train on.
        val: images and labels to measure on.
        epochs: passes over the images.
        rate: highest learning rate.
        seed: of the order of the images, their changes, and new weights.
        bfloat16: whether layers compute in it while training.
        batch: images of a step.
        archive: the images to train on as a file.
        teacher: gives nine tenths of the loss, if there is one: its outputs at temperature 4.
    """

    train: Split
    val: Split
    epochs: float
    rate: float = 0.02
    seed: int = 0
    bfloat16: bool = True
    batch: int = BATCH
    archive: Path | None = None
    teacher: nn.Module | None = None

    @property
    def unlabelled(self) -> list[Tensor]:
        """Images by which our methods plan and repair, of all classes."""
        return [self.train.images[self._some]]

    @property
    def _some(self) -> Tensor:
        """Numbers of some images, which lie sorted by class."""
        drawn = torch.Generator().manual_seed(self.seed)
        return torch.randperm(len(self.train.labels), generator=drawn)[:SEEN]

    @property
    def steps(self) -> int:
        return max(1, round(self.epochs * (len(self.train.labels) // self.batch)))

    def part(self, share: float, seed: int = 0) -> Task:
        return replace(self, epochs=self.epochs * share, seed=self.seed + 100 * seed)

    @torch.no_grad()
    def accuracy(self, model: nn.Module) -> float:
        model.eval()
        right = [
            (model(x).argmax(1) == y).sum()
            for x, y in zip(self.val.images.split(500), self.val.labels.split(500), strict=True)
        ]
        return float(sum(right)) / len(self.val.labels)


@dataclass
class Loop:
    """A training in a plain loop.

    Attributes:
        task: the data and the budget.
        model: is changed.
        optimizer: on its parameters.
        seconds: CPU time of each quarter.
    """

    task: Task
    model: nn.Module
    optimizer: torch.optim.Optimizer
    seconds: list[float] = field(default_factory=list)

    @staticmethod
    def of(task: Task, model: nn.Module) -> Loop:
        model = model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        optimizer = torch.optim.SGD(
            model.parameters(), lr=task.rate, momentum=0.9, nesterov=True, weight_decay=5e-4
        )
        return Loop(task, model, optimizer)

    def run(
        self,
        sparsify: gp.Sparsify | None = None,
        before_step: Callable[[int], None] = lambda _: None,
    ) -> nn.Module:
        """Train, with warm-up and a cosine."""
        task, steps = self.task, self.task.steps
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, max_lr=task.rate, total_steps=steps + 1, pct_start=0.15,
            div_factor=10, final_div_factor=100, cycle_momentum=False,
        )  # fmt: skip
        draw = torch.Generator().manual_seed(task.seed)
        order, start = torch.empty(0, dtype=torch.long), time.process_time()
        for step in range(steps):
            if len(order) < task.batch:
                order = torch.randperm(len(task.train.labels), generator=draw)
            batch, order = order[: task.batch], order[task.batch :]
            images = changed(task.train.images[batch], draw)
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=task.bfloat16):
                loss = task_loss(self.model(images), task.train.labels[batch], task, images)
            if sparsify is not None:
                loss = loss + sparsify.penalty()
            self.optimizer.zero_grad()
            loss.backward()
            before_step(step)
            self.optimizer.step()
            schedule.step()
            if sparsify is not None:
                sparsify.step()
            if (step + 1) * 4 // steps > step * 4 // steps:
                self.seconds.append(round(time.process_time() - start, 1))
                start = time.process_time()
        return self.model


def task_loss(outputs: Tensor, labels: Tensor, task: Task, images: Tensor) -> Tensor:
    loss = F.cross_entropy(outputs.float(), labels)
    if task.teacher is None:
        return loss
    with torch.no_grad():
        wanted = F.log_softmax(task.teacher(images).float() / HEAT, 1)
    got = F.log_softmax(outputs.float() / HEAT, 1)
    divergence = F.kl_div(got, wanted, log_target=True, reduction="batchmean")
    return (1 - TAUGHT) * loss + TAUGHT * HEAT**2 * divergence


def changed(images: Tensor, draw: torch.Generator) -> Tensor:
    """Mirror half of the images, and shift all of a batch by up to 4 pixels."""
    mirrored = (torch.rand(len(images), generator=draw) < 0.5).view(-1, 1, 1, 1)
    images = torch.where(mirrored, images.flip(3), images)
    padded = F.pad(images, (4, 4, 4, 4))
    top, left = torch.randint(9, (2,), generator=draw).tolist()
    return padded[:, :, top : top + images.shape[2], left : left + images.shape[3]]


@dataclass(frozen=True)
class Outcome:
    """What a method ends with.

    Attributes:
        model: the smaller network.
        seconds: CPU time of each quarter of its (last) training.
    """

    model: nn.Module
    seconds: list[float]


Method = Callable[[nn.Module, Task, float], Outcome]
"""From a network that it may change, a task and a budget, a share of the FLOPs."""


def sparsified(
    method: Any,
    dense: nn.Module,
    task: Task,
    budget: float,
    *,
    data: bool = True,
    ours: bool = False,
) -> Outcome:
    """Prune in the loop.

    Args:
        method: its name, or itself.
        dense: the network.
        task: what it is trained on.
        budget: share of the FLOPs.
        data: plan by images without labels, rather than by the weights alone.
        ours: take the plan that ``gp.compress`` chooses, rather than one of the criterion.
    """
    loop = Loop.of(task, dense)
    asked: dict[str, Any] = {"calibration": task.unlabelled} if data else {}
    if ours:
        asked = {"plan": compressed(dense, task, budget).plan}
        dense.train()
    else:
        asked["flops"] = budget
    if method == "progressive":
        asked["optimizer"] = loop.optimizer
    sparsify = gp.Sparsify(dense, EXAMPLE, method=method, steps=task.steps, samples=SEEN, **asked)
    loop.run(sparsify)
    return Outcome(sparsify.finish(loop.optimizer).model, loop.seconds)


def compressed(dense: nn.Module, task: Task, budget: float, **options: Any) -> gp.Result:
    """Cut and repair with images without labels."""
    return gp.compress(
        dense.eval(), EXAMPLE, flops=budget, calibration=task.unlabelled, any_width=True, **options
    )


def one_shot(dense: nn.Module, task: Task, budget: float) -> Outcome:
    """Cut and repair, then train."""
    loop = Loop.of(task, compressed(dense, task, budget).model)
    return Outcome(loop.run(), loop.seconds)


def in_one_command(dense: nn.Module, task: Task, budget: float) -> Outcome:
    """Run ``graphprune compress --finetune``: cut, repair, and train by its own recipe, with the dense network as teacher."""
    train = gp.images(task.archive or "", mean=MEAN, std=STD)
    start = time.process_time()
    how = {"train": train, "finetune": round(task.epochs), "augment": ("flip", "crop")}
    small = compressed(dense, task, budget, **how).model
    return Outcome(small, [round(time.process_time() - start, 1)])


def with_teacher(method: Method, dense: nn.Module, task: Task, budget: float) -> Outcome:
    teacher = copy.deepcopy(dense).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return method(dense, replace(task, teacher=teacher), budget)


def plain(dense: nn.Module, task: Task, budget: float) -> Outcome:
    """Train on, uncut."""
    del budget
    loop = Loop.of(task, dense)
    return Outcome(loop.run(), loop.seconds)


def peer(name: str, dense: nn.Module, task: Task, budget: float) -> Outcome:
    """Run Torch-Pruning: sparse learning for half of the epochs, where it has one, then training."""
    import peers

    seconds: list[float] = []
    first = 0.0 if name == "torch-pruning one-shot" else 0.5
    if first:
        loop = Loop.of(task.part(first), dense)
        pruner = peers.regulariser(name, dense, PEER_STRENGTH[name])
        every = max(1, loop.task.steps // 5)

        def before_step(step: int) -> None:
            if name.endswith("growing-reg") and step and step % every == 0:
                pruner.update_reg()
            pruner.regularize(dense)

        pruner.update_regularizer()
        loop.run(before_step=before_step)
        seconds = loop.seconds
    images, labels = task.train.images[:2], task.train.labels[:2]  # for their shapes
    most = MOST if first else 1.0
    small = peers.pruned(dense.eval(), images, labels, "magnitude", budget, most)
    loop = Loop.of(task.part(1 - first, seed=1), small)
    return Outcome(loop.run(), seconds + loop.seconds)


OURS: Mapping[str, Method] = {
    "one-shot + repair": one_shot,
    "gradual": partial(sparsified, Gradual(updates=4)),
    "mask-sparsity": partial(sparsified, "mask-sparsity", ours=True),
    "group-lasso": partial(sparsified, GroupLasso(updates=2)),
    "proximal": partial(sparsified, Proximal(updates=2)),
    "progressive": partial(sparsified, "progressive", data=False),
    "at-init": partial(sparsified, "at-init", data=False),
}

TAUGHT_TOO = ("one-shot + repair", "gradual")

METHODS: Mapping[str, Method] = {
    "dense": plain,
    "one-shot + repair": one_shot,
    **{f"{name} + teacher": partial(with_teacher, OURS[name]) for name in TAUGHT_TOO},
    **{name: partial(peer, name) for name in PEERS},
    "torch-pruning one-shot + teacher": partial(with_teacher, partial(peer, PEERS[0])),
    **OURS,
    "one command": in_one_command,
}
"""What starts from the trained network."""


def reinitialised(dense: nn.Module, task: Task, budget: float) -> Outcome:
    """Take the widths that group-lasso finds in a training from scratch, and train them from new weights."""
    found = sparsified("group-lasso", copy.deepcopy(dense), task, budget, data=False)
    torch.manual_seed(task.seed + 1)
    for layer in found.model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            layer.reset_parameters()
    loop = Loop.of(task, found.model)
    return Outcome(loop.run(), loop.seconds)


SCRATCH: Mapping[str, Method] = {
    "from scratch: dense": plain,
    "from scratch: at-init": partial(sparsified, "at-init", data=False),
    "from scratch: progressive": partial(sparsified, "progressive", data=False),
    "from scratch: group-lasso": partial(sparsified, "group-lasso", data=False),
    "from scratch: its widths, new weights": reinitialised,
}
"""What starts from random weights, at five times the learning rate."""
