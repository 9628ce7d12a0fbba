"""Recurrent layers and cells, whose hidden units are channels that feed back into their own layer.

Per layer and direction the parameters are ``w_ih [gates*H, in]``, ``w_hh [gates*H, H]`` and, with
biases, ``b_ih`` and ``b_hh [gates*H]``. All layers share one initial state ``[layers, B, H]``, so
their hidden widths are tied.

An LSTM with projections has a third weight ``w_hr [P, H]``, and its outputs and ``w_hh [gates*H, P]`` have the width P.
Its cells stay whole: torch takes an LSTM whose states are equally wide for one without projections, so that H has to
stay above P.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from graphprune.axes.labels import Axis
from graphprune.axes.layout import Layout
from graphprune.axes.split import split

from .call import Call
from .concatenate import stack_rows
from .facts import Result
from .registry import Sample, rule, sample

__all__: list[str] = []

aten = torch.ops.aten


def _samples(gates: int, states: int) -> Callable[[], list[Sample]]:
    def one(layers: int, both: bool, biases: bool, batch_first: bool) -> Sample:
        directions, hidden, inputs = 1 + both, 4, 6
        parameters: list[torch.Tensor] = []
        for layer in range(layers):
            width = inputs if layer == 0 else hidden * directions
            for _ in range(directions):
                parameters += [
                    torch.randn(gates * hidden, width),
                    torch.randn(gates * hidden, hidden),
                ]
                parameters += [torch.randn(gates * hidden)] * 2 if biases else []
        state = torch.randn(layers * directions, 3, hidden)
        start = [state, state.clone()] if states == 2 else state
        shape = (3, 5, inputs) if batch_first else (5, 3, inputs)
        return sample(
            torch.randn(shape), start, parameters, biases, layers, 0.0, False, both, batch_first
        )

    return lambda: [
        one(1, False, True, True),
        one(2, True, True, False),
        one(2, False, False, True),
    ]


def _projected_samples() -> list[Sample]:
    def one(layers: int, both: bool, biases: bool) -> Sample:
        directions, cells, hidden, inputs = 1 + both, 6, 4, 5
        parameters: list[torch.Tensor] = []
        for layer in range(layers):
            width = inputs if layer == 0 else hidden * directions
            for _ in range(directions):
                parameters += [torch.randn(4 * cells, width), torch.randn(4 * cells, hidden)]
                parameters += [torch.randn(4 * cells)] * 2 if biases else []
                parameters.append(torch.randn(hidden, cells))
        start = [torch.randn(layers * directions, 3, n) for n in (hidden, cells)]
        x = torch.randn(3, 5, inputs)
        return sample(x, start, parameters, biases, layers, 0.0, False, both, True)

    return [one(1, False, True), one(2, True, False)]


@rule(aten.lstm.input, samples=lambda: [*_samples(gates=4, states=2)(), *_projected_samples()])
def lstm(call: Call) -> Result:
    """Run an LSTM; results: sequence, last hidden state, last cell state."""
    return _recurrent(call, gates=4)


@rule(aten.gru.input, samples=_samples(gates=3, states=1))
def gru(call: Call) -> Result:
    """Run a GRU; results: sequence, last hidden state."""
    return _recurrent(call, gates=3)


@rule(aten.rnn_relu.input, aten.rnn_tanh.input, samples=_samples(gates=1, states=1))
def rnn(call: Call) -> Result:
    """Run a plain recurrent network; results: sequence, last hidden state."""
    return _recurrent(call, gates=1)


def _recurrent(call: Call, gates: int) -> Result:
    x, states, parameters = call.layout("input"), call.layouts("hx"), call.layouts("params")
    directions = 2 if call["bidirectional"] else 1
    per_layer = 4 if call["has_biases"] else 2
    projected = len(parameters) > call["num_layers"] * directions * per_layer
    per_layer += projected
    hidden, cell = states[0][-1], states[-1][-1]
    if projected:
        call.freeze(cell)
    else:
        call.tie(hidden, cell)
    call.freeze(*x[:-1])
    for state in states:
        call.freeze(*state[:-1])
    inputs = x[-1]
    for layer in range(call["num_layers"]):
        for direction in range(directions):
            first = (layer * directions + direction) * per_layer
            own = parameters[first : first + per_layer]
            call.contract("params", 1, own[0][1], item=first)
            call.contract("params", 1, own[1][1], item=first + 1)
            if projected:
                *own, projection = own
                call.tie(projection[0], hidden)
                call.tie(projection[1], cell)
                call.macs(1, *x[:-1], *projection)
            _cell(call, own, gates, inputs, hidden, cell)
        inputs = stack_rows([hidden] * directions)
    return [(*x[:-1], inputs), *(tuple(state) for state in states)]


def _cell(
    call: Call, parameters: Sequence[Layout], gates: int, inputs: Axis, hidden: Axis, cell: Axis
) -> None:
    """Tie the parameters of one layer and direction: two weights and, if there are any, biases."""
    w_ih, w_hh = parameters[:2]
    call.tie(w_ih[1], inputs)
    call.tie(w_hh[1], hidden)
    for layout in parameters:
        gate, unit = split(call.labels, layout[0], [gates, len(cell)], call.link)
        call.freeze(gate)
        call.tie(unit, cell)
    steps = call.layout("input")[:-1]
    call.macs(1, *steps, *w_ih)
    call.macs(1, *steps, *w_hh)


def _cell_samples(gates: int, states: int) -> Callable[[], list[Sample]]:
    def one(*biases: torch.Tensor) -> Sample:
        state = torch.randn(3, 4)
        start = [state, state.clone()] if states == 2 else state
        return sample(
            torch.randn(3, 6), start, torch.randn(gates * 4, 6), torch.randn(gates * 4, 4), *biases
        )

    return lambda: [one(), one(torch.randn(gates * 4), torch.randn(gates * 4))]


@rule(aten.lstm_cell.default, samples=_cell_samples(gates=4, states=2))
def lstm_cell(call: Call) -> Result:
    """Run one step of an LSTM; results: hidden state, cell state."""
    hidden = _step(call, gates=4)
    return [hidden, hidden]


@rule(aten.gru_cell.default, samples=_cell_samples(gates=3, states=1))
def gru_cell(call: Call) -> Result:
    """Run one step of a GRU."""
    return _step(call, gates=3)


@rule(
    aten.rnn_relu_cell.default, aten.rnn_tanh_cell.default, samples=_cell_samples(gates=1, states=1)
)
def rnn_cell(call: Call) -> Result:
    """Run one step of a plain recurrent network."""
    return _step(call, gates=1)


def _step(call: Call, gates: int) -> Layout:
    x, states = call.layout("input"), call.layouts("hx")
    parameters = [
        call.layout(name) for name in ("w_ih", "w_hh", "b_ih", "b_hh") if call[name] is not None
    ]
    hidden = states[0][-1]
    for state in states:
        call.tie(hidden, state[-1])
        for mine, theirs in zip(x[:-1], state[:-1], strict=True):
            call.tie(mine, theirs)
    call.contract("w_ih", 1, parameters[0][1])
    call.contract("w_hh", 1, parameters[1][1])
    _cell(call, parameters, gates, x[-1], hidden, hidden)
    return (*x[:-1], hidden)
