"""Pages: what they say, and that nothing in a report can make them do anything else."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser
from typing import Any

import pytest

from graphprune.report.html import Accuracies, one, several
from graphprune.report.html.run import LISTED
from graphprune.report.report import GroupWidth, LayerCost
from tests.cli.conftest import environment
from tests.report.html.samples import HOSTILE, full, poisoned

ACCURACIES = Accuracies("digits.npz", 0.975, {"noise": 0.8, "blur": 0.7})
ORACLE = "cut program against masked original, float64"
DASH = "\N{EN DASH}"
ALIKE = "like the examples, batches of 2 and 3"
NOTHING = "\N{EN DASH}"
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Elements, their attributes and what they hold, in a page that must be well formed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self._buffers: list[list[str]] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)
            self._buffers.append([])

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        text = "".join(self._buffers.pop())
        if tag in {"td", "th"}:
            self.handle_data(" ")
        self.texts.setdefault(tag, []).append(" ".join(text.split()) if tag != "script" else text)

    def handle_data(self, data: str) -> None:
        for buffer in self._buffers:
            buffer.append(data)

    def attributes(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.elements if name in attributes]

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def charts(page: Page) -> list[dict[str, Any]]:
    return json.loads(page.texts["script"][0])


def pages() -> dict[str, str]:
    return {
        "run": one(full(), ACCURACIES),
        "bare": one(_bare()),
        "several": several({"a": full(), "b": full(model="Other")}, {"a": ACCURACIES}),
    }


def _bare() -> Any:
    """A run that cut nothing, with nothing to show."""
    return full(
        groups=(),
        frozen=(),
        layers=(),
        curves=(),
        recovery={},
        search={},
        onnx={},
        unknown_operators=(),
        inexact=(),
        calibration={},
        distilled={},
        batchnorm={},
        source={},
        files={},
        notes=(),
        settings={},
    )


PAGES = pages()


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest) -> Page:
    return Page(PAGES[request.param])


def test_a_run_says_what_was_cut_where_and_whether_it_checked_out() -> None:
    page = Page(PAGES["run"])
    rows = page.texts["tr"]
    for row in (
        "MACs 4.48 M 2.24 M -50.0%",
        "file bytes, net.pt → model.pt 726.6 K 437 K -39.9%",
        f"{ORACLE} ok 1.4e-15 1e-09 {DASH} random, batches of 2 and 3; then with perturbed weights",
        f"Net against cut program, float64 ok 0.0e+00 1e-09 {DASH} the same",
        f"onnxruntime against cut program ok 3.6e-07 1e-04 {DASH} {ALIKE} 10 BatchNorm calls, 0 after folding",
        "block.a 32 8 -75.0% 3.9 M 1.87 M block.a.weight:0, block.b.weight:1",
        "block.b aten.conv2d.default net.py:22 1.9 M 870 K -54.2%",
        "frozen 1 model input x placeholder 10.0% 3 stem.weight:1",
        "frozen 2 model output net.py:31 2.0% 10 fc.weight:0",
        "aten.bucketize.Tensor net.py:14 3.0%",
        "25.0% 24.9% 90.00% 8.00% fails",
        f"10.0% {3 * (NOTHING + ' ')}no plan",
        "block.a.weight 2 0.5 -75.0% new",
        "Net 97.5% 80.0% 70.0% 75.0%",
    ):
        assert row in rows
    assert "all checks passed" in page.texts["span"]
    assert any("no rule for aten.bucketize.Tensor (net.py:14)" in p for p in page.texts["p"])
    assert any(
        p.startswith("Warning: 1 groups were cut through statistics") for p in page.texts["p"]
    )
    assert "calibration was short" in page.texts["li"]
    assert {"obs", "dp, distortion 1.854, certified gap 0.21%"} <= {*page.texts["dd"]}


def test_several_budgets_are_all_shown() -> None:
    latency = {
        "cost": "latency",
        "asked": 0.6,
        "bound": 600.0,
        "reached": 550.0,
        "dense": 1000.0,
        "met": True,
    }
    report = full(
        budgets=(full().budget, latency),
        onnx=full().onnx | {"fp16_error": 0.5, "fp16_tolerance": 0.01},
    )
    page = Page(one(report))
    assert any(
        "MACs: target <= 50.0% met; latency (us): target <= 60.0% met" in text
        and "55.0% of the dense latency (us) reached" in text
        for text in page.texts["dd"]
    )
    assert any(
        row.startswith("onnxruntime against cut program, float16 WRONG") for row in page.texts["tr"]
    )


def test_a_failed_check_and_a_missed_budget_are_seen() -> None:
    report = full(
        oracle={"max_error": 0.5, "tolerance": 1e-9, "batches": [2]},
        budget=full().budget | {"met": False},
        onnx={},
        eager={"own_class": False, "reason": "net.py:8 sizes", "max_error": None},
    )
    page = Page(one(report))
    assert "1 check failed" in page.texts["span"]
    assert "all checks passed" not in page.texts["span"]
    assert "Warning: the budget is missed" in page.texts["p"]
    assert any(row.startswith(f"{ORACLE} WRONG") for row in page.texts["tr"])
    assert any(
        "the trainable model is a GraphModule: net.py:8 sizes" in r for r in page.texts["tr"]
    )
    assert any(row.startswith("ONNX not compared") for row in page.texts["tr"])


def test_several_runs_stand_side_by_side() -> None:
    page = Page(PAGES["several"])
    assert "block.a 32 8 8" in page.texts["tr"]
    (row,) = [row for row in page.texts["tr"] if row.startswith("a Net")]
    assert row == (
        "a Net obs dp ls, distilled target <= 50.0% met 2.24 M 50.0% 102.5 K 58.4% 97.50% ok"
    )
    assert any("these runs began with different models" in p for p in page.texts["p"])
    assert "different models" not in several({"a": full(), "b": full()})


def test_places_in_the_page_exist_once(page: Page) -> None:
    ids = page.attributes("id")
    assert len(ids) == len({*ids})
    for target in page.attributes("href"):
        assert target.startswith("#")
        assert target[1:] in ids
    for name in page.attributes("aria-labelledby"):
        assert name in ids
    named = {f"chart-{figure['name']}" for figure in charts(page)}
    assert named == {name for name in ids if name.startswith("chart-")}
    assert page.count("h1") == 1
    assert all(
        attributes.get("scope") in {"row", "col"}
        for tag, attributes in page.elements
        if tag == "th"
    )
    # What scrolls can be reached with the keyboard, and says what it is.
    assert all(
        attributes["tabindex"] == "0" and attributes["aria-label"]
        for _, attributes in page.elements
        if attributes.get("class") == "scroll"
    )


def test_nothing_is_loaded(page: Page) -> None:
    assert page.attributes("src") == []
    assert page.attributes("action") == []
    assert {"link", "iframe", "object", "embed", "base", "img", "form"}.isdisjoint(
        tag for tag, _ in page.elements
    )
    (style,) = page.texts["style"]
    assert "url(" not in style
    assert "@import" not in style
    assert page.attributes("style") == []


def test_only_our_scripts_may_run(page: Page) -> None:
    (policy,) = [
        a["content"]
        for t, a in page.elements
        if t == "meta" and a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    data, packed, script = page.texts["script"]
    kinds = [a.get("type", "") for tag, a in page.elements if tag == "script"]
    assert kinds == ["application/json", "text/plain", ""]
    plotly = zlib.decompress(base64.b64decode(packed)).decode()
    for allowed in (script, plotly):
        digest = base64.b64encode(hashlib.sha256(allowed.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert policy.count("sha256-") == 2
    assert "unsafe-inline" not in policy.split("style-src")[0]
    assert "unsafe-eval" not in policy
    assert json.loads(data)


def strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [s for each in value for s in strings(each)] if isinstance(value, list) else []


@pytest.mark.parametrize("several_runs", [False, True])
def test_hostile_names_are_only_names(several_runs: bool) -> None:
    report = poisoned(full())
    accuracies = Accuracies(HOSTILE, 0.5, {"noise": 0.4})
    others = {HOSTILE: report, "b": full(model=report.model)}
    text = several(others, {HOSTILE: accuracies}) if several_runs else one(report, accuracies)
    page = Page(text)
    good = Page(
        several({"a": full(), "b": full()}, {"a": ACCURACIES})
        if several_runs
        else one(full(), ACCURACIES)
    )
    assert {tag for tag, _ in page.elements} == {tag for tag, _ in good.elements}
    assert page.count("script") == good.count("script") == 3
    assert not [key for _, a in page.elements for key in a if key.startswith("on")]
    assert not any(c in text for c in "\u202e\x1b\u2028")
    assert "49" not in {p.strip() for p in page.texts["th"]}
    shown = any("<script>alert(1)</script>" in row for row in page.texts["th"])
    assert shown  # in the text, where a person can see it
    for found in strings(charts(page)):
        plain = re.sub(r"</?b>|<br>|<extra></extra>", "", found)
        assert "<" not in plain
        assert "\u202e" not in plain
    templates = {
        t
        for f in charts(page)
        for trace in f["data"]
        for key, t in trace.items()
        if key.endswith("template")
    }
    assert not any("alert" in template for template in templates)


def test_charts_are_what_plotly_takes() -> None:
    objects = pytest.importorskip("plotly.graph_objects")
    for text in PAGES.values():
        for figure in charts(Page(text)):
            drawn = json.loads(re.sub(r'"var\(--[a-z0-9-]+\)"', '"#123456"', json.dumps(figure)))
            objects.Figure(data=drawn["data"], layout=drawn["layout"])


def test_every_colour_is_in_both_themes(page: Page) -> None:
    (style,) = page.texts["style"]
    light, dark = (
        set(re.findall(r"(--[a-z0-9-]+):", part))
        for part in style.split("prefers-color-scheme: dark")
    )
    assert light <= dark | light
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", json.dumps(charts(page)) + style))
    assert used <= light
    assert used - dark == set()


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        ("ink", "paper"),
        ("soft", "paper"),
        ("link", "paper"),
        ("good", "good-paper"),
        ("bad", "bad-paper"),
        ("ink", "warn-paper"),
        ("ink", "panel"),
        *((f"on-cut-{i}", f"cut-{i}") for i in range(5)),
    ],
)
def test_contrast_is_that_of_wcag_aa(ink: str, paper: str) -> None:
    (style,) = Page(PAGES["bare"]).texts["style"]
    for part in style.split("prefers-color-scheme: dark"):
        colours = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", part))
        high, low = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
        assert (high + 0.05) / (low + 0.05) >= 4.5


def test_a_page_is_the_same_in_any_process() -> None:
    code = (
        "import hashlib; from graphprune.report.html import one; from tests.report.html.samples import full; "
        "print(hashlib.sha256(one(full()).encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env=environment() | {"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert found == {hashlib.sha256(one(full()).encode()).hexdigest() + "\n"}


def test_the_page_of_a_large_network_is_bounded() -> None:
    count = 5000
    groups = tuple(
        GroupWidth(f"blocks.{i}.conv", 64, 32, (f"blocks.{i}.conv.weight:0",)) for i in range(count)
    )
    layers = tuple(
        LayerCost(
            f"blocks.{i}.conv",
            "aten.conv2d.default",
            "net.py:1",
            1e6,
            5e5,
            (f"blocks.{i - 1}.conv",),
            (f"blocks.{i}.conv",),
        )
        for i in range(1, 2000)
    )
    text = one(dataclasses.replace(full(), groups=groups, layers=layers))
    assert len(text) < 5e6
    page = Page(text)
    assert page.count("tr") < 3 * LISTED
    assert f"{count - LISTED} more are in report.json." in page.texts["p"]
