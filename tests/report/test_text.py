"""How numbers, names and findings are written."""

from __future__ import annotations

import pytest

from graphprune.report import text
from tests.report.html.samples import full


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0 "),
        (999, "999 "),
        (1000, "1 K"),
        (4_481_000, "4.481 M"),
        (12_345_678_900, "12.35 G"),
        (0.5, "0.5 "),
    ],
)
def test_amounts_have_four_digits_and_a_unit(value: float, written: str) -> None:
    assert text.amount(value) == written


def test_changes_and_shares() -> None:
    assert text.change(200, 100) == "-50.0%"
    assert text.change(100, 101) == "+1.0%"
    assert text.change(100, 100) == text.change(0, 5) == ""
    assert text.share(200, 50) == 0.75
    assert text.share(100, 150) == text.share(0, 1) == 0  # nothing is gone


def test_targets_are_shares_or_amounts() -> None:
    assert text.target(0.5, 50, 100, met=True) == "target <= 50.0% met"
    assert text.target(2e6, 2e6, 4e6, met=False) == "target <= 2 M (50.0%) MISSED"


def test_several_budgets_are_told_apart_by_their_costs() -> None:
    macs = full().budgets[0]
    other = {**macs, "cost": "heat", "met": False}
    assert text.targets([macs]) == "target <= 50.0% met"
    assert text.targets([macs, {**macs, "cost": "params"}, other]) == (
        "MACs: target <= 50.0% met; parameters: target <= 50.0% met; heat: target <= 50.0% MISSED"
    )


def test_names_from_files_cannot_move_a_cursor_or_turn_a_line_around() -> None:
    assert text.printable("a\x1b[2Jb\u202ec\u2028d\te") == "a\\x1b[2Jb\\u202ec\\u2028d\\te"
    assert text.printable("naïve → 猫\nsecond") == "naïve → 猫\nsecond"


def test_an_allocation_without_a_bound_has_no_certificate() -> None:
    found = dict(full().allocation)
    assert text.allocation(found) == "dp, distortion 1.854, certified gap 0.21%"
    assert text.allocation(found | {"gap": None}) == "dp, distortion 1.854, no certificate"


def test_a_few_of_the_weights_that_were_not_looked_at_are_named() -> None:
    found = dict(full().recovery)
    assert text.recovered(found) == (
        "held-out error 0.31 -> 0.04 of the outputs' variance, 1 of 2 layers refitted; "
        "not looked at: tied.weight"
    )
    assert text.recovered(found | {"left": ()}).endswith("1 of 2 layers refitted")
    scaled = text.recovered(found | {"left": (), "scale": 1.08})
    assert scaled.endswith("1 of 2 layers refitted, class scores times 1.08")
    many = text.recovered(found | {"left": tuple("abcde")})
    assert many.endswith("not looked at: a, b, c and 2 more")


def test_only_the_first_names_are_spelt_out() -> None:
    assert text.few([]) == ""
    assert text.few(["a", "b", "c"]) == "a, b, c"
    assert text.few(["a", "b", "c", "d"], 2) == "a, b and 2 more"


def test_training_and_a_search_in_a_sentence() -> None:
    assert text.distilled({"steps": 0, "before": 1, "after": 1}).startswith("no step taken")
    assert text.distilled(full().distilled).startswith("200 steps, held-out error 0.1 -> 0.05")
    assert text.searched(full().search) == "dense 98.00%, this one 97.50%, allowed drop 1.00%"
