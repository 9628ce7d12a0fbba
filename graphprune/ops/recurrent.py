"""Recurrent layers: hidden units are channels that also feed back into their own layer.

Per layer and direction the parameters are ``w_ih [gates*H, in]``, ``w_hh [gates*H, H]`` and, with
biases, ``b_ih`` and ``b_hh [gates*H]``. All layers share one initial state ``[layers, B, H]``, so
their hidden widths are tied.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from graphprune.labels import Axis, plain
from graphprune.ops.call import Call
from graphprune.ops.facts import Result
from graphprune.ops.registry import Sample, rule, sample
from graphprune.ops.rows import stack_rows
from graphprune.splitting import split

__all__: list[str] = []

aten = torch.ops.aten


def _samples(gates: int, states: int) -> Callable[[], list[Sample]]:
    def one(layers: int, both: bool, biases: bool, batch_first: bool) -> Sample:
        directions, hidden, inputs = 1 + both, 4, 6
        parameters: list[torch.Tensor] = []
        for layer in range(layers):
            width = inputs if layer == 0 else hidden * directions
            for _ in range(directions):
                parameters += [torch.randn(gates * hidden, width),
                               torch.randn(gates * hidden, hidden)]
                parameters += [torch.randn(gates * hidden)] * 2 if biases else []
        state = torch.randn(layers * directions, 3, hidden)
        start = [state, state.clone()] if states == 2 else state
        shape = (3, 5, inputs) if batch_first else (5, 3, inputs)
        return sample(torch.randn(shape), start, parameters, biases, layers, 0.0, False, both,
                      batch_first)

    return lambda: [one(1, False, True, True), one(2, True, True, False),
                    one(2, False, False, True)]


@rule(aten.lstm.input, samples=_samples(gates=4, states=2))
def lstm(call: Call) -> Result:
    """Long short-term memory; results: sequence, last hidden state, last cell state."""
    return _recurrent(call, gates=4)


@rule(aten.gru.input, samples=_samples(gates=3, states=1))
def gru(call: Call) -> Result:
    """Gated recurrent unit; results: sequence, last hidden state."""
    return _recurrent(call, gates=3)


@rule(aten.rnn_relu.input, aten.rnn_tanh.input, samples=_samples(gates=1, states=1))
def rnn(call: Call) -> Result:
    """Plain recurrence; results: sequence, last hidden state."""
    return _recurrent(call, gates=1)


def _recurrent(call: Call, gates: int) -> Result:
    x, states, parameters = call.layout("input"), call.layouts("hx"), call.layouts("params")
    directions = 2 if call["bidirectional"] else 1
    each = 4 if call["has_biases"] else 2
    if len(parameters) != call["num_layers"] * directions * each:  # projections
        call.freeze(*(axis for layout in [x, *states, *parameters] for axis in layout))
        return [tuple(plain(n) for n in shape) for shape in call.out_shapes]
    call.freeze(*x[:-1])
    hidden = states[0][-1]
    for state in states:
        call.freeze(*state[:-1])
        call.tie(hidden, state[-1])
    inputs = x[-1]
    for layer in range(call["num_layers"]):
        for direction in range(directions):
            first = (layer * directions + direction) * each
            _cell(call, first, gates, inputs, hidden)
        inputs = stack_rows([hidden] * directions)
    return [(*x[:-1], inputs), *(tuple(state) for state in states)]


def _cell(call: Call, first: int, gates: int, inputs: Axis, hidden: Axis) -> None:
    """Tie and contract the parameters of one layer and direction, from number ``first`` on."""
    parameters = call.layouts("params")
    w_ih, w_hh = parameters[first], parameters[first + 1]
    call.tie(w_ih[1], inputs)
    call.contract("params", 1, w_ih[1], item=first)
    call.tie(w_hh[1], hidden)
    call.contract("params", 1, w_hh[1], item=first + 1)
    each = 4 if call["has_biases"] else 2
    for layout in parameters[first : first + each]:
        gate, unit = split(call.labels, layout[0], [gates, len(hidden)], call.link)
        call.freeze(gate)
        call.tie(unit, hidden)
    steps = call.layout("input")[:-1]
    call.macs(1, *steps, *w_ih)
    call.macs(1, *steps, *w_hh)
