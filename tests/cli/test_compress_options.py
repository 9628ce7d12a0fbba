"""Which options of ``compress`` go together."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from graphprune.cli import compress_options
from graphprune.cli.compress import compress
from graphprune.errors import OptionError, PlanError

NOTHING = dict.fromkeys(inspect.signature(compress_options.check_pairs).parameters, "")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"distil": "5m"}, "--distil needs --data"),
        ({"augment": "flip", "data": "x.npz"}, "--augment needs --distil or --finetune"),
        ({"device": "cpu"}, "--device needs --data, --train or --val"),
        ({"opset": 17}, "--opset needs the ONNX file"),
        ({"fp16": True}, "--fp16 needs the ONNX file"),
        ({"recover": "bn"}, "--recover needs --data"),
        ({"finetune": 3}, "--finetune needs --train"),
        ({"max_drop": "1%"}, "--max-drop needs --val"),
    ],
)
def test_an_option_without_the_one_it_needs(given: dict[str, Any], message: str) -> None:
    for recover in ("", "none", "merge"):
        compress_options.check_pairs(**NOTHING | {"recover": recover})
    with pytest.raises(OptionError, match=message):
        compress_options.check_pairs(**NOTHING | given)


def test_what_is_asked_for() -> None:
    def wanted(drop: str = "", *, lossless: bool = False, **budgets: str) -> dict[str, Any]:
        return compress_options.wanted(budgets, drop, lossless=lossless, outputs=None)

    assert wanted(flops="0.5", params="") == {"flops": "0.5"}
    assert wanted(lossless=True) == {}
    assert wanted("1%") == {"max_drop": 0.01}
    with pytest.raises(OptionError, match="give a budget"):
        wanted(flops="")
    with pytest.raises(OptionError, match="--max-drop decides the budget; leave out --flops"):
        wanted("1%", flops="0.5")
    outputs = compress_options.wanted({}, "", lossless=False, outputs=["logits"])
    assert outputs == {"flops": 1.0}


def test_a_plan_leaves_nothing_else_to_be_chosen(tmp_path: Path) -> None:
    usual = dict(compress_options.DEFAULTS)
    with pytest.raises(OptionError, match="leave out a budget, --round-to, --protect"):
        compress_options.given(
            tmp_path / "plan.json", usual | {"round_to": 8, "protect": ("fc",)}, budget=True
        )
    (tmp_path / "plan.json").write_text("{}")
    with pytest.raises(PlanError):
        compress_options.given(tmp_path / "plan.json", usual, budget=False)


def test_defaults_are_those_of_the_command() -> None:
    declared = inspect.signature(compress).parameters
    for name, value in compress_options.DEFAULTS.items():
        if name in declared:
            assert declared[name].default in (value, None, ""), name
