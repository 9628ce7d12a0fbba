"""What a comparison of files found, as a value and as a document."""

from __future__ import annotations

import json

from graphprune.workflow.comparison import Comparison, FileCheck


def test_the_document_says_of_each_file_and_of_all_whether_it_is_right() -> None:
    good, bad = (
        FileCheck("a.pt2", 1e-12, 1e-9, ""),
        FileCheck("b.onnx", None, 1e-4, "2 outputs, not 1"),
    )
    document = json.loads(Comparison("Net", True, 0, False, (good, bad)).to_json())
    assert document["format"] == "graphprune.verify/1"
    assert document["ok"] is False
    assert [check["ok"] for check in document["checks"]] == [True, False]
    assert not FileCheck("a.pt2", 1e-8, 1e-9, "").ok
