"""Reports from files: what is one comes back as it was, and nothing else gets through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphprune.errors import LoadError
from graphprune.report.html import one, several
from graphprune.report.html.read_report import read
from graphprune.report.report import Report
from tests.report.html.samples import full, poisoned

ODD = st.sampled_from([
    None,
    True,
    -1,
    0,
    2**70,
    1e308,
    0.5,
    "",
    "x",
    [],
    {},
    [[]],
    {"a": 1},
    [0, None],
])


def as_read(report: Report, folder: Path) -> Report:
    (folder / "report.json").write_text(report.to_json())
    return read(folder)


@pytest.mark.parametrize("report", [full(), poisoned(full()), full(layers=(), curves=())])
def test_a_report_comes_back(report: Report, tmp_path: Path) -> None:
    found = as_read(report, tmp_path)
    assert found.to_json() == report.to_json()
    assert one(found) == one(report)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("{}", "not a report"),
        ("[]", "not a report"),
        ('{"format": "graphprune.report/2"}', "not a report"),
        ('{"format": "graphprune.report/1"}', "another version"),
        ('{"format": NaN}', "not JSON"),
    ],
)
def test_what_is_no_report_is_refused(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(LoadError, match=says):
        read(tmp_path)


def test_no_file_and_bytes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no such file"):
        read(tmp_path)
    (tmp_path / "report.json").write_bytes(b"\xff\xfe")
    with pytest.raises(LoadError, match="not JSON"):
        read(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"groups": [{"id": "a", "before": 4, "after": 5, "axes": []}]},
        {"groups": [{"id": "a", "before": 0, "after": 0, "axes": []}]},
        {"curves": [{"group": "stem", "widths": [1, 2], "distortion": [1.0]}]},
    ],
)
def test_contradictions_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    data = json.loads(full().to_json()) | change
    (tmp_path / "report.json").write_text(json.dumps(data))
    with pytest.raises(LoadError, match="contradicts itself"):
        read(tmp_path)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to everything within a JSON value."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [
        *([path] if path else []),
        *(p for key, each in inner for p in places(each, (*path, key))),
    ]


def holder(content: Any, place: tuple[Any, ...]) -> Any:
    """What holds the entry at the end of a path."""
    for key in place[:-1]:
        content = content[key]
    return content


def read_or_refused(content: Any, folder: Path) -> Report | None:
    """A report of this content; ``None`` if it is refused."""
    (folder / "report.json").write_text(json.dumps(content))
    try:
        return read(folder)
    except LoadError:
        return None


PLACES = places(json.loads(full().to_json()))


@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_a_report_with_a_null_is_refused_or_shown(place: tuple[Any, ...], tmp_path: Path) -> None:
    content = json.loads(full().to_json())
    holder(content, place)[place[-1]] = None
    report = read_or_refused(content, tmp_path)
    assert report is None or one(report).startswith("<!DOCTYPE html>")


@settings(max_examples=150)
@given(st.data())
def test_a_changed_report_is_refused_or_shown(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = json.loads(full().to_json())
    place = data.draw(st.sampled_from(PLACES))
    inner, last = holder(content, place), place[-1]
    if data.draw(st.booleans()):
        inner[last] = data.draw(ODD)
    else:
        del inner[last]
    report = read_or_refused(content, tmp_path_factory.mktemp("changed"))
    if report is None:
        return
    assert one(report).startswith("<!DOCTYPE html>")
    assert several({"a": report, "b": full()}).startswith("<!DOCTYPE html>")
