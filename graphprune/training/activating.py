"""A term for the loss that wakes channels that never fire."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx, nn

from graphprune.analysis.analyse import Analysis
from graphprune.errors import OptionError
from graphprune.ir.nodes import bind
from graphprune.ops import form_of

from .live import Live
from .silent import Watch, silent

__all__ = ["Activating", "Shift", "shifts"]

_COUNTS = 20
"""How often silent channels are looked for in a training, beside after each cut."""


@dataclass(frozen=True, eq=False)
class Shift:
    """A bias that moves channels up and down.

    Attributes:
        parameter: ``[rows]``.
        rows: ``[n]``: numbers of rows.
        channels: ``[n]``: the channel of each, numbered over all groups.
    """

    parameter: nn.Parameter
    rows: Tensor
    channels: Tensor


class Activating:
    """Pushes the biases of silent channels up until they fire again.

    A channel behind a ReLU that is never above zero has no gradient, and the training can't bring it back. Liu et al. 2022
    (AP, arXiv:2212.06145) therefore activate such channels while a network is pruned. Here the loss
    has the term ``- strength * mean of b[c]`` over the silent channels ``c`` that stay, where ``b`` are the biases of the
    layers and norms that have the channel. Which ones are silent is counted again in each twentieth of the steps.

    Args:
        watch: inputs on which they are counted.
        strength: of the term.
        steps: of the optimiser in all.
        live: the network.

    Raises:
        OptionError: if the strength is negative.
    """

    def __init__(self, watch: Watch, strength: float, steps: int, live: Live) -> None:
        if strength < 0:
            raise OptionError(f"activate must be at least 0, got {strength}")
        self._watch, self._strength, self._every = watch, strength, max(1, steps // _COUNTS)
        self.listen(live)

    def is_due(self, step: int) -> bool:
        """Whether silent channels are to be looked for again after a step."""
        return step % self._every == 0

    def listen(self, live: Live) -> None:
        """Look for the silent channels of the network as it is."""
        analysis = live.planner.analysis
        self._shifts = shifts(analysis)
        self.silent = silent(analysis, self._watch.data)

    def penalty(self, going: Tensor) -> Tensor | None:
        """Compute the term; ``None`` if there is nothing to push.

        Args:
            going: ``[channels]``, booleans: those that don't stay.
        """
        waking = self.silent & ~going.cpu()
        terms = [
            shift.parameter[shift.rows[chosen].to(shift.parameter.device)].sum()
            for shift in self._shifts
            if bool((chosen := waking[shift.channels]).any())
        ]
        if not terms or not self._strength:
            return None
        total = torch.stack([term.to(terms[0]) for term in terms]).sum()
        return -self._strength * total / int(waking.sum())


def shifts(analysis: Analysis) -> tuple[Shift, ...]:
    """Find the biases that are trained and lie along channels."""
    names = {
        str(bias.target)
        for node in analysis.facts
        if (form := form_of(node)) is not None and form.bias is not None
        if isinstance(bias := bind(node).get(form.bias), fx.Node) and bias.op == "get_attr"
    }
    found: list[Shift] = []
    start = 0
    for group in analysis.groups:
        for where in group.occurrences:
            parameter = analysis.tensors[where.tensor]
            if where.tensor in names and parameter.requires_grad and parameter.ndim == 1:
                assert isinstance(parameter, nn.Parameter)
                numbers = torch.arange(start, start + group.width)
                found.append(
                    Shift(
                        parameter,
                        torch.from_numpy(where.rows.reshape(-1)),
                        numbers.repeat_interleave(where.rows.shape[1]),
                    )
                )
        start += group.width
    return tuple(found)
