"""The plan format: strict reading, stable writing."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.errors import MismatchError, PlanError
from graphprune.plan.plan import GroupPlan, Plan

STORED = Path(__file__).parents[1] / "golden" / "plans"

PLAN = Plan("sha256:ab", (GroupPlan("a", 4, (0, 2), ("a.weight:0",)),), {"macs": 0.5}, {"macs": 9})


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    names = draw(st.lists(st.text(min_size=1), unique=True, max_size=4))
    groups = []
    for name in names:
        width = draw(st.integers(1, 50))
        keep = draw(st.sets(st.integers(0, width - 1), min_size=1))
        groups.append(GroupPlan(name, width, tuple(sorted(keep)), tuple(draw(st.lists(st.text())))))
    return Plan(draw(st.text()), tuple(groups), {"macs": draw(st.floats(0.1, 1))}, {})


@given(plans())
def test_a_plan_survives_the_round_trip(plan: Plan) -> None:
    assert Plan.from_json(plan.to_json()) == plan


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON, st.sampled_from(["model", "budget", "groups", "predicted", "format"]))
def test_hostile_json_is_refused_with_our_error(value: object, key: str) -> None:
    data = json.loads(PLAN.to_json()) | {key: value}
    try:
        Plan.from_json(json.dumps(data))
    except PlanError:
        return


@given(st.text())
def test_any_text_is_a_plan_or_our_error(text: str) -> None:
    with pytest.raises(PlanError):
        Plan.from_json(text)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("keep", []), ("keep", [0, 0]), ("keep", [2, 1]), ("keep", [-1]), ("keep", [4]),
        ("keep", [True]), ("keep", [0.5]), ("keep", "01"), ("width", 0), ("width", 1 << 40),
        ("id", ""), ("id", 3), ("axes", [1]), ("surplus", 1), ("keep", list(range(1 << 17))),
        ("keep", [1 << 70]), ("width", 10 ** 4000), ("width", "4"),
    ],
)  # fmt: skip
def test_wrong_groups_are_refused(field: str, value: object) -> None:
    data = json.loads(PLAN.to_json())
    data["groups"][0][field] = value
    with pytest.raises(PlanError):
        Plan.from_json(json.dumps(data))


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + 400 * "0", "NaN", "Infinity"])
def test_numbers_that_are_none_are_refused(number: str) -> None:
    with pytest.raises(PlanError):
        Plan.from_json(PLAN.to_json().replace("0.5", number))


def test_errors_are_short_and_safe_for_a_terminal() -> None:
    data = json.loads(PLAN.to_json())
    for change in (
        {"format": "\x1b[31m" + "x" * 10**6},
        {"format": [[[]] * 1000]},
        {"\x1b" * 1000: 1},
    ):
        with pytest.raises(PlanError) as caught:
            Plan.from_json(json.dumps(data | change))
        assert len(str(caught.value)) < 400
        assert "\x1b" not in str(caught.value)
    with pytest.raises(MismatchError) as mismatch:
        PLAN.check("sha256:ab", {"\x1b[31m" * 100: 5})
    assert "\x1b" not in str(mismatch.value)


def test_a_plan_that_is_too_large_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphprune.plan.plan.MAX_BYTES", 50)
    with pytest.raises(PlanError, match="too large"):
        Plan.from_json(PLAN.to_json())


def test_a_plan_of_another_architecture_is_refused() -> None:
    PLAN.check("sha256:ab", {"a": 4})
    with pytest.raises(MismatchError):
        PLAN.check("sha256:cd", {"a": 4})
    with pytest.raises(MismatchError, match="differ: a"):
        PLAN.check("sha256:ab", {"a": 5})


def test_inexact_plans_are_a_format_of_their_own() -> None:
    inexact = replace(PLAN, allow_inexact=True)
    assert Plan.from_json(inexact.to_json()) == inexact
    data = json.loads(inexact.to_json())
    for wrong in (
        data | {"format": "graphprune.plan/1"},
        data | {"allow_inexact": 1},
        {key: value for key, value in data.items() if key != "allow_inexact"},
    ):
        with pytest.raises(PlanError):
            Plan.from_json(json.dumps(wrong))
    with pytest.raises(MismatchError, match="cuts through statistics"):
        inexact.check("sha256:ab", {"a": 4})
    inexact.check("sha256:ab", {"a": 4}, allow_inexact=True)


def test_plans_with_redundant_channels_are_a_format_of_their_own() -> None:
    lossless = replace(PLAN, redundant={"a": (1,)})
    assert Plan.from_json(lossless.to_json()) == lossless
    data = json.loads(lossless.to_json())
    assert data["format"] == "graphprune.plan/3"
    for wrong in ([], [0], [1, 1], [4], [3, 1], "1", [True]):
        with pytest.raises(PlanError, match="redundant"):
            Plan.from_json(json.dumps(data | {"redundant": {"a": wrong}}))
    for change in ({"redundant": {"b": [1]}}, {"redundant": [1]}, {"format": "graphprune.plan/2"}):
        with pytest.raises(PlanError):
            Plan.from_json(json.dumps(data | change))


def test_reading_a_plan_imports_no_torch() -> None:
    code = "import sys, graphprune.plan.plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("path", sorted(STORED.glob("*.json")), ids=lambda path: path.stem)
def test_stored_plans_of_every_version_keep_loading(path: Path) -> None:
    text = path.read_text()
    assert Plan.from_json(text).to_json() == text


def test_plans_without_whole_groups_are_a_format_of_their_own() -> None:
    first, *rest = PLAN.groups
    deep = replace(PLAN, groups=(replace(first, keep=()), *rest))
    assert deep.removed == (first.id,)
    assert Plan.from_json(deep.to_json()) == deep
    data = json.loads(deep.to_json())
    assert data["format"] == "graphprune.plan/4"
    for version in (1, 2, 3):
        with pytest.raises(PlanError):
            Plan.from_json(json.dumps(data | {"format": f"graphprune.plan/{version}"}))
    older = {k: v for k, v in data.items() if k not in ("allow_inexact", "redundant")}
    with pytest.raises(PlanError, match="at least one channel"):
        Plan.from_json(json.dumps(older | {"format": "graphprune.plan/1"}))
    both = replace(deep, redundant={first.id: (0,)})
    assert Plan.from_json(both.to_json()) == both
