"""Plant redundant channels in published networks, and count how many of them go with no loss.

    PYTHONPATH=. python benchmarks/lossless.py

ResNet-50: a third of the inner channels of each block is zero, by scale and shift of the BatchNorm behind. MobileNetV2: in
each block a quarter of the expanded channels is a copy of another, by its filters and BatchNorms. Weights are random
otherwise. It prints what was planted, what went, and the error against the dense network in float64.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from zoo_nets import build

import graphprune as gp


def zeroed() -> tuple[nn.Module, Tensor, int]:
    """Make a ResNet-50 with zero channels."""
    model, example = build("torchvision:resnet50")
    planted = 0
    for name, norm in model.named_modules():
        if name.startswith("layer") and name.endswith((".bn1", ".bn2")):
            rows = torch.randperm(norm.num_features)[: norm.num_features // 3]
            with torch.no_grad():
                norm.weight[rows] = 0
                norm.bias[rows] = 0
            planted += len(rows)
    return model, example, planted


def copied() -> tuple[nn.Module, Tensor, int]:
    """Make a MobileNetV2 with channels that are copies of others."""
    model, example = build("torchvision:mobilenet_v2")
    planted = 0
    for block in model.features[2:-1]:
        expand, depthwise = block.conv[0], block.conv[1]
        order = torch.randperm(expand[0].out_channels)
        copies, of = order.chunk(4)[:2]
        of = of[: len(copies)]
        with torch.no_grad():
            for layer, norm, _ in (expand, depthwise):
                for tensor in (
                    layer.weight,
                    norm.weight,
                    norm.bias,
                    norm.running_mean,
                    norm.running_var,
                ):
                    tensor[copies[: len(of)]] = tensor[of]
        planted += len(of)
    return model, example, planted


def main() -> None:
    for name, make in (("resnet50, zero", zeroed), ("mobilenet_v2, copies", copied)):
        torch.manual_seed(0)
        model, example, planted = make()
        report = gp.compress(model, (example[:2],), lossless=True).report
        gone = sum(group.before - group.after for group in report.groups)
        print(
            f"{name}: {gone} of {planted} gone, error {report.lossless['max_error']:.1e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
