"""Prune a network while it is trained, in the user's own loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from graphprune.errors import MismatchError, OptionError
from graphprune.passes import Criterion, Decision
from graphprune.passes.latency import ProfileLatency
from graphprune.pipeline import Progress
from graphprune.plan.budget import budgets
from graphprune.plan.latency_table import LatencyTable
from graphprune.plan.plan import Plan
from graphprune.workflow.job import Data, Job
from graphprune.workflow.options import Options

from .channels import Channels
from .finish import Sparsified, finish
from .method import Method, Moment
from .methods import method_of
from .planner import Planner
from .progress import BudgetProgress, SparsifyReport, has_settled, soft_share

__all__ = ["Sparsify"]

_STATE = "graphprune.sparsify/1"


class Sparsify:
    """Prune a model while it is trained in a loop of one's own.

    ``penalty()`` is added to the loss, ``step()`` is called after each step of the optimiser, and ``finish`` cuts. All of
    it works on the parameters of the model that was given, which may be compiled or wrapped in
    ``DistributedDataParallel``. Nothing depends on the data that a process has, so that all processes make the
    same plans.

    Args:
        model: the module to be trained.
        example_inputs: positional inputs that it accepts, batch first.
        steps: how many steps the optimiser will make in all. The last quarter or more of them is
            for the channels that stay alone.
        method: ``group-lasso``, ``mask-sparsity``, ``proximal``, ``gradual`` or ``at-init``; or one with options of
            your own, such as ``GroupLasso(strength=2.0)``.
        flops: budget, as in ``compress``, as are the four that follow.
        params: budget.
        latency: budget.
        memory: budget.
        size: budget.
        plan: channels to keep, instead of a budget.
        example_kwargs: keyword inputs.
        calibration: unlabelled inputs, for criteria that need some; they are read again for each plan.
        samples: how many of these to take.
        score: the criterion by which channels are chosen, as in ``compress``; by default the method's.
        allocate: as in ``compress``, as is all that follows.
        latency_table: times of operators.
        round_to: multiples that widths are of.
        min_channels: fewest channels that a group keeps.
        max_cut: largest share of its channels that a group loses.
        protect: patterns of what stays whole.
        keep_class: choose widths that the code of the model's class follows.
        strict_ops: refuse operators without a rule.
        allow_inexact: cut through statistics too.
        progress: called with the name of each stage.

    Raises:
        LoadError, TraceError, InfeasibleBudgetError: as ``compress``, before any training.
        OptionError: if an option has no valid meaning, or the model is sharded over processes.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        example_inputs: Sequence[Any] = (),
        *,
        steps: int,
        method: str | Method = "group-lasso",
        flops: float | str | None = None,
        params: float | str | None = None,
        latency: float | str | None = None,
        memory: float | str | None = None,
        size: float | str | None = None,
        plan: Plan | None = None,
        example_kwargs: Mapping[str, Any] | None = None,
        calibration: Data | None = None,
        samples: int = 1024,
        score: str | Criterion | None = None,
        allocate: str = "dp",
        latency_table: LatencyTable | ProfileLatency | None = None,
        round_to: int | Literal["auto"] = 1,
        min_channels: int = 1,
        max_cut: float = 1.0,
        protect: Sequence[str] = (),
        keep_class: bool = False,
        strict_ops: bool = False,
        allow_inexact: bool = False,
        progress: Progress | None = None,
    ) -> None:
        if steps < 1:
            raise OptionError(f"steps must be at least 1, got {steps}")
        asked = {
            "flops": flops,
            "params": params,
            "latency": latency,
            "memory": memory,
            "size": size,
        }
        if plan is not None and any(amount is not None for amount in asked.values()):
            raise OptionError("give a budget or a plan, not both")
        self._method = method_of(method)
        self._plans = dict(self._method.plans(steps)) if plan is None else {0: 1.0}
        if plan is not None and min(self._method.plans(steps).values()) < 1.0:
            raise OptionError(
                f"{self._method.name} makes plans of its own on the way to a budget",
                hint="give a budget, or another method",
                options=("plan",),
            )
        if score is None and calibration is None:
            score = self._method.criterion
        options = Options(
            latency_table=latency_table,
            score=score,
            recover="none",
            allocate=allocate,
            round_to=round_to,
            min_channels=min_channels,
            max_cut=max_cut,
            protect=protect,
            keep_class=keep_class,
            strict_ops=strict_ops,
            allow_inexact=allow_inexact if plan is None else plan.allow_inexact,
        )
        self._model, self._inputs = model, (tuple(example_inputs), example_kwargs)
        self._progress = progress
        self._planner = Planner(
            model,
            example_inputs,
            example_kwargs,
            calibration=calibration,
            samples=samples,
            options=options,
            budgets=() if plan is not None else budgets(asked),
            plan=plan,
            progress=progress,
        )
        self._channels = Channels.of(self._planner.analysis)
        self._cost = self._channels.spread(self._planner.cost_per_channel())
        self._steps, self._step = steps, 0
        self._distances: list[float] = []
        norms = self._channels.norms().detach()
        self._initial = self._reference = norms
        self._share = self._plans.get(0, 0.0)
        self._plan = self._planner.first[Decision].plan if self._share == 1.0 else None
        self._going = self._going_by(self._plan)

    @property
    def plan(self) -> Plan | None:
        """The plan of the moment; ``None`` before there is one."""
        return self._plan

    @property
    def settled(self) -> bool:
        """Whether the plan hardly changes any more (early-bird), or won't be made again."""
        if not any(step > self._step for step in self._plans):
            return True
        return self._share == 1.0 and has_settled(self._distances)

    def penalty(self) -> Tensor:
        """Compute what the method adds to the loss of this step: a scalar, zero where it adds nothing."""
        channels = self._channels
        zero = torch.zeros((), dtype=channels.dtype, device=channels.device)
        if self._step >= self._steps:
            return zero
        penalty = self._method.penalty(self._now)
        return zero if penalty is None else penalty.to(channels.dtype)

    def step(self) -> None:
        """Go on by one step, after ``optimizer.step()``: plan anew where it is time, and treat the weights.

        After the last of the steps, what goes is held where it is: at zero.
        """
        self._step += 1
        if (share := self._plans.get(self._step)) is not None:
            self._replan(share)
        with torch.no_grad():
            self._method.after_step(self._now)

    def report(self) -> SparsifyReport:
        """Report the costs that are reached, what is left of the channels that go, and how steady the plan is."""
        analysis, norms = self._planner.analysis, self._channels.norms().detach()
        left = torch.where(norms < self._initial, norms / self._initial, (norms > 0).to(norms))
        weights = torch.where(self._going, left, 1.0).to(self._cost)
        soft = self._channels.means(weights, len(analysis.groups)) if len(norms) else weights
        first = (self._channels.group.diff(prepend=torch.tensor([-1])) > 0).to(soft.device)
        dense = analysis.widths.tolist()
        widths = [s * w for s, w in zip(soft[first].tolist(), dense, strict=True)]
        polynomials = {"macs": analysis.costs.macs, "params": analysis.costs.params}
        total = float(norms.sum())
        return SparsifyReport(
            method=self._method.name,
            step=self._step,
            steps=self._steps,
            budgets=tuple(
                BudgetProgress(
                    status.cost,
                    min(1.0, status.bound / status.dense),
                    status.reached / status.dense,
                    soft_share(polynomials[status.cost], widths, dense)
                    if status.cost in polynomials
                    else None,
                )
                for status in self._planner.reached(self._plan)
            ),
            channels=len(norms),
            going=int(self._going.sum()),
            dead=int((norms == 0).sum()),
            norm=float(norms[self._going].sum()) / total if total else 0.0,
            distances=tuple(self._distances),
            settled=self.settled,
        )

    def finish(self, optimizer: torch.optim.Optimizer | None = None) -> Sparsified:
        """Cut what goes, prove the cut, and carry the optimiser over. The model that was trained stays as it is.

        Before the whole budget was planned for, the channels are chosen now. Where those that go aren't zero
        yet, a note of the report says how much of the norm they have.

        Args:
            optimizer: on the model's parameters, see ``Result.carry``.

        Raises:
            VerifyError: if the smaller model doesn't compute what it should.
            OptionError: if the optimiser has a state that can't be sliced.
        """
        if self._plan is None or self._share < 1.0:
            self._replan(1.0)
        assert self._plan is not None
        args, kwargs = self._inputs
        options = replace(self._planner.options, score=None)
        job = Job.begin(self._model, args, kwargs, None, 1, options, self._progress)
        return finish(job, self._plan, self.report(), optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return what a killed run needs to go on, beside the states of the model and the optimiser."""
        return {
            "format": _STATE,
            "method": self._method.name,
            "step": self._step,
            "steps": self._steps,
            "budget": self._asked,
            "share": self._share,
            "plan": None if self._plan is None else self._plan.to_json(),
            "distances": list(self._distances),
            "initial": self._initial.cpu(),
            "reference": self._reference.cpu(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``, made by one with the same arguments.

        Raises:
            MismatchError: if it was made by another method, for other steps or budgets, or for another model.
        """
        for name, own in {
            "format": _STATE,
            "method": self._method.name,
            "steps": self._steps,
            "budget": self._asked,
        }.items():
            if state.get(name) != own:
                raise MismatchError(
                    f"the state has {name} {state.get(name)!r}, this one {own!r}",
                    hint="make it with the arguments of the run that is to go on",
                )
        if len(state["initial"]) != len(self._channels):
            raise MismatchError(
                f"the state is of {len(state['initial'])} channels, the model has {len(self._channels)}"
            )
        text = state["plan"]
        self._plan = None if text is None else Plan.from_json(text)
        if self._plan is not None:
            self._planner.check(self._plan)
        self._step, self._share = state["step"], state["share"]
        self._distances = list(state["distances"])
        self._initial = state["initial"].to(self._initial)
        self._reference = state["reference"].to(self._reference)
        self._going = self._going_by(self._plan)

    @property
    def _asked(self) -> dict[str, float]:
        return {b.cost: b.asked for b in self._planner.first[Decision].budgets}

    @property
    def _now(self) -> Moment:
        means = self._channels.means(self._initial, len(self._planner.analysis.groups))
        return Moment(
            self._channels,
            self._going,
            self._cost,
            torch.where(means > 0, means, 1.0),
            self._reference,
            self._step,
            self._steps,
        )

    def _replan(self, share: float) -> None:
        """Choose the channels anew, and note how many changed."""
        before = self._going
        self._plan, self._share = self._planner.plan(share).plan, share
        self._going = self._going_by(self._plan)
        if len(before):
            self._distances.append(float((self._going != before).double().mean()))
        self._reference = self._channels.norms().detach()

    def _going_by(self, plan: Plan | None) -> Tensor:
        """Tell which channels a plan removes: booleans ``[channels]``."""
        groups, keep = self._planner.analysis.groups, {} if plan is None else plan.keep
        going = [torch.ones(group.width, dtype=torch.bool) for group in groups]
        for group, mask in zip(groups, going, strict=True):
            mask[list(keep.get(group.id, range(group.width)))] = False
        together = torch.cat(going) if going else torch.zeros(0, dtype=torch.bool)
        return together.to(self._channels.device)
