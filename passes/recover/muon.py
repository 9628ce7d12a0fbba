"""Muon in the metric of the data: an optimiser whose steps move every layer's outputs by an equal share.

Muon replaces the momentum of a layer's gradient by the nearest orthogonal matrix: the steepest
descent among steps of one spectral norm. Here the norm is that of ``D L``, where ``D`` is the step
and ``L Lᵀ = E[x xᵀ]`` the second moment of what the layer is given: so it bounds the change of the
layer's outputs on the data, and inputs that are alike don't make the step smaller.

Sources: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024;
Bernstein, Newhouse, "Old Optimizer, New Norm" (arXiv:2409.20325, proposition 5); whitened inputs:
Desjardins et al., "Natural Neural Networks" (arXiv:1507.00210, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphprune.ir.devices import wide
from graphprune.passes.observe import Moments, as_matrix, from_matrix

__all__ = ["Metric", "Muon"]

MOMENTUM = 0.9
"""Decay of the momentum, with Nesterov's look-ahead."""

DAMPING = 1e-2
"""Damping added to the second moment's diagonal, in units of its mean."""

_QUINTIC = (3.4445, -4.7750, 2.0315)
"""Coefficients of the Newton-Schulz iteration by Jordan et al.: five rounds bring singular values of at least
0.01 to between 0.7 and 1.2."""

_ROUNDS = 5


@dataclass(frozen=True)
class Metric:
    """Metric in which a layer's step is measured: that of its inputs.

    Attributes:
        inverse: ``[groups, u, u]``, inverse of the Cholesky factor ``L``.
        scale: ``[groups, 1, 1]``, root mean square of the layer's outputs without the bias.
        weight: function from a stored tensor to the layer's weight: a view, or the tensor itself.
        transposed: whether the weight is ``[in, out / groups, *kernel]``.
    """

    inverse: Tensor
    scale: Tensor
    weight: Callable[[Tensor], Tensor]
    transposed: bool

    @classmethod
    def of(
        cls,
        stored: Tensor,
        moments: Moments,
        weight: Callable[[Tensor], Tensor] = lambda stored: stored,
        *,
        transposed: bool = False,
    ) -> Metric:
        """Compute the metric of a layer from its weight and the moments of its inputs."""
        second = moments.second
        rows = as_matrix(wide(weight(stored.detach())), len(second), transposed=transposed)
        scale = ((rows @ second) * rows).sum(2).mean(1).clamp_min(0).sqrt()
        ridge = DAMPING * second.diagonal(dim1=1, dim2=2).mean(1) + 1e-12
        one = torch.eye(second.shape[1], dtype=second.dtype, device=second.device)
        factor, _ = torch.linalg.cholesky_ex(second + ridge[:, None, None] * one)
        inverse = torch.linalg.solve_triangular(factor, one.expand_as(factor), upper=False)
        return cls(inverse.to(stored), scale[:, None, None].to(stored), weight, transposed)

    def steepest(self, gradient: Tensor) -> Tensor:
        """Return the steepest step of the layer's weight by a stored tensor's gradient, at a rate of 1."""
        own = self.weight(gradient)
        rows = as_matrix(own, len(self.inverse), transposed=self.transposed)
        step = self.scale * orthogonal(rows @ self.inverse.mT) @ self.inverse
        return from_matrix(step, own.shape, transposed=self.transposed)


class Muon(torch.optim.Optimizer):
    """Muon optimiser in the metric of each layer's inputs.

    Args:
        metrics: stored tensor -> metrics of the layers whose weights make it up.
        lr: change of a layer's outputs in a step, as a share of their root mean square.
    """

    def __init__(self, metrics: Mapping[nn.Parameter, Sequence[Metric]], lr: float) -> None:
        super().__init__(list(metrics), {"lr": lr})
        self._metrics = metrics

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            for stored in group["params"]:
                if stored.grad is None:
                    continue
                momentum = self.state[stored].setdefault("momentum", torch.zeros_like(stored))
                momentum.lerp_(stored.grad, 1 - MOMENTUM)
                gradient = stored.grad.lerp(momentum, MOMENTUM)
                for metric in self._metrics[stored]:
                    metric.weight(stored).sub_(group["lr"] * metric.steepest(gradient))


def orthogonal(x: Tensor) -> Tensor:
    """Return nearly the nearest matrices with orthonormal rows or columns, ``[..., m, n]``."""
    a, b, c = _QUINTIC
    tall = x.shape[-2] > x.shape[-1]
    y = x.mT if tall else x
    y = y / (torch.linalg.matrix_norm(y, keepdim=True) + 1e-30)
    for _ in range(_ROUNDS):
        square = y @ y.mT
        y = a * y + (b * square + c * square @ square) @ y
    return y.mT if tall else y
