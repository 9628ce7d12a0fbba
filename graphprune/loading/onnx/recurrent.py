"""Compute ONNX LSTM, GRU and RNN with ATen's recurrent calls, the gates put in ATen's order.

ONNX stores ``W [directions, gates*H, in]``, ``R [directions, gates*H, H]`` and
``B [directions, 2*gates*H]`` (of W, then of R). Gates are moved by chunk and cat of these tensors,
so a hidden unit stays one channel in all of them. Sequences of unlike lengths run one direction at
a time: a reversed one is turned round within its length, and results beyond a length are zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from graphprune.errors import LoadError

from .operators import Node, operator, refuse
from .recurrent_steps import GateWeights, gru_steps, lstm_steps
from .values import Known, Value, tensor

__all__ = ["run_layer"]

aten = torch.ops.aten

_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""Places of ATen's gates among ONNX's: ``iofc`` becomes ``ifco``, ``zrh`` becomes ``rzh``."""

_ACTIVATIONS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}


@operator("LSTM", "GRU", "RNN")
def recurrent(node: Node, x: Value, w: Value, r: Value, *rest: Value | None) -> tuple[Any, ...]:
    """Run a recurrent layer; results: all hidden states, the last ones and, of an LSTM, the last cell states."""
    return run_layer(node, x, w, r, rest)


def run_layer(
    node: Node,
    x: Value,
    w: Value,
    r: Value,
    rest: Sequence[Value | None],
    rounded: Callable[[torch.Tensor], torch.Tensor] | None = None,
) -> tuple[Any, ...]:
    """Run a recurrent layer.

    Args:
        node: whose type is ``LSTM``, ``GRU`` or ``RNN``.
        x: the input.
        w: ``[directions, gates*H, in]``.
        r: ``[directions, gates*H, H]``.
        rest: the other inputs, in ONNX's order.
        rounded: how an LSTM rounds hidden states before it multiplies them, if it does.
    """
    bias, lengths, hidden, cell, peepholes = (*rest, None, None, None, None, None)[:5]
    directions = _directions(node)
    kind = _kind(node, len(directions))
    data, first = tensor(x), bool(node.get("layout", 0))
    data = data.transpose(0, 1) if first else data
    states = _initial(node, data, [hidden, cell], len(directions), first=first)
    # ATen's own calls read beyond a state that is too small.
    shape = (len(directions), data.shape[1], node.get("hidden_size"))
    if any(tuple(state.shape) != shape for state in states):
        raise LoadError(
            f"{node}: the initial states have another batch than the input, or another size"
        )
    weights = [
        replace(_weights(node, d, tensor(w), tensor(r), bias, peepholes), rounded=rounded)
        for d in range(len(directions))
    ]
    own = _own_lengths(lengths, data)
    if kind == "gru":
        stepwise = not node.get("linear_before_reset", 0)
    else:
        last_cells = own is not None and any(node.outputs[2:])
        stepwise = kind == "lstm" and (last_cells or peepholes is not None or rounded is not None)
    if len(directions) == 2 and own is None and not stepwise:
        flat, last = _run(kind, data, states, weights)
        sequence = flat.unflatten(-1, (2, -1))
    else:
        sequence, last = _by_direction(
            node, "" if stepwise else kind, data, states, weights, directions, own
        )
    # [steps, batch, directions, H] here.
    y = sequence.transpose(0, 1) if first else sequence.transpose(1, 2)
    return (y, *(state.transpose(0, 1) if first else state for state in last))


def _directions(node: Node) -> tuple[bool, ...]:
    """Read for each direction whether it runs backwards."""
    direction = node.get("direction", b"forward").decode()
    known = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    if direction not in known:
        raise refuse(node, f"direction {direction!a}")
    return known[direction]


def _kind(node: Node, directions: int) -> str:
    """Choose ATen's call; refuse what none of them computes."""
    names = [name.decode().lower() for name in node.get("activations", ())]
    expected = _ACTIVATIONS[node.operator] * directions
    relu = node.operator == "RNN" and names == ["relu"] * directions
    if names not in ([], expected) and not relu:
        raise refuse(node, f"activations {', '.join(names)}")
    for attribute in ("clip", "input_forget", "activation_alpha", "activation_beta"):
        if node.get(attribute, 0):
            raise refuse(node, attribute)
    return {"LSTM": "lstm", "GRU": "gru", "RNN": "rnn_relu" if relu else "rnn_tanh"}[node.operator]


def _initial(
    node: Node, x: torch.Tensor, given: Sequence[Value | None], directions: int, *, first: bool
) -> list[torch.Tensor]:
    """Take the initial states ``[directions, batch, H]``, zero where they are left out."""
    states = []
    for value in given[: 2 if node.operator == "LSTM" else 1]:
        if value is None:
            states.append(x.new_zeros(directions, x.shape[1], node.get("hidden_size")))
        else:
            states.append(tensor(value).transpose(0, 1) if first else tensor(value))
    return states


def _weights(
    node: Node,
    direction: int,
    w: torch.Tensor,
    r: torch.Tensor,
    bias: Value | None,
    peepholes: Value | None,
) -> GateWeights:
    def moved(stored: torch.Tensor) -> torch.Tensor:
        order = _ORDER[node.operator]
        if len(order) == 1:
            return stored
        gates = stored.chunk(len(order), 0)
        return torch.cat([gates[place] for place in order], 0)

    both = None if bias is None else tensor(bias).select(0, direction)
    biases: tuple[torch.Tensor, ...] = () if both is None else tuple(both.chunk(2, 0))
    return GateWeights(
        moved(w.select(0, direction)),
        moved(r.select(0, direction)),
        tuple(map(moved, biases)),
        None if peepholes is None else tensor(peepholes).select(0, direction),
    )


def _own_lengths(lengths: Value | None, x: torch.Tensor) -> torch.Tensor | None:
    """Return the lengths of the sequences ``[batch]``; ``None`` where all are as long as the input."""
    if lengths is None or (
        isinstance(lengths, Known) and all(n == x.shape[0] for n in lengths.items.reshape(-1))
    ):
        return None
    return tensor(lengths).to(torch.int64)


def _run(
    kind: str, x: torch.Tensor, states: list[torch.Tensor], weights: Sequence[GateWeights]
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Run ATen's call forwards, or in both directions if there are two: ``[steps, batch, directions*H]``."""
    parameters = [p for each in weights for p in each.parameters]
    call = {
        "lstm": aten.lstm.input,
        "gru": aten.gru.input,
        "rnn_relu": aten.rnn_relu.input,
        "rnn_tanh": aten.rnn_tanh.input,
    }[kind]
    start: Any = states if kind == "lstm" else states[0]
    biases, both = bool(weights[0].biases), len(weights) == 2
    sequence, *last = call(x, start, parameters, biases, 1, 0.0, False, both, False)
    return sequence, last


def _by_direction(
    node: Node,
    kind: str,
    x: torch.Tensor,
    states: list[torch.Tensor],
    weights: Sequence[GateWeights],
    directions: Sequence[bool],
    lengths: torch.Tensor | None,
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Run each direction forwards, on a reversed input if it runs backwards; without a kind, step by step."""
    sequences, lasts = list[torch.Tensor](), list[list[torch.Tensor]]()
    for number, backwards in enumerate(directions):
        own = [state.narrow(0, number, 1) for state in states]
        data = _reversed(x, lengths) if backwards else x
        if kind:
            sequence, last = _run(kind, data, own, weights[number : number + 1])
            every = [sequence]
        else:
            every = _steps(node, data, own, weights[number])
            sequence, last = every[0], [each[-1:] for each in every]
        if lengths is not None:
            steps = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
            every = [torch.where((steps < lengths).unsqueeze(-1), each, 0.0) for each in every]
            sequence = every[0]
            end = (lengths - 1).clamp_min(0).reshape(1, -1, 1).expand(-1, -1, sequence.shape[-1])
            last = [each.gather(0, end) for each in every]
        sequences.append(_reversed(sequence, lengths) if backwards else sequence)
        lasts.append(last)
    together = [torch.cat(parts, 0) for parts in zip(*lasts, strict=True)]
    return torch.stack(sequences, 2), together


def _steps(
    node: Node,
    x: torch.Tensor,
    states: list[torch.Tensor],
    weights: GateWeights,
) -> list[torch.Tensor]:
    """Run one direction step by step: all hidden states and, of an LSTM, all cell states."""
    if node.operator == "LSTM":
        return list(lstm_steps(node, x, states, weights))
    return [gru_steps(node, x, states[0], weights)]


def _reversed(x: torch.Tensor, lengths: torch.Tensor | None) -> torch.Tensor:
    """Turn sequences ``[steps, batch, n]`` round, each within its length."""
    if lengths is None:
        return x.flip(0)
    steps = torch.arange(x.shape[0], device=x.device).unsqueeze(1)
    places = torch.where(steps < lengths, lengths - 1 - steps, steps)
    return x.gather(0, places.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
