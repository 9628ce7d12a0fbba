"""Compute the forms of ONNX LSTM and GRU that no ATen call computes, step by step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from .operators import Node, refuse
from .values import MAX_STEPS

__all__ = ["GateWeights", "gru_steps", "lstm_steps"]


@dataclass(frozen=True)
class GateWeights:
    """The tensors of one direction, gates in ATen's order.

    Attributes:
        inputs: ``[gates*H, in]``.
        hidden: ``[gates*H, H]``.
        biases: of both, ``[gates*H]`` each, or none.
        peepholes: of an LSTM, ``[3*H]``, of the gates i, o and f.
        rounded: how hidden states are rounded before they are multiplied, if they are.
    """

    inputs: torch.Tensor
    hidden: torch.Tensor
    biases: tuple[torch.Tensor, ...]
    peepholes: torch.Tensor | None = None
    rounded: Callable[[torch.Tensor], torch.Tensor] | None = None

    @property
    def parameters(self) -> list[torch.Tensor]:
        """All of them as ATen's calls take them."""
        return [self.inputs, self.hidden, *self.biases]


def lstm_steps(
    node: Node, x: torch.Tensor, states: list[torch.Tensor], weights: GateWeights
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run an LSTM whose gates may see the cell state, or of which every cell state is needed.

    Args:
        node: the call.
        x: ``[steps, batch, in]``.
        states: hidden and cell state, ``[1, batch, H]`` each.
        weights: of one direction.

    Returns:
        Hidden states and cell states after each step, ``[steps, batch, H]`` each.
    """
    _check_steps(node, x)
    hidden, cell = (state.squeeze(0) for state in states)
    see = None if weights.peepholes is None else weights.peepholes.chunk(3, 0)
    bias = weights.biases
    found = list[tuple[torch.Tensor, torch.Tensor]]()
    for step in range(x.shape[0]):
        gates = _affine(x.select(0, step), weights.inputs, bias[:1])
        read = hidden if weights.rounded is None else weights.rounded(hidden)
        gates = gates + _affine(read, weights.hidden, bias[1:])
        take, forget, new, give = gates.chunk(4, -1)
        if see is not None:
            take, forget = take + see[0] * cell, forget + see[2] * cell
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(take) * torch.tanh(new)
        give = give if see is None else give + see[1] * cell
        hidden = torch.sigmoid(give) * torch.tanh(cell)
        found.append((hidden, cell))
    return torch.stack([h for h, _ in found]), torch.stack([c for _, c in found])


def gru_steps(
    node: Node, x: torch.Tensor, state: torch.Tensor, weights: GateWeights
) -> torch.Tensor:
    """Run a GRU that resets the state before its product, which ATen's call doesn't.

    Args:
        node: the call.
        x: ``[steps, batch, in]``.
        state: ``[1, batch, H]``.
        weights: of one direction.

    Returns:
        Hidden states after each step, ``[steps, batch, H]``.
    """
    _check_steps(node, x)
    hidden, states = state.squeeze(0), list[torch.Tensor]()
    w_gates, w_new = _gates(weights.inputs)
    r_gates, r_new = _gates(weights.hidden)
    biases = [_gates(bias) for bias in weights.biases]
    b_gates = [gates for gates, _ in biases]
    b_new = [new for _, new in biases]
    for step in range(x.shape[0]):
        now = x.select(0, step)
        gates = _affine(now, w_gates, b_gates[:1]) + _affine(hidden, r_gates, b_gates[1:])
        reset, update = torch.sigmoid(gates).chunk(2, -1)
        new = torch.tanh(_affine(now, w_new, b_new[:1]) + _affine(reset * hidden, r_new, b_new[1:]))
        hidden = (1 - update) * new + update * hidden
        states.append(hidden)
    return torch.stack(states)


def _gates(stored: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Split a tensor into that of the gates r and z, and that of the new state."""
    reset, update, new = stored.chunk(3, 0)
    return torch.cat([reset, update], 0), new


def _affine(x: torch.Tensor, weight: torch.Tensor, bias: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.nn.functional.linear(x, weight, *bias)


def _check_steps(node: Node, x: torch.Tensor) -> None:
    if isinstance(x.shape[0], torch.SymInt) or x.shape[0] > MAX_STEPS:
        form = "peepholes, or the last of unlike many cell states,"
        form = "linear_before_reset=0" if node.operator == "GRU" else form
        raise refuse(node, f"{form} for an unknown number of steps, or more than {MAX_STEPS},")
