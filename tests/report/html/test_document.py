"""The document: templates, charts and what may run in it."""

from __future__ import annotations

import json
import re

import jinja2
import pytest

from graphprune.report.html import run
from graphprune.report.html.document import render
from graphprune.report.html.figure import Figure
from graphprune.version import __version__
from tests.report.html.samples import HOSTILE, full


def test_charts_are_data_that_cannot_end_their_block() -> None:
    chart = Figure("coupling", HOSTILE, [{"x": [1, 2]}], {"height": 3})
    page = render("run.html", run.content(full(), None), [chart])
    block = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)
    assert block is not None
    assert not set("<>&") & {*block[1]}
    (found,) = json.loads(block[1])
    assert (found["name"], found["label"], found["data"]) == ("coupling", HOSTILE, [{"x": [1, 2]}])


def test_the_version_that_made_it_is_in_it() -> None:
    assert __version__ in render("run.html", run.content(full(), None), [])


def test_what_a_template_names_has_to_be_given() -> None:
    content = run.content(full(), None)
    del content["title"]
    with pytest.raises(jinja2.UndefinedError, match="title"):
        render("run.html", content, [])


def test_numbers_that_json_does_not_have_are_refused() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        render("run.html", run.content(full(), None), [Figure("a", "b", [{"x": [float("nan")]}])])
