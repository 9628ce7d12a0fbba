"""What all charts have in common: layouts, and names that are only names."""

from __future__ import annotations

from graphprune.report.html.figure import layout, plain, short
from tests.report.html.samples import HOSTILE


def test_names_hold_no_tags_entities_or_control_characters() -> None:
    for text in (plain(HOSTILE), short(HOSTILE, 1000)):
        assert "<" not in text
        assert "&lt;script&gt;" in text
        assert text.isprintable()
    assert plain("a & b <i>") == "a &amp; b &lt;i&gt;"


def test_long_names_keep_their_end() -> None:
    assert short("features.0.conv") == "features.0.conv"
    assert short("backbone.features.0.conv", 10) == "…es.0.conv"
    assert len(short("x" * 100)) == 22


def test_a_layout_takes_what_is_given_over_its_own() -> None:
    made = layout(300, showlegend=True, title="t")
    assert (made["height"], made["showlegend"], made["title"]) == (300, True, "t")
    assert layout(300)["showlegend"] is False
