"""Run Torch-Pruning as its users do, to a budget of FLOPs.

It fails on the padded shortcuts of these ResNets (the pruned model raises), so it is told to leave the
residual stream whole and prunes the channels inside the blocks; graphprune is told nothing.

The budget is met by bisecting the pruning ratio. Pruning is global: channels of all groups compete.
``taylor`` and ``hessian`` get gradients of the cross-entropy with the true labels of the calibration
images, which graphprune doesn't see. ``hessian`` needs the mean of squared gradients over samples;
torch-pruning 1.6.1's own ``accumulate_grad`` keeps the last sample only, so the sum is made here.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from zoo import classifiers, macs, outputs

from graphprune.models.cifar_resnet import BasicBlock, CifarResNet

METHODS = ("magnitude", "taylor", "hessian")
STEPS = 12
"""Steps of bisection of the ratio: to 0.0002 of all channels."""

BATCH = 64


def pruned(
    model: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    method: str,
    budget: float,
    most: float = 1.0,
) -> nn.Module:
    """Find the model with the fewest channels removed that meets the budget, a share of its FLOPs.

    Args:
        model: the dense network.
        images: to compute importances from.
        labels: of the images.
        method: a key of ``METHODS``.
        budget: share of the FLOPs.
        most: largest share of a layer's channels that may be removed.
    """
    importance = _importance(model, images, labels, method)
    example = images[:2]
    dense = macs(model, example)
    low, high = 0.0, 1.0
    best: nn.Module | None = None
    for _ in range(STEPS):
        ratio = (low + high) / 2
        small = _pruned(model, importance, example, ratio, most)
        if small is not None and macs(small, example) <= budget * dense:
            best, high = small, ratio
        elif small is None:  # a layer has lost all its channels
            high = ratio
        else:
            low = ratio
    if best is None:
        raise ValueError(f"no ratio meets {budget:.0%} of the FLOPs")
    return best


def reestimate(model: nn.Module, images: torch.Tensor) -> nn.Module:
    """Copy a model and set its BatchNorm statistics to averages over the images."""
    small = copy.deepcopy(model)
    for layer in small.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.reset_running_stats()
            layer.momentum = None
    small.train()
    with torch.no_grad():
        for batch in images.split(BATCH):
            small(batch)
    return small.eval()


def stream(model: nn.Module) -> list[nn.Module]:
    """List the layers that write to the residual stream."""
    blocks = [layer.conv2 for layer in model.modules() if isinstance(layer, BasicBlock)]
    return [model.conv1, *blocks] if isinstance(model, CifarResNet) else []


def _pruned(
    model: nn.Module, importance: object, example: torch.Tensor, ratio: float, most: float
) -> nn.Module | None:
    import torch_pruning

    small, own = copy.deepcopy((model, importance))
    for new, old in zip(small.parameters(), model.parameters(), strict=True):
        new.grad = None if old.grad is None else old.grad.clone()  # deepcopy leaves it behind
    pruner = torch_pruning.pruner.MetaPruner(
        small, example, importance=own, global_pruning=True, pruning_ratio=ratio,
        max_pruning_ratio=most,
        ignored_layers=[*classifiers(small, outputs(small, example)), *stream(small)],
    )  # fmt: skip
    pruner.step()
    small.zero_grad()
    try:
        outputs(small, example)
    except RuntimeError:
        return None
    return small


def _importance(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, method: str
) -> object:
    import torch_pruning

    table = torch_pruning.importance
    model.zero_grad()
    if method == "magnitude":
        return table.MagnitudeImportance(p=2)
    if method == "taylor":
        for x, y in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            (F.cross_entropy(model(x), y, reduction="sum") / len(images)).backward()
        return table.TaylorImportance()
    importance = table.HessianImportance()
    squares = {parameter: torch.zeros_like(parameter) for parameter in model.parameters()}
    for x, y in zip(images.split(1), labels.split(1), strict=True):
        model.zero_grad()
        F.cross_entropy(model(x), y).backward()
        for parameter in squares:
            squares[parameter] += parameter.grad.square()
    importance._accu_grad = squares
    importance._counter = dict.fromkeys(squares, len(images))
    return importance


def regulariser(name: str, model: nn.Module, strength: float) -> Any:
    """Make the pruner that regularises a model while it is trained."""
    import torch_pruning

    example = torch.randn(2, 3, 32, 32)
    kinds = {
        "torch-pruning group-norm": torch_pruning.pruner.GroupNormPruner,
        "torch-pruning growing-reg": torch_pruning.pruner.GrowingRegPruner,
    }
    more = {"delta_reg": strength} if name.endswith("growing-reg") else {}
    return kinds[name](
        model, example, importance=torch_pruning.importance.GroupMagnitudeImportance(p=2),
        reg=strength, global_pruning=True, pruning_ratio=0.5,
        ignored_layers=[*classifiers(model, outputs(model, example)), *stream(model)], **more,
    )  # fmt: skip
