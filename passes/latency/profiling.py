"""The pass that measures a latency table of the network in the state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch.export import ExportedProgram

from graphprune.analysis.analyse import Analysis
from graphprune.cut.cut import Cut
from graphprune.export.ort_session import Runtime
from graphprune.export.to_onnx import to_onnx
from graphprune.ir.program import input_names, output_names
from graphprune.passes.batchnorm.fold import fold_batchnorm
from graphprune.pipeline import AnalysisPass, State
from graphprune.plan.latency_table import LatencyTable

from .branch_workload import branch_workload
from .measure import measure, measure_network
from .operators import workload
from .profile import VISITS, calibrated, profile

__all__ = ["SPREAD", "ProfileLatency", "random_widths", "slim_onnx"]

SPREAD = 0.5
"""Largest logarithm of what a group's share of channels is of the common one, in networks drawn to be timed."""


@dataclass(frozen=True, kw_only=True)
class ProfileLatency(AnalysisPass):
    """Time each operator of the network in onnxruntime, and whole networks.

    Given: an analysis. Result: a latency table, scaled to the dense network and some random
    smaller ones, with the error that is left. The program isn't changed.

    Attributes:
        threads: threads that one operator may use; 0: as many as onnxruntime takes by itself.
        provider: name of the execution provider.
        batch: samples per run, where the network's batch is dynamic.
        rounds: runs of each operator at each width, in each of five visits.
        networks: number of smaller networks to measure; each is exported. 0: the table isn't scaled.
        seed: seed of their widths.
        depth: time what runs only where whole branches are gone, too, and networks without some. Otherwise
            that is estimated.
    """

    name: ClassVar[str] = "profile-latency"
    needs = (Analysis,)
    gives = (LatencyTable,)
    threads: int = 0
    provider: str = "CPU"
    batch: int = 1
    rounds: int = 6
    networks: int = 4
    seed: int = 0
    depth: bool = False

    def run(self, state: State) -> LatencyTable:
        """Measure the kernels of the network, then whole networks.

        Raises:
            LoadError: if this onnxruntime lacks the provider.
            ExportError: if a network can't be exported.
        """
        analysis = state[Analysis]
        runtime = Runtime(self.threads, self.provider)
        work = (branch_workload if self.depth else workload)(analysis, self.batch)
        table = profile(
            work,
            partial(measure, runtime=runtime, rounds=self.rounds),
            runtime=runtime,
            batch=self.batch,
            tell=state.tell,
        )
        if not self.networks:
            return table
        generator = np.random.default_rng(self.seed)
        choices = [[g.width for g in analysis.groups]]
        for number in range(self.networks):
            drawn = random_widths(analysis, generator)
            choices.append(
                _without_some(analysis, drawn, generator) if self.depth and number % 2 else drawn
            )
        models = [slim_onnx(state.program, analysis, widths) for widths in choices]
        seconds: list[list[float]] = [[] for _ in models]
        for visit in range(VISITS):
            for number, model in enumerate(models):
                state.tell(
                    f"profile network {visit * len(models) + number + 1} of {VISITS * len(models)}"
                )
                seconds[number].append(
                    measure_network(model, runtime, batch=self.batch, rounds=self.rounds)
                )
        return calibrated(table, work, list(zip(choices, map(min, seconds), strict=True)))


def random_widths(analysis: Analysis, generator: np.random.Generator) -> list[int]:
    """Draw a width for every group, around a share of its channels that all have in common.

    The share is from an eighth to all; half the time the widths are multiples of 8.
    """
    multiple = int(generator.choice([1, 8]))
    share = math.exp(generator.uniform(math.log(1 / 8), 0.0))
    found: list[int] = []
    for group in analysis.groups:
        width = group.width * share * math.exp(generator.uniform(-SPREAD, SPREAD))
        found.append(min(group.width, max(multiple, round(width / multiple) * multiple)))
    return found


def _without_some(
    analysis: Analysis, widths: Sequence[int], generator: np.random.Generator
) -> list[int]:
    """Take each branch out of a network with a chance of one third."""
    branches = analysis.removable.branches
    drawn = [b.lead for b in branches if generator.random() < 1 / 3]
    gone = analysis.without(drawn, idle=True).gone if drawn else frozenset()
    return [0 if number in gone else width for number, width in enumerate(widths)]


def slim_onnx(
    program: ExportedProgram, analysis: Analysis, widths: Sequence[int] | NDArray[np.int64]
) -> bytes:
    """Export the network with the first channels of every group to ONNX, to be timed."""
    keep = {g.id: tuple(range(int(w))) for g, w in zip(analysis.groups, widths, strict=True)}
    small = Cut.keeping(analysis, keep).program
    return to_onnx(
        fold_batchnorm(small), input_names=input_names(program), output_names=output_names(program)
    ).SerializeToString()
