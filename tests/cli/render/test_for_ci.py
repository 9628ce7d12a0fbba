"""What a CI job shows and counts, of values made by hand."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt

from graphprune.cli.render.for_ci import (
    Case,
    Gate,
    benchmark_gate,
    comparison_gate,
    shortfalls,
)
from graphprune.export.bench import Benchmark, Timing
from graphprune.export.timing import Ratio, Spread
from graphprune.workflow.comparison import Comparison, FileCheck

GOOD = FileCheck("model.pt2", 1e-12, 1e-9, "")
WRONG = FileCheck("model.onnx", 0.5, 1e-4, "")
OTHER = FileCheck("model.onnx", None, 1e-4, "2 outputs instead of 1")


def cells(text: str) -> list[list[str]]:
    """The table in a document, as a page shows it: one list for each row."""
    rows: list[list[str]] = []
    for token in MarkdownIt().enable("table").parse(text):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and rows:
            shown = [each.content for each in token.children or () if each.type == "text"]
            rows[-1].append("".join(shown))
    return rows


def timing(file: str, ratio: float, threads: int = 1) -> Timing:
    return Timing(
        file, 1, threads, Spread(0.002, 0.001, 0.003, 0.001, 5), Ratio(ratio, ratio, ratio)
    )


@pytest.mark.parametrize("bad", [WRONG, OTHER])
def test_a_comparison(bad: FileCheck) -> None:
    gate = comparison_gate(Comparison("Net", True, 0, False, (GOOD, bad)))
    assert not gate.ok
    assert gate.to_markdown().startswith("### graphprune verify Net: failed\n\n| file |")
    found = bad.reason or "5.0e-01"
    assert cells(gate.to_markdown()) == [
        ["file", "error against the masked original", "tolerance", ""],
        ["model.pt2", "1.0e-12", "at most 1e-09", "ok"],
        ["model.onnx", found, "at most 1e-04", "FAILED"],
    ]
    suite = ElementTree.fromstring(gate.to_junit())
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failures = {case.get("name"): case.find("failure") for case in suite}
    assert failures["model.pt2"] is None
    failure = failures["model.onnx"]
    assert failure is not None
    assert failure.get("message") == f"{found}, wanted: at most 1e-04"


def test_without_a_plan_and_retrained() -> None:
    gate = comparison_gate(Comparison("Net", False, 3, True, (GOOD,)))
    assert gate.ok
    assert "error against the original" in gate.to_markdown()
    assert "smaller one's weights" in gate.to_markdown()


@pytest.mark.parametrize(
    ("most", "verdicts"),
    [(None, [True] * 4), (0.6, [True, True, True, False]), (0.5, [True, True, True, False]),
     (0.4, [True, False, True, False]), (1.5, [True] * 4)],
)  # fmt: skip
def test_a_benchmark(
    most: float | None, verdicts: list[bool], capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = (timing("a", 1.0), timing("b", 0.5), timing("a", 1.0, 2), timing("b", 0.7, 2))
    gate = benchmark_gate(Benchmark("CPU", 5, "1.20", pairs), most)
    assert [case.ok for case in gate.cases] == verdicts
    assert [case.seconds for case in gate.cases] == [0.002] * 4
    names = [row[0] for row in cells(gate.to_markdown())[1:]]
    assert names == [
        "a, batch 1, 1 thread",
        "b, batch 1, 1 thread",
        "a, batch 1, 2 threads",
        "b, batch 1, 2 threads",
    ]
    shortfalls(gate)
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == verdicts.count(False)
    assert all(each.startswith("failed: b, batch 1, ") for each in shown)


@pytest.mark.parametrize(
    "name",
    [
        "a|b",
        "<script>alert(1)</script>",
        "line\nbreak",
        "`code`",
        "![x](http://x)",
        "a\x00\x1b[31m",
        "\ud800",
        "ü*_~",
    ],
)
def test_names_can_not_write_markup(name: str) -> None:
    gate = Gate(name, ("file", "found", "wanted"), (Case(name, False, name, name),))
    (head, row) = cells(gate.to_markdown())
    assert len(head) == len(row) == 4
    assert row[0] == " ".join(name.split()).replace("\x00", "\ufffd")
    kinds = {
        child.type
        for token in MarkdownIt().enable("table").parse(gate.to_markdown())
        for child in token.children or ()
    }
    assert kinds <= {"text", "text_special", "strong_open", "strong_close"}
    suite = ElementTree.fromstring(gate.to_junit().encode())
    assert len(suite) == 1
