"""Gradients of random projections of the outputs, which need no labels.

There are no labels, so there is no training loss. What pruning must keep is the network's
output ``f(x)``, and criteria need to know how far it moves. So the loss of sample ``n`` is the
projection of its output onto a random vector of signs, ``L_n = <e_n, f(x_n)>``, drawn again for
each sample. Its gradient is ``J_n^T e_n`` with the Jacobian ``J_n`` of the output, and since
the signs are independent with mean 0 and variance 1,

* ``E[(v^T grad L)^2] = sum over n of |J_n v|^2``: the square of a directional derivative,
  summed over samples, is the squared change of the output, to first order;
* ``E[(dL/dw)^2]`` is the diagonal of ``sum over n of J_n^T J_n``: the Gauss-Newton matrix of
  half the squared output error, which is the Fisher matrix of a network with Gaussian outputs
  (Martens 2020, *New insights and perspectives on the natural gradient method*,
  arXiv:1412.1193, section 9.2; Hutchinson 1990 for the signs).

This is the same for any network and any number of outputs: nothing is assumed about classes,
and the gradient of a network that is sure of its predictions doesn't vanish, as that of the
cross-entropy against them does. All elements of all floating-point outputs count alike. Cross
terms between samples have mean 0, so that a whole chunk of a batch takes one backward pass;
small chunks give more independent draws for the same work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.autograd.graph import allow_mutation_on_saved_tensors

from graphprune.analysis.analyse import Analysis
from graphprune.data.calibration import Calibration
from graphprune.errors import OptionError
from graphprune.ir.nodes import arguments, is_continuous, split_arguments
from graphprune.ops.facts import Contraction

from .interpreter import CopyingInterpreter, chunks, widened

__all__ = ["Gated", "Probes"]

CHUNK = 4
"""Samples per backward pass, where the batch size is dynamic."""


@dataclass(frozen=True)
class Probes:
    """Random projections of the outputs, and their gradients.

    Attributes:
        samples: most calibration samples to use.
        draws: random projections of each sample.
        seed: seed of the random signs.
    """

    samples: int = 256
    draws: int = 2
    seed: int = 0

    def of_parameters(
        self, analysis: Analysis, data: Calibration
    ) -> Iterator[tuple[int, dict[int, torch.Tensor]]]:
        """Yield, per projection of a chunk, its number of samples and gradients by ``id`` of the parameter.

        Parameters of whole numbers have none.
        """
        parameters = {
            id(t): t
            for t in analysis.tensors.values()
            if isinstance(t, torch.nn.Parameter) and is_continuous(t)
        }
        leaves = {
            # Gradients of 16-bit floats would overflow, or vanish.
            key: widened(t.detach().to(data.device, copy=True)).requires_grad_()
            for key, t in parameters.items()
        }
        tensors = {name: leaves[id(t)] for name, t in analysis.tensors.items() if id(t) in leaves}
        run = CopyingInterpreter(analysis, tensors, data.device)
        for count, found in self._gradients(run, analysis, data, list(leaves.values())):
            yield (
                count,
                {key: g.to(parameters[key].device) for key, g in zip(leaves, found, strict=True)},
            )

    def of_gates(self, analysis: Analysis, data: Calibration) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield, per projection of a chunk, its number of samples and gradients ``[labels]`` of `Gated`."""
        gates = torch.ones(len(analysis.labels), dtype=torch.float64, requires_grad=True)
        for count, found in self._gradients(
            Gated(analysis, gates, data.device), analysis, data, [gates]
        ):
            yield count, found[0]

    def _gradients(
        self,
        run: CopyingInterpreter,
        analysis: Analysis,
        data: Calibration,
        leaves: Sequence[torch.Tensor],
    ) -> Iterator[tuple[int, list[torch.Tensor]]]:
        generator = torch.Generator().manual_seed(self.seed)
        for count, inputs in chunks(analysis, data, self.samples, CHUNK):
            # Graphs overwrite values in place; autograd keeps what it needs of them.
            with torch.enable_grad(), allow_mutation_on_saved_tensors():
                values = [
                    v
                    for v in run.outputs(inputs)
                    if isinstance(v, torch.Tensor) and v.requires_grad
                ]
                for draw in range(self.draws):
                    yield count, _projected(values, leaves, generator, last=draw + 1 == self.draws)


def _projected(
    values: Sequence[torch.Tensor],
    leaves: Sequence[torch.Tensor],
    generator: torch.Generator,
    *,
    last: bool,
) -> list[torch.Tensor]:
    signs = [(torch.randint(0, 2, v.shape, generator=generator) * 2 - 1).to(v) for v in values]
    found = (
        torch.autograd.grad(values, leaves, signs, retain_graph=not last, allow_unused=True)
        if values
        else [None] * len(leaves)
    )
    gradients = [
        torch.zeros_like(leaf) if g is None else g for g, leaf in zip(found, leaves, strict=True)
    ]
    if not all(bool(g.isfinite().all()) for g in gradients):
        raise OptionError(
            "gradients on the calibration data aren't finite",
            hint="are the inputs scaled as in training? the criterion l2 needs none",
            options=("score",),
        )
    return gradients


class Gated(CopyingInterpreter):
    """Interpreter that multiplies every contracted operand by gates, one for each label.

    A gate at 1 changes nothing; one at 0 removes its channels exactly as the oracle does, in
    all layers that read the group at once.

    Args:
        analysis: the analysis whose graph is run.
        gates: ``[labels]``, on the CPU.
        device: where it runs; by default where the stored tensors are.
    """

    def __init__(
        self, analysis: Analysis, gates: torch.Tensor, device: torch.device | None = None
    ) -> None:
        super().__init__(analysis, device=device)
        self._facts = analysis.facts
        self._labels = analysis.labels
        self._gates = gates

    def run_node(self, n: fx.Node) -> Any:
        """Multiply the contracted operands of a call by their gates, then run it."""
        facts = self._facts.get(n)
        if facts is None or not facts.contractions:
            return super().run_node(n)
        values = arguments(n, self.env.__getitem__)
        for contraction in facts.contractions:
            contraction.replace(values, self._gated(contraction.operand(values), contraction))
        return self.call_function(n.target, *split_arguments(n, values))

    def _gated(self, operand: torch.Tensor, contraction: Contraction) -> torch.Tensor:
        axis = self._labels.resolve(contraction.axis)
        if axis.shape[1] == 0:
            return operand
        # Padding is label 0, whose gate nobody asks for.
        rows = self._gates[torch.from_numpy(np.ascontiguousarray(axis))].prod(1)
        view = [1] * operand.ndim
        view[contraction.dim] = -1
        return operand * rows.to(operand).view(view)
