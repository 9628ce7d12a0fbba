"""The state of a run that prunes while it trains, as plain data and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from graphprune.errors import MismatchError
from graphprune.plan.plan import Plan

from .course import Course

__all__ = ["load", "save"]

_FORMAT = "graphprune.sparsify/3"
_SAME = "make it with the arguments of the run that is to go on"


def save(course: Course) -> dict[str, Any]:
    """Return what a killed run needs to go on, beside the states of the model and the optimiser."""
    live = course.live
    return {
        **_identity(course),
        "step": course.step,
        "share": course.share,
        "plan": None if course.plan is None else course.plan.to_json(),
        "distances": list(course.distances),
        "initial": live.initial.cpu(),
        "reference": live.reference.cpu(),
        "memory": {name: value.cpu() for name, value in live.memory.items()},
        "held": {number: value.cpu() for number, value in live.held.items()},
        "cuts": [] if course.origin is None else [p.to_json() for p in course.origin.plans],
        "uncut": course.uncut,
        "silent": None if course.watch is None else course.watch.before,
        "waking": None if course.activating is None else course.activating.silent,
    }


def load(course: Course, state: Any) -> None:
    """Go on from a state. Layers that had shrunk shrink again.

    Raises:
        MismatchError: if it was made by another method, for other steps or budgets, or for another model.
    """
    if not isinstance(state, Mapping):
        raise MismatchError(
            f"the state is of type {type(state).__name__}, not what state_dict() gave", hint=_SAME
        )
    for name, own in _identity(course).items():
        if state.get(name) != own:
            raise MismatchError(
                f"the state has {name} {state.get(name)!r}, this one {own!r}", hint=_SAME
            )
    for text in state["cuts"]:
        _set_plan(course, text)
        if not course.shrink():
            raise MismatchError(
                f"the layers had shrunk, and can't here: {course.uncut}", hint=_SAME
            )
    live = course.live
    if len(state["initial"]) != len(live.channels):
        raise MismatchError(
            f"the state is of {len(state['initial'])} channels, the model has {len(live.channels)}"
        )
    course.step, course.share, course.uncut = state["step"], state["share"], state["uncut"]
    course.distances = list(state["distances"])
    if course.watch is not None and state["silent"] is not None:
        course.watch = replace(course.watch, before=state["silent"])
    if course.activating is not None and state["waking"] is not None:
        course.activating.listen(live)
        course.activating.silent = state["waking"]
    device = live.channels.device
    live.initial = state["initial"].to(live.initial)
    live.reference = state["reference"].to(live.reference)
    live.memory = {name: value.to(device) for name, value in state["memory"].items()}
    places = live.channels.reading
    live.held = {n: value.to(places[n].parameter.device) for n, value in state["held"].items()}
    _set_plan(course, state["plan"])


def _set_plan(course: Course, text: str | None) -> None:
    course.plan = None if text is None else Plan.from_json(text)
    if course.plan is not None:
        course.live.planner.check(course.plan)
    course.live.going = course.live.removed_by(course.plan)


def _identity(course: Course) -> dict[str, Any]:
    """What has to be the same in the run that goes on."""
    return {
        "format": _FORMAT,
        "method": course.method.name,
        "steps": course.steps,
        "budget": course.asked,
    }
