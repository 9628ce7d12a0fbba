"""What `graphprune inspect --why` prints."""

from __future__ import annotations

import json

import pytest

from graphprune.analysis.why import ExplanationStep
from graphprune.cli import render
from tests.cli.render.helpers import lines

Captured = pytest.CaptureFixture[str]


def test_a_chain_is_a_table_or_a_document(capsys: Captured) -> None:
    steps = (ExplanationStep("couples", "aten.add.Tensor", "net.py:3"),)
    render.chain("a", steps, as_json=False)
    assert lines(capsys)[:2] == ["a operator where", "couples aten.add.Tensor net.py:3"]
    render.chain("a", steps, as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "format": "graphprune.why/1",
        "name": "a",
        "steps": [{"says": "couples", "operator": "aten.add.Tensor", "where": "net.py:3"}],
    }
