"""The report as a document: one line for each entry of a list, and all of it there."""

from __future__ import annotations

import json
from dataclasses import asdict

from graphprune.report.report import FORMAT, Report
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
