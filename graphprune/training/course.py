"""The course of a training that prunes: when plans are made, and when layers shrink."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from torch import Tensor

from graphprune.data import calibrate, prepared
from graphprune.ir.unwrap import unwrap
from graphprune.loading.image_preparation import brought_by
from graphprune.passes import Decision
from graphprune.plan.budget import Budget
from graphprune.plan.plan import Plan
from graphprune.rebuild.carry_optimizer import check_carries
from graphprune.workflow.start import Data

from .activating import Activating
from .in_place import shrink_in_place
from .live import Live
from .method import Method, Moment
from .origin import Origin
from .planner import Planner
from .planning import Planning
from .progress import has_settled
from .silent import Silence, Watch

__all__ = ["Course"]

logger = logging.getLogger(__name__)


class Course:
    """A run of a method, step by step. ``Sparsify`` is its face for users.

    Args:
        method: decides when to plan, and what is done to the weights.
        planning: the model, and how it is planned for.
        steps: of the optimiser in all.
        bounds: the budgets, unless there is a plan.
        plan: a plan that stays.
        optimizer: goes on with smaller parameters, where layers shrink.
    """

    def __init__(
        self,
        method: Method,
        planning: Planning,
        steps: int,
        bounds: Sequence[Budget],
        plan: Plan | None,
        optimizer: torch.optim.Optimizer | None,
    ) -> None:
        self.method, self.planning, self.steps = method, planning, steps
        self.step = 0
        self.distances: list[float] = []
        self.uncut = self._why_whole(optimizer) if method.shrinks else ""
        self.origin = Origin.of(planning.model) if method.shrinks and not self.uncut else None
        self._optimizer = optimizer
        self._carries = self.origin is None  # or it isn't known yet
        self._plans = dict(method.plans(steps)) if plan is None else {0: 1.0}
        self.live = Live.of(Planner(planning, bounds, plan))
        self.share = self._plans.get(0, 0.0)
        first = self.live.planner.first[Decision].plan
        self.plan = first if self.share == 1.0 else None
        self.live.going = self.live.removed_by(self.plan)
        self.watch: Watch | None = None
        self.activating: Activating | None = None

    def watch_on(self, inputs: Data, samples: int, activate: float) -> None:
        """Count on so many inputs which channels never fire, now and whenever there is a report; and wake them, if asked."""
        planner = self.live.planner
        given = prepared(inputs, brought_by(unwrap(self.planning.model)))
        found = calibrate(given, planner.first.program, samples)
        self.watch = Watch.of(found, planner.analysis)
        if activate:
            self.activating = Activating(self.watch, activate, self.steps, self.live)

    @property
    def silence(self) -> Silence | None:
        """How many channels never fire, if there are inputs to see it on."""
        live = self.live
        return self.watch and self.watch.silence(live.planner.analysis, live.going)

    @property
    def now(self) -> Moment:
        """What the method is told."""
        return self.live.moment(self.step, self.steps)

    @property
    def settled(self) -> bool:
        """Whether the plan hardly changes any more, or won't be made again."""
        if not any(step > self.step for step in self._plans):
            return True
        return self.share == 1.0 and has_settled(self.distances)

    @property
    def asked(self) -> dict[str, float]:
        """The budgets as they were given."""
        return {status.cost: status.asked for status in self.live.planner.asked}

    @property
    def whole_plan(self) -> Plan | None:
        """The plan of the moment, for the model as it was given."""
        if self.plan is None or self.origin is None:
            return self.plan
        return self.origin.whole(self.plan, self.asked)

    @property
    def gone(self) -> int:
        """How many channels were cut since training began."""
        if self.origin is None or not self.origin.plans:
            return 0
        return sum(group.width for group in self.origin.plans[0].groups) - sum(self.live.widths)

    def go_on(self) -> bool:
        """Make the step that follows one of the optimiser; tell whether layers have shrunk."""
        self.step += 1
        self._check_optimizer()
        shrunk = False
        if (share := self._plans.get(self.step)) is not None:
            self._replan(share)
            if self.method.refits:
                self._refit()
            shrunk = self.method.shrinks and self.shrink()
        if not shrunk:
            with torch.no_grad():
                self.method.after_step(self.now)
        if self.activating is not None and (shrunk or self.activating.is_due(self.step)):
            self.activating.listen(self.live)
        return shrunk

    def penalty(self) -> Tensor | None:
        """Compute what is added to the loss of the next step, if there is anything."""
        own = self.method.penalty(self.now)
        waking = self.activating and self.activating.penalty(self.live.going)
        if own is None or waking is None:
            return waking if own is None else own
        return own + waking.to(own)

    def planned(self) -> tuple[Plan, Plan]:
        """Plan for the whole budget, if that wasn't done: for the model as it is, and as it was given."""
        if self.plan is None or self.share < 1.0:
            self._replan(1.0)
        plan, whole = self.plan, self.whole_plan
        assert plan is not None
        assert whole is not None
        return plan, whole

    def shrink(self) -> bool:
        """Cut in place what the plan removes, if that can be; tell whether it was."""
        live, plan = self.live, self.plan
        if self.origin is None or self._optimizer is None or self.uncut or plan is None:
            return False
        planning = self.planning
        cut = shrink_in_place(planning.model, self._optimizer, plan, planning.args, planning.kwargs)
        if isinstance(cut, str):
            self.uncut = cut
            logger.warning("layers stay as wide as they are, with zeros: %s", cut)
            return False
        asked = live.planner.asked
        planner = Planner(planning, [Budget(s.cost, s.bound) for s in asked], asked=asked)
        self.origin = self.origin.then(plan, cut)
        self.live, self.plan = live.of_kept(planner), planner.whole()
        return True

    def _replan(self, share: float) -> None:
        """Choose the channels anew, and note how many changed."""
        live = self.live
        before = live.going
        with torch.no_grad():
            values = self.method.scores(self.now)
        self.plan, self.share = live.planner.plan(share, values).plan, share
        live.going = live.removed_by(self.plan)
        if len(before):
            self.distances.append(float((live.going != before).double().mean()))
        live.reference = live.channels.norms().detach()

    def _check_optimizer(self) -> None:
        """Refuse states that can't be sliced as soon as there are some, not at the first cut.

        Raises:
            OptionError: naming the state.
        """
        if not self._carries and self._optimizer is not None and self._optimizer.state:
            check_carries(self._optimizer, self.planning.model)
            self._carries = True

    def _refit(self) -> None:
        """Refit the live weights to the plan, where there is calibration data."""
        live, plan = self.live, self.plan
        assert plan is not None
        with torch.no_grad():
            for name, value in live.planner.refitted(plan).items():
                live.planner.analysis.tensors[name].copy_(value)
        live.reference = live.channels.norms().detach()

    def _why_whole(self, optimizer: torch.optim.Optimizer | None) -> str:
        """Say why layers can't shrink in place, whatever the plan is."""
        if optimizer is None:
            return "no optimizer was given"
        if self.planning.options.max_cut not in (None, 1.0):
            return "max_cut is of the widths at the start"
        return ""
