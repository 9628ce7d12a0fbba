"""Plans: which channels of which group are kept. Plain data, JSON, no torch.

The format is stated in ``docs/plan-format.md``. A plan is bound to an architecture by its
fingerprint, not to weights, so it can be replayed on another checkpoint.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphprune.errors import MismatchError, PlanError
from graphprune.io.strict_json import expect, finite, is_index, parsed, shown

__all__ = [
    "FORMAT",
    "FORMAT_DEPTH",
    "FORMAT_INEXACT",
    "FORMAT_LOSSLESS",
    "MAX_BYTES",
    "GroupPlan",
    "Plan",
]

FORMAT = "graphprune.plan/1"

FORMAT_INEXACT = "graphprune.plan/2"
"""Format of plans with inexact cuts: adds ``allow_inexact``, so that readers of version 1 refuse it."""

FORMAT_LOSSLESS = "graphprune.plan/3"
"""Format of plans with redundant channels: adds ``redundant``, so that readers before refuse it."""

FORMAT_DEPTH = "graphprune.plan/4"
"""Format of plans in which groups go whole: ``keep`` may be empty, so that readers before refuse it."""

FORMATS = (FORMAT, FORMAT_INEXACT, FORMAT_LOSSLESS, FORMAT_DEPTH)

MAX_WIDTH = 1 << 24
MAX_BYTES = 1 << 26
"""Largest size of a plan as text; that of a network with a million channels has some eight million."""


@dataclass(frozen=True)
class GroupPlan:
    """The channels of one group that are kept.

    Attributes:
        id: the group's name.
        width: channels of the dense group.
        keep: kept channels, ascending; none where the group goes whole.
        axes: parameter axes the group lies in, ``name:dim``; for the reader, not used.
    """

    id: str
    width: int
    keep: tuple[int, ...]
    axes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """The kept channels of every group of one architecture, ready to be applied.

    Attributes:
        fingerprint: of the architecture it was made for.
        groups: one entry for each group of that architecture.
        budget: what was asked, such as ``{"macs": 0.5}``; fractions of dense.
        predicted: what the smaller model costs, such as ``{"macs": 20.6e6}``.
        allow_inexact: the groups are those of an analysis that cuts through statistics.
        redundant: removed channels by the id of their group that must go with no loss, which
            depends on the weights: what reads them takes over what they did.
    """

    fingerprint: str
    groups: tuple[GroupPlan, ...]
    budget: Mapping[str, float] = field(default_factory=dict)
    predicted: Mapping[str, float] = field(default_factory=dict)
    allow_inexact: bool = False
    redundant: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def keep(self) -> dict[str, tuple[int, ...]]:
        """Kept channels by the id of their group."""
        return {group.id: group.keep for group in self.groups}

    @property
    def removed(self) -> tuple[str, ...]:
        """Ids of the groups that go whole, in the plan's order."""
        return tuple(group.id for group in self.groups if not group.keep)

    def check(
        self, fingerprint: str, widths: Mapping[str, int], *, allow_inexact: bool = False
    ) -> None:
        """Check that the plan is made for an architecture.

        Args:
            fingerprint: of the model.
            widths: its groups.
            allow_inexact: whether the analysis cuts through statistics.

        Raises:
            MismatchError: if the fingerprint or a group's name or width differs, or only the
                plan allows inexact cuts.
        """
        if self.allow_inexact and not allow_inexact:
            raise MismatchError(
                "the plan cuts through statistics, which the analysis holds",
                hint="analyse the model with allow_inexact",
            )
        mine = {group.id: group.width for group in self.groups}
        if self.fingerprint == fingerprint and mine == dict(widths):
            return
        wrong = sorted({name for name, _ in set(mine.items()) ^ set(widths.items())})
        detail = f"; groups that differ: {', '.join(map(shown, wrong[:5]))}" if wrong else ""
        raise MismatchError(
            f"the plan was made for another architecture{detail}",
            hint="make a new plan for this model, or build the model that the plan was made for",
        )

    def to_json(self) -> str:
        """Write the plan as JSON text; the same plan gives the same bytes."""
        groups = [
            f'    {{"id": {json.dumps(g.id)}, "width": {g.width}, "keep": {json.dumps(g.keep)}, '
            f'"axes": {json.dumps(g.axes)}}}'
            for g in self.groups
        ]
        listed = "[\n" + ",\n".join(groups) + "\n  ]" if groups else "[]"
        return (
            "{\n"
            f'  "format": {json.dumps(self._format)},\n'
            + (f'  "allow_inexact": {json.dumps(self.allow_inexact)},\n' * (self._format != FORMAT))
            + (
                f'  "redundant": {json.dumps(dict(self.redundant))},\n'
                if self._format in (FORMAT_LOSSLESS, FORMAT_DEPTH)
                else ""
            )
            + f'  "model": {{"fingerprint": {json.dumps(self.fingerprint)}}},\n'
            f'  "budget": {json.dumps(dict(self.budget), sort_keys=True)},\n'
            f'  "groups": {listed},\n'
            f'  "predicted": {json.dumps(dict(self.predicted), sort_keys=True)}\n'
            "}\n"
        )

    @property
    def _format(self) -> str:
        if self.removed:
            return FORMAT_DEPTH
        if self.redundant:
            return FORMAT_LOSSLESS
        return FORMAT_INEXACT if self.allow_inexact else FORMAT

    @staticmethod
    def from_json(text: str) -> Plan:
        """Read a plan from JSON text.

        Raises:
            PlanError: if the text isn't a plan of a known version; nothing is guessed.
        """
        data = parsed(text, MAX_BYTES, PlanError, "the plan")
        _expect(isinstance(data, dict), "the plan is not a JSON object")
        _expect(
            data.get("format") in FORMATS,
            f"unknown plan format {shown(data.get('format'))}",
            f"this version reads {', '.join(FORMATS[:-1])} and {FORMATS[-1]}",
        )
        keys = {"format", "model", "budget", "groups", "predicted"}
        keys |= {"allow_inexact"} if data["format"] != FORMAT else set()
        keys |= {"redundant"} if data["format"] in (FORMAT_LOSSLESS, FORMAT_DEPTH) else set()
        _expect(
            set(data) == keys,
            f"plan keys must be {sorted(keys)}, not {shown(', '.join(sorted(data)))}",
        )
        model, groups = data["model"], data["groups"]
        _expect(
            isinstance(model, dict)
            and set(model) == {"fingerprint"}
            and isinstance(model["fingerprint"], str),
            "model must hold a fingerprint",
        )
        _expect(isinstance(groups, list), "groups must be a list")
        least = 0 if data["format"] == FORMAT_DEPTH else 1
        plans = tuple(_group(entry, least) for entry in groups)
        _expect(len({g.id for g in plans}) == len(plans), "a group occurs twice in the plan")
        allow_inexact = data.get("allow_inexact", False)
        _expect(isinstance(allow_inexact, bool), "allow_inexact must be true or false")
        return Plan(
            model["fingerprint"],
            plans,
            _numbers(data["budget"], "budget"),
            _numbers(data["predicted"], "predicted"),
            allow_inexact,
            _redundant(data.get("redundant", {}), plans),
        )


def _expect(condition: bool, message: str, hint: str = "see docs/plan-format.md") -> None:
    expect(condition, PlanError, message, hint)


def _numbers(value: Any, name: str) -> dict[str, float]:
    _expect(
        isinstance(value, dict) and all(finite(v) for v in value.values()),
        f"{name} must map names to numbers",
    )
    return dict(value)


def _redundant(value: Any, groups: Sequence[GroupPlan]) -> dict[str, tuple[int, ...]]:
    """Read which removed channels go with no loss."""
    _expect(isinstance(value, dict), "redundant must map groups to channels")
    removed = {g.id: set(range(g.width)) - set(g.keep) for g in groups if g.id in value}
    for name, channels in value.items():
        label = shown(name)
        _expect(
            isinstance(channels, list) and bool(channels) and all(map(is_index, channels)),
            f"redundant: {label} must list channels",
        )
        _expect(
            all(a < b for a, b in itertools.pairwise(channels))
            and set(channels) <= removed.get(name, set()),
            f"redundant: channels of {label} must ascend and be removed ones of a group of the plan",
        )
    return {name: tuple(channels) for name, channels in value.items()}


def _group(entry: Any, least: int) -> GroupPlan:
    _expect(
        isinstance(entry, dict) and set(entry) == {"id", "width", "keep", "axes"},
        "a group must have exactly id, width, keep and axes",
    )
    name, width, keep, axes = entry["id"], entry["width"], entry["keep"], entry["axes"]
    _expect(isinstance(name, str) and bool(name), "a group's id must be a non-empty string")
    label = shown(name)
    _expect(is_index(width) and 1 <= width <= MAX_WIDTH, f"group {label}: bad width {shown(width)}")
    _expect(
        isinstance(keep, list) and len(keep) <= width and all(map(is_index, keep)),
        f"group {label}: keep must list channels",
    )
    _expect(len(keep) >= least, f"group {label}: at least one channel must be kept")
    ascending = all(a < b for a, b in itertools.pairwise(keep))
    _expect(
        ascending and (not keep or keep[-1] < width),
        f"group {label}: kept channels must ascend and be below {width}",
    )
    _expect(
        isinstance(axes, list) and all(isinstance(a, str) for a in axes),
        f"group {label}: axes must list strings",
    )
    return GroupPlan(name, width, tuple(keep), tuple(axes))
