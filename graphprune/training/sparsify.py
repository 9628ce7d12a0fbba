"""Prune a network while it is trained, in the user's own loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from graphprune.errors import OptionError
from graphprune.ir.check_given import check_optimizer, checked_model, positional
from graphprune.passes import Criterion
from graphprune.passes.allocate.rounding import Rounding
from graphprune.passes.latency import ProfileLatency
from graphprune.pipeline import Progress
from graphprune.plan.budget import budgets
from graphprune.plan.latency_table import LatencyTable
from graphprune.plan.plan import Plan
from graphprune.rebuild.carry_optimizer import check_carries
from graphprune.workflow.job import Job
from graphprune.workflow.options import Options
from graphprune.workflow.start import Data

from .course import Course
from .finish import Sparsified, finish
from .follow import Following
from .method import Method
from .methods import method_of
from .planning import Planning
from .progress import SparsifyReport, report_of
from .saved import load, save

__all__ = ["Sparsify"]


class Sparsify:
    """Prune a model while it is trained in a loop of one's own.

    ``penalty()`` is added to the loss, ``step()`` is called after each step of the optimiser, and ``finish`` cuts. All of
    it works on the parameters of the model that was given, which may be compiled or wrapped in
    ``DistributedDataParallel``. Nothing depends on the data that a process has, so that all processes make the
    same plans.

    A method may shrink the layers in place while the training goes on (``progressive``): it is told of the optimiser
    then, which holds the smaller parameters afterwards. What else holds parameters has to be made anew when
    ``step`` says that it happened.

    Args:
        model: the module to be trained.
        example_inputs: positional inputs that it accepts, batch first.
        steps: how many steps the optimiser will make in all. The last third or more of them is
            for the channels that stay alone.
        method: ``group-lasso``, ``mask-sparsity``, ``proximal``, ``progressive``, ``gradual`` or ``at-init``; or one
            with options of your own, such as ``GroupLasso(strength=2.0)``.
        optimizer: on the model's parameters, for methods that shrink the layers in place; without it they hold at
            zero what goes.
        flops: budget, as in ``compress``, as are the four that follow.
        params: budget.
        latency: budget.
        memory: budget.
        size: budget.
        plan: channels to keep, instead of a budget.
        example_kwargs: keyword inputs.
        calibration: unlabelled inputs, for criteria that need some, and for the refits of ``gradual``; they are read again
            for each plan.
        samples: how many of these to take.
        watch: inputs of the training without labels, a few batches of them, on which channels that never fire are
            counted: now, and by each ``report``. At most ``samples`` of them are taken.
        activate: strength of a term for the loss that pushes such channels up until they fire, with ``watch``; 1 is a
            beginning.
        score: the criterion by which channels are chosen, as in ``compress``; by default the method's.
        allocate: as in ``compress``, as is all that follows.
        latency_table: times of operators.
        round_to: multiples that widths are rounded to.
        min_channels: fewest channels that a group keeps.
        max_cut: largest share of its channels that a group loses.
        protect: patterns of what stays whole.
        keep_class: choose widths that the code of the model's class follows; by default where layers shrink in
            place.
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
        example_inputs: Sequence[Any] | torch.Tensor = (),
        *,
        steps: int,
        method: str | Method = "group-lasso",
        optimizer: torch.optim.Optimizer | None = None,
        flops: float | str | None = None,
        params: float | str | None = None,
        latency: float | str | None = None,
        memory: float | str | None = None,
        size: float | str | None = None,
        plan: Plan | None = None,
        example_kwargs: Mapping[str, Any] | None = None,
        calibration: Data | None = None,
        samples: int = 1024,
        watch: Data | None = None,
        activate: float = 0.0,
        score: str | Criterion | None = None,
        allocate: str = "dp",
        latency_table: LatencyTable | ProfileLatency | None = None,
        round_to: Rounding = "fast",
        min_channels: int = 1,
        max_cut: float = 1.0,
        protect: Sequence[str] = (),
        keep_class: bool | None = None,
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
        if activate and watch is None:
            raise OptionError("to activate silent channels takes inputs to watch them on")
        chosen = method_of(method)
        if plan is not None and min(chosen.plans(steps).values()) < 1.0:
            raise OptionError(
                f"{chosen.name} makes plans of its own on the way to a budget",
                hint="give a budget, or another method",
                options=("plan",),
            )
        if score is None and calibration is None:
            score = chosen.criterion
        if keep_class is None:
            keep_class = chosen.shrinks and optimizer is not None
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
            any_width=not keep_class,
            strict_ops=strict_ops,
            allow_inexact=allow_inexact if plan is None else plan.allow_inexact,
        )
        model = checked_model(model)
        if optimizer is not None:
            check_optimizer(optimizer, model)
            if chosen.shrinks:
                check_carries(optimizer, model)
        planning = Planning(
            model,
            positional(example_inputs),
            example_kwargs,
            calibration,
            samples,
            options,
            progress,
        )
        asked_for = () if plan is not None else budgets(asked)
        self._course = Course(chosen, planning, steps, asked_for, plan, optimizer)
        self._following: list[Following] = []
        if watch is not None:
            self._course.watch_on(watch, samples, activate)

    @property
    def plan(self) -> Plan | None:
        """The plan of the moment, for the model as it was given; ``None`` before there is one."""
        return self._course.whole_plan

    @property
    def settled(self) -> bool:
        """Whether the plan hardly changes any more (early-bird), or won't be made again."""
        return self._course.settled

    def penalty(self) -> Tensor:
        """Compute what is added to the loss of this step: a scalar, zero where there is nothing."""
        course, channels = self._course, self._course.live.channels
        zero = torch.zeros((), dtype=channels.dtype, device=channels.device)
        if course.step >= course.steps:
            return zero
        penalty = course.penalty()
        return zero if penalty is None else penalty.to(channels.dtype)

    def step(self) -> bool:
        """Go on by one step, after ``optimizer.step()``: plan anew where it is time, and treat the weights.

        After the last of the steps, what goes is held where it is: at zero.

        Returns:
            Whether layers have shrunk, so that the model has new parameters.
        """
        return self._course.go_on()

    def follow(self, optimizer: torch.optim.Optimizer) -> None:
        """Go along with the steps of an optimiser by itself, for loops that belong to a framework.

        Its hooks do what ``penalty()`` and ``step()`` would: the gradients of the penalty are added right before
        each step, after a loop has clipped its own. ``finish`` removes the hooks.

        Args:
            optimizer: on the parameters of the model.
        """
        self._following.append(Following(self._course, optimizer, self.penalty))

    def report(self) -> SparsifyReport:
        """Report the costs that are reached, what is left of the channels that go, and how steady the plan is."""
        return report_of(self._course)

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
        for each in self._following:
            each.stop()
        self._following.clear()
        course = self._course
        plan, whole = course.planned()
        planning, model = course.planning, course.planning.model
        options = replace(course.live.planner.options, score=None)
        dense, last = model, None
        if course.origin is not None and course.origin.cuts:
            dense, last = course.origin.restored(model), course.live.planner.cut(plan)
        job = Job.begin(dense, planning.args, planning.kwargs, None, 1, options, planning.progress)
        return finish(job, whole, self.report(), optimizer, trained=model, last=last)

    def state_dict(self) -> dict[str, Any]:
        """Return what a killed run needs to go on, beside the states of the model and the optimiser."""
        return save(self._course)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from ``state_dict``, made by one with the same arguments.

        Layers that had shrunk shrink again, so load this before the states of the model and the optimiser.

        Raises:
            MismatchError: if it was made by another method, for other steps or budgets, or for another model.
        """
        load(self._course, state)
