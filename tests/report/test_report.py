"""The report as a document: one line for each entry of a list, and all of it there."""

from __future__ import annotations

import json
from dataclasses import asdict

from graphprune.report.report import FORMAT, FileSizes, Report
from tests.report.html.samples import full, poisoned


def test_the_document_is_the_report() -> None:
    for report in (full(), poisoned(full()), full(groups=(), layers=())):
        document = json.loads(report.to_json())
        assert next(iter(document)) == "format"
        assert document.pop("format") == FORMAT
        assert document == json.loads(json.dumps(asdict(report)))
        assert [*document] == [*Report.__dataclass_fields__]


def test_entries_of_a_list_have_a_line_each_so_that_reports_can_be_compared() -> None:
    lines = full().to_json().splitlines()
    for group in full().groups:
        (line,) = [line for line in lines if f'"id": "{group.id}"' in line]
        assert json.loads(line.strip().rstrip(",")) == json.loads(json.dumps(asdict(group)))
    assert len(lines) < 100


def test_the_dense_file_is_held_against_the_one_of_its_kind() -> None:
    assert full().file_sizes == FileSizes("net.pt", 726_600, "model.pt", 437_000)
    program = full(source={"file": "net.pt2", "bytes": 9}, files={"model.pt": 1, "model.pt2": 2})
    assert program.file_sizes == FileSizes("net.pt2", 9, "model.pt2", 2)
    assert full(source={}).file_sizes is None
    assert full(files={}).file_sizes is None
