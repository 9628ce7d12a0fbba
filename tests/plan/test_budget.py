"""Budgets: what their texts mean, and what is refused for what it could mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphprune.errors import OptionError
from graphprune.plan.budget import Budget, budgets, parse_amount


@pytest.mark.parametrize(
    ("text", "unit"),
    [("8ms", 8000.0), ("500us", 500.0), ("1.5s", 1.5e6), ("0.6", 0.6), ("60%", 0.6)],
)
def test_amounts_of_time(text: str, unit: float) -> None:
    assert Budget.latency(text).amount == pytest.approx(unit)


@pytest.mark.parametrize(("text", "unit"), [("5MB", 5e6), ("1 KiB", 1024.0), ("0.5", 0.5)])
def test_amounts_of_bytes(text: str, unit: float) -> None:
    assert Budget.size(text).amount == Budget.memory(text).amount == pytest.approx(unit)


@pytest.mark.parametrize("text", ["8", "8 min", "ms", "5MB", "-1ms", ""])
def test_amounts_that_could_mean_anything(text: str) -> None:
    with pytest.raises(OptionError):
        Budget.latency(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5), (".5", 0.5), ("50%", 0.5), (" 12.5 % ", 0.125), ("1.2G", 1.2e9), ("3k", 3e3),
        ("2 M", 2e6), ("1e3", 1e3), ("5E-1", 0.5), ("70%", 0.7), (0.25, 0.25), (7, 7.0),
    ],
)  # fmt: skip
def test_amounts(text: str | float, value: float) -> None:
    assert parse_amount(text) == value


@pytest.mark.parametrize(
    "text", ["", "half", "1.2X", "--1", "1,5", "%", "5%%", "nan", "1e", "0x10"]
)
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(OptionError, match="as a budget") as error:
        parse_amount(text)
    assert "0.5 is half" in error.value.hint


def test_numbers_of_other_libraries_are_amounts() -> None:
    assert parse_amount(np.float32(0.5)) == parse_amount(np.array(0.5)) == 0.5
    for wrong in (np.array([0.5, 0.25]), [0.5], object()):
        with pytest.raises(OptionError, match="as a budget"):
            parse_amount(wrong)  # pyright: ignore[reportArgumentType]


@given(st.floats(1e-9, 1.0), st.floats(1.0, 1e15))
def test_a_share_is_of_the_dense_cost(share: float, dense: float) -> None:
    assert Budget("macs", share).absolute(dense) == share * dense
    assert Budget("macs", 1 + dense).absolute(1.0) == 1 + dense


def test_flops_are_two_for_a_mac_unless_they_are_a_share() -> None:
    assert Budget.flops("3M") == Budget("macs", 1.5e6)
    assert Budget.flops("50%") == Budget("macs", 0.5)
    assert Budget.params("3M") == Budget("params", 3e6)


@pytest.mark.parametrize("make", [Budget.flops, Budget.params, Budget.latency, Budget.size])
@pytest.mark.parametrize("amount", ["150%", "100.1%", "1e3 %"])
def test_a_share_is_at_most_the_whole(make: Callable[[str], Budget], amount: str) -> None:
    assert make("100%").amount == 1.0
    with pytest.raises(OptionError, match="more than the dense cost"):
        make(amount)


@pytest.mark.parametrize("amount", [1.5, 2, "1.01", "2"])
def test_flops_above_a_share_are_never_read_as_one(amount: str | float) -> None:
    with pytest.raises(OptionError, match="too small"):
        Budget.flops(amount)
    assert Budget.flops(3) == Budget("macs", 1.5)


@pytest.mark.parametrize("amount", [0.0, -1.0, float("inf"), float("nan"), "0", "0%"])
def test_a_budget_is_a_positive_number(amount: str | float) -> None:
    with pytest.raises(OptionError, match="must be a positive number"):
        Budget.params(amount)


def test_budgets_by_their_options() -> None:
    given_ = {"flops": 0.5, "params": None, "latency": "8ms", "memory": "", "size": "1KB"}
    assert budgets(given_) == (
        Budget("macs", 0.5), Budget("latency", 8000.0), Budget("size", 1000.0)
    )  # fmt: skip
    with pytest.raises(OptionError, match="give a budget") as error:
        budgets({"flops": None})
    assert error.value.options[:2] == ("flops", "params")
