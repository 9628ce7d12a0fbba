"""What all charts have in common: layouts, and names that are only names."""

from __future__ import annotations

from graphprune.report.html.figure import axis, layout, plain, plane, short
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


def test_a_plane_has_two_axes_with_titles_that_stay_as_they_are() -> None:
    made = plane("cost", "accuracy", {"tickformat": ".0%"}, {"range": [0, 1]})
    assert [made[a]["title"]["text"] for a in ("xaxis", "yaxis")] == ["cost", "accuracy"]
    assert (made["xaxis"]["tickformat"], made["yaxis"]["range"]) == (".0%", [0, 1])
    assert axis("cost", fixedrange=False)["fixedrange"] is False
