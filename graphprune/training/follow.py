"""Hooks of an optimiser that prune while it steps, for loops whose loss can't be changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .course import Course

__all__ = ["Following"]


class Following:
    """An optimiser's steps, which a run that prunes goes along with.

    Before each step the gradients of the penalty are added to those of the parameters; after it, the run makes its own
    step. Where the optimiser is given a closure, that happens each time it has been called.

    Args:
        course: the run.
        optimizer: on the parameters of its model.
        penalty: computes what would be added to the loss.
    """

    def __init__(
        self,
        course: Course,
        optimizer: torch.optim.Optimizer,
        penalty: Callable[[], Tensor],
    ) -> None:
        self._course, self._optimizer, self._penalty = course, optimizer, penalty
        self._handles = [
            optimizer.register_step_pre_hook(self._before),
            optimizer.register_step_post_hook(self._after),
        ]

    def stop(self) -> None:
        """Remove the hooks from the optimiser."""
        for handle in self._handles:
            handle.remove()

    def _before(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> Any:
        """Add the gradients now, or after each call of a closure. The first of the arguments is the optimiser."""
        closure = kwargs.get("closure", args[1] if len(args) > 1 else None)
        if closure is None:
            self._add_gradients()
            return None

        def pressed() -> Any:
            loss = closure()
            self._add_gradients()
            return loss

        return args[:1], {**kwargs, "closure": pressed}

    def _after(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        self._course.go_on()

    def _add_gradients(self) -> None:
        """Add the gradients of the penalty, multiplied as a ``GradScaler`` has multiplied the others.

        Fused optimisers are given gradients that are still scaled, and the scale.
        """
        with torch.enable_grad():
            penalty = self._penalty()
        if not penalty.requires_grad:
            return
        scale: Tensor | None = getattr(self._optimizer, "grad_scale", None)
        given = [p for group in self._optimizer.param_groups for p in group["params"]]
        parameters = [p for p in given if p.requires_grad]
        gradients = torch.autograd.grad(penalty, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is None:
                    continue
                own = gradient if scale is None else gradient * scale.to(gradient.device)
                if parameter.grad is None:
                    parameter.grad = own
                else:
                    parameter.grad.add_(own)
