"""A headless Chromium, if there is one: that of playwright, or the system's."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

__all__ = ["SIZES", "Opened", "chromium", "opened"]

SIZES = {"desktop": (1280, 900), "phone": (390, 844)}


class Opened(NamedTuple):
    """A page that is shown.

    Attributes:
        page: playwright's.
        said: what it wrote to the console, and its errors.
        loaded: addresses that it asked for.
    """

    page: Any
    said: list[str]
    loaded: list[str]


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; skips the test, with the reason, where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright isn't installed")
    with api.sync_playwright() as playwright:
        own = playwright.chromium.executable_path
        path = (
            own if Path(own).exists() else shutil.which("chromium") or shutil.which("google-chrome")
        )
        if path is None:
            pytest.skip("no Chromium: `apt install chromium`, or `playwright install chromium`")
        # Without its sandbox it runs as root too; it opens nothing but our own files.
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, file: Path, device: str, theme: str) -> Iterator[Opened]:
    """A file, once its charts are drawn."""
    width, height = SIZES[device]
    page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
    found = Opened(page, [], [])
    page.on("console", lambda message: found.said.append(message.text))
    page.on("pageerror", lambda error: found.said.append(str(error)))
    page.on("request", lambda request: found.loaded.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-charts]", state="attached", timeout=60_000)
    yield found
    page.close()
