"""Recurrent layers step by step, against torch's own."""

from __future__ import annotations

import pytest
import torch

from graphprune.errors import LoadError
from graphprune.loading.onnx.operators import Node
from graphprune.loading.onnx.recurrent_steps import GateWeights, gru_steps, lstm_steps
from graphprune.loading.onnx.values import MAX_STEPS

STEPS, BATCH, INPUTS, HIDDEN = 5, 2, 3, 4


def drawn(gates: int, *, peepholes: bool = False) -> tuple[torch.Tensor, torch.Tensor, GateWeights]:
    """An input, a state and weights."""
    draw = torch.Generator().manual_seed(0)
    sizes = [(gates * HIDDEN, n) for n in (INPUTS, HIDDEN)] + [(gates * HIDDEN,)] * 2
    w, r, *biases = (torch.randn(size, generator=draw) for size in sizes)
    see = torch.randn(3 * HIDDEN, generator=draw) if peepholes else None
    x = torch.randn(STEPS, BATCH, INPUTS, generator=draw)
    state = torch.randn(1, BATCH, HIDDEN, generator=draw)
    return x, state, GateWeights(w, r, tuple(biases), see)


def test_without_peepholes_it_is_an_lstm() -> None:
    x, state, weights = drawn(4)
    hidden, cells = lstm_steps(node("LSTM"), x, [state, state * 2], weights)
    sequence, last, cell = torch.ops.aten.lstm.input(
        x, [state, state * 2], weights.parameters, True, 1, 0.0, False, False, False
    )
    torch.testing.assert_close(hidden, sequence)
    torch.testing.assert_close(hidden[-1:], last)
    torch.testing.assert_close(cells[-1:], cell)


def test_peepholes_let_gates_see_the_cell() -> None:
    x, state, weights = drawn(4, peepholes=True)
    (hidden, *_), (cell, *_) = lstm_steps(node("LSTM"), x, [state, state], weights)
    assert weights.peepholes is not None
    see_i, see_o, see_f = weights.peepholes.chunk(3)
    old = state[0]
    i, f, c, o = (
        x[0] @ weights.inputs.T + old @ weights.hidden.T + sum(weights.biases)
    ).chunk(4, -1)  # fmt: skip
    new = torch.sigmoid(f + see_f * old) * old + torch.sigmoid(i + see_i * old) * torch.tanh(c)
    torch.testing.assert_close(cell, new)
    torch.testing.assert_close(hidden, torch.sigmoid(o + see_o * new) * torch.tanh(new))


def test_too_many_steps_are_refused() -> None:
    x = torch.zeros(MAX_STEPS + 1, BATCH, INPUTS)
    _, state, weights = drawn(4)
    with pytest.raises(LoadError, match=f"more than {MAX_STEPS}"):
        lstm_steps(node("LSTM"), x, [state, state], weights)
    _, state, weights = drawn(3)
    with pytest.raises(LoadError, match=f"linear_before_reset=0.*more than {MAX_STEPS}"):
        gru_steps(node("GRU"), x, state, weights)


def node(kind: str) -> Node:
    return Node(kind, "layer", (), (), {}, 14)
