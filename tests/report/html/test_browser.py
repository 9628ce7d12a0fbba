"""Pages in a headless Chromium: ResNet-56, UNet++, a hostile report, and several runs.

Screenshots go to the folder that the environment names as ``SCREENSHOTS``, if it does:
``make screenshots`` keeps a few of them in ``docs/screenshots``.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import graphprune as gp
from graphprune.models import cifar_resnet, unetpp
from graphprune.models.randomize import randomize_batchnorm
from graphprune.report.html import Accuracies, one, several
from graphprune.report.report import Report
from graphprune.workflow import write
from tests.report.html.browser import SIZES, chromium, opened
from tests.report.html.samples import full, poisoned

pytestmark = [pytest.mark.browser, pytest.mark.slow]

THEMES = ("light", "dark")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as found:
        yield found


def compressed(
    model: torch.nn.Module, inputs: tuple[torch.Tensor, ...], folder: Path, name: str
) -> Report:
    """A run with an ONNX file; its weights are random."""
    randomize_batchnorm(model, 0)
    folder.mkdir()
    result = gp.compress(model, inputs, flops=0.5)
    result = replace(result, report=replace(result.report, model=name))
    return write.write(result, folder).report


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of two networks and one that compares them."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("networks")
    reports = {
        "resnet56": compressed(
            cifar_resnet.resnet56(), cifar_resnet.example_inputs(), root / "resnet56", "ResNet-56"
        ),
        "unetpp": compressed(unetpp.build(), unetpp.example_inputs(), root / "unetpp", "UNet++"),
    }
    for name in reports:
        (root / name / write.PAGE).rename(root / f"{name}.html")
    (root / "several.html").write_text(several(reports), encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages of reports that were made by hand."""
    root = tmp_path_factory.mktemp("by_hand")
    measured = Accuracies("digits.npz", 0.97, {"noise": 0.8, "blur": 0.6})
    pages = {
        "full": one(full(), measured),
        "hostile": one(poisoned(full()), measured),
        "pair": several({"a": full(), "b": full()}, {"a": measured, "b": measured}),
    }
    for name, text in pages.items():
        (root / f"{name}.html").write_text(text, encoding="utf-8")
    return root


KEPT = {
    "resnet56-desktop-light": 0.6,
    "unetpp-desktop-dark": 0.6,
    "several-desktop-light": 0.6,
    "resnet56-phone-dark": 0.75,
    "unetpp-phone-light": 0.75,
}
"""Pictures for the documentation, and what is left of their sides: together below 300 kB."""


def shoot(page: Any, name: str) -> None:
    """Take a picture of the whole page; keep it if the environment says where."""
    shot = page.screenshot(full_page=True)
    target = os.environ.get("SCREENSHOTS")
    if target is None or name not in KEPT:
        return
    picture = Image.open(BytesIO(shot)).convert("RGB")
    size = tuple(round(side * KEPT[name]) for side in picture.size)
    picture.resize(size, Image.Resampling.LANCZOS).save(
        Path(target) / f"{name}.webp", quality=30, method=6
    )


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("device", SIZES)
@pytest.mark.parametrize("name", ["resnet56", "unetpp", "several"])
def test_pages_of_networks_are_drawn(
    browser: Any, networks: Path, name: str, device: str, theme: str
) -> None:
    check_drawn(browser, networks / f"{name}.html", device, theme)


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("device", SIZES)
@pytest.mark.parametrize("name", ["full", "hostile", "pair"])
def test_pages_of_other_reports_are_drawn(
    browser: Any, by_hand: Path, name: str, device: str, theme: str
) -> None:
    check_drawn(browser, by_hand / f"{name}.html", device, theme)


def check_drawn(browser: Any, file: Path, device: str, theme: str) -> None:
    with opened(browser, file, device, theme) as (page, said, loaded):
        shoot(page, f"{file.stem}-{device}-{theme}")
        assert said == []
        assert loaded == [file.as_uri()]
        wide, room = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide <= room
        charts = page.locator(".chart")
        assert charts.count() >= 1
        for i in range(charts.count()):
            assert charts.nth(i).locator(".main-svg").count() > 0
            box = charts.nth(i).bounding_box()
            assert box["width"] > 200
            assert box["height"] > 80
        colours = page.evaluate(
            "(s => [s.color, s.backgroundColor])(getComputedStyle(document.body))"
        )
        ink, paper = (sum(map(int, re.findall(r"\d+", colour))) for colour in colours)
        assert (ink < paper) == (theme == "light")


@pytest.mark.parametrize(("name", "groups", "layers"), [("resnet56", 30, 56), ("unetpp", 21, 24)])
def test_charts_show_what_the_report_says(
    browser: Any, networks: Path, name: str, groups: int, layers: int
) -> None:
    with opened(browser, networks / f"{name}.html", "desktop", "light") as (page, _, _):
        assert page.locator("#chart-coupling .points path").count() > groups
        assert page.locator("#chart-widths .point path").count() == 2 * groups
        assert page.locator("#chart-macs-before .slice").count() > layers
        text = page.inner_text("body")
        assert "all checks passed" in text
        assert "onnxruntime against cut program" in text
        assert "model output" in text
        # Closed tables open with the keyboard alone.
        summary = page.locator("#widths summary")
        summary.focus()
        page.keyboard.press("Enter")
        assert page.locator("#widths tbody tr").count() == groups
        assert page.locator("#widths tbody tr").first.is_visible()


def test_names_in_charts_are_text(browser: Any, by_hand: Path) -> None:
    with opened(browser, by_hand / "hostile.html", "phone", "dark") as (page, said, loaded):
        assert said == []
        assert len(loaded) == 1
        assert page.locator("img").count() == 0
        assert page.locator("svg a").count() == 0
        assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [390, 390]
        labels = page.locator("#chart-widths .ytick text").all_text_contents()
        assert any("<!--" in label for label in labels)  # the end of the name, as it is


def test_a_curve_can_be_chosen_and_the_theme_may_change(browser: Any, by_hand: Path) -> None:
    with opened(browser, by_hand / "full.html", "desktop", "light") as (page, said, _):
        line = "document.querySelector('#chart-curves .js-line').style.strokeWidth"
        bar = "document.querySelector('#chart-widths .point path').style.fill"
        assert page.evaluate(line) == "1px"
        page.select_option("select[data-curves]", "0")
        wait(page, f"{line} === '3px'")
        light = page.evaluate(bar)
        page.emulate_media(color_scheme="dark")
        wait(page, f"{bar} !== '{light}'")
        assert said == []


def wait(page: Any, condition: str) -> None:
    """Until a condition holds. The page's own policy forbids playwright's way to wait for it."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        time.sleep(0.05)
    raise AssertionError(condition)
