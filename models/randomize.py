"""Give fresh networks statistics like those of trained ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["randomize_batchnorm"]


@torch.no_grad()
def randomize_batchnorm(model: nn.Module, seed: int) -> None:
    """Draw the parameters and statistics of every BN layer, in place.

    A fresh BN layer in evaluation mode is the identity, so a test on a fresh network would
    miss an error in its four vectors. Here no two channels have the same ones, one scale in
    eight or so is negative, and activations keep about the size they had.

    Args:
        model: any module; layers that are not BN stay as they are.
        seed: seed of the draw. The global random state is not used.

    >>> layer = nn.BatchNorm2d(3)
    >>> randomize_batchnorm(layer, seed=0)
    >>> bool((layer.weight == 1).any()), bool((layer.running_var > 0).all())
    (False, True)
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(like: Tensor, low: float, high: float) -> Tensor:
        unit = torch.rand(like.shape, generator=generator, dtype=torch.float64)
        return (low + (high - low) * unit).to(like)

    for module in model.modules():
        if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d):
            continue
        if module.affine:
            sign = torch.sign(uniform(module.weight, -1.0, 7.0))
            module.weight.copy_(sign * uniform(module.weight, 0.5, 1.5))
            module.bias.copy_(uniform(module.bias, -0.5, 0.5))
        if module.running_mean is not None and module.running_var is not None:
            module.running_mean.copy_(uniform(module.running_mean, -0.5, 0.5))
            module.running_var.copy_(uniform(module.running_var, 0.5, 2.0))
