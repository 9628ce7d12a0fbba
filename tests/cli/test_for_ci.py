"""``--summary`` and ``--junit``: where they write, and when they refuse to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from graphprune.cli import for_ci
from graphprune.cli.render.for_ci import Case, Gate
from graphprune.errors import OutputError
from tests.cli.conftest import DIGITS, Compressed, Ran, expect
from tests.cli.test_bench import save

GATE = Gate("title", ("a", "b", "c"), (Case("first", True, "1"), Case("second", False, "2", "1")))


def test_the_summary_is_appended_and_the_xml_replaced(tmp_path: Path) -> None:
    summary, junit = tmp_path / "summary.md", tmp_path / "junit.xml"
    summary.write_text("# What another step wrote\n")
    junit.write_text("old")
    for _ in range(2):
        for_ci.tell(GATE, summary=summary, junit=junit)
    text = summary.read_text()
    assert text.startswith("# What another step wrote\n### title: failed")
    assert text.count("### title: failed") == 2
    assert ElementTree.parse(junit).getroot().get("failures") == "1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["junit.xml", "summary.md"]


def test_nothing_is_written_if_nothing_is_asked_for() -> None:
    for_ci.tell(GATE, summary=None, junit=None)


def test_a_ratio_takes_two_models(tmp_path: Path, cli: Callable[..., Ran]) -> None:
    found = cli("bench", tmp_path / "a.onnx", "--max-ratio", "1.1")
    expect(found, 2, "error[GP010]: --max-ratio is to the first model, and there is no other")


def test_places_are_looked_at_first(tmp_path: Path) -> None:
    for_ci.check_places(None, tmp_path / "new.md")
    for bad in (tmp_path, tmp_path / "absent" / "new.md"):
        with pytest.raises(OutputError, match="can't write to"):
            for_ci.check_places(None, bad)


@pytest.mark.onnx
def test_a_gate_of_times(tmp_path: Path, cli: Callable[..., Ran]) -> None:
    a, b = save(tmp_path / "a.onnx", ["n", 4]), save(tmp_path / "b.onnx", ["n", 4])
    summary, junit = tmp_path / "s.md", tmp_path / "j.xml"
    call = ("bench", a, b, "--rounds", 3, "--summary", summary, "--junit", junit)
    assert cli(*call, "--max-ratio", 1000).code == 0
    ran = cli(*call, "--max-ratio", 0.0001)
    assert ran.code == 1
    assert ran.err.startswith(f"failed: {b}, batch 1, default threads: ")
    text = summary.read_text()
    assert text.index("passed") < text.index("failed")
    assert ElementTree.parse(junit).getroot().get("failures") == "1"
    for wrong in ("0", "-1", "nan", "inf"):
        expect(cli("bench", a, b, "--max-ratio", wrong), 2, "error[GP010]: --max-ratio")


@pytest.mark.onnx
def test_a_gate_of_files(half: Compressed, tmp_path: Path, cli: Callable[..., Ran]) -> None:
    summary, junit = tmp_path / "s.md", tmp_path / "j.xml"
    ran = cli("verify", *DIGITS, half.folder, "--summary", summary, "--junit", junit)
    assert ran.code == 0
    assert summary.read_text().startswith("### graphprune verify DigitsNet: passed")
    assert ElementTree.parse(junit).getroot().get("tests") == "2"
    absent = tmp_path / "absent" / "s.md"
    expect(cli("verify", *DIGITS, half.folder, "--summary", absent), 2, "error[GP009]: can't write")
