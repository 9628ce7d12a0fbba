r"""Fill a template with charts, style and script: one HTML file that loads nothing.

Names that come from a model's file are hostile. In the document Jinja escapes whatever is put
into a template, and ``printable`` spells out control and direction characters. Charts are JSON in
a block that no browser runs, in which ``<``, ``>`` and ``&`` are written ``\u003c`` and so on.
plotly reads tags in its labels; ``figure.plain`` keeps names from being any. Should all that fail,
the page's own policy lets nothing run but the two scripts written here, named by their hashes, and
nothing load at all.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from graphprune.report.text import amount, change, printable
from graphprune.version import __version__

from .figure import Figure

__all__ = ["render"]

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, content: Mapping[str, Any], figures: Sequence[Figure]) -> str:
    """Make one HTML document from a template.

    Args:
        template: name of a file beside this one.
        content: what it shows.
        figures: its charts; each has a place of its name in the template.
    """
    script, plotly, packed = _read("page.js"), *_plotly()
    policy = (
        f"default-src 'none'; script-src {_hash(script)} {_hash(plotly)}; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )
    return (
        _environment()
        .get_template(template)
        .render(
            **content,
            figures={figure.name: figure for figure in figures},
            policy=policy,
            style=Markup(_read("page.css")),
            script=Markup(script),
            plotly=packed,
            charts=htmlsafe_json_dumps([asdict(f) for f in figures], dumps=_dumps),
            version=__version__,
        )
    )


def _dumps(value: Any, **_: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


@cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        finalize=_finalize,
    )
    filters: dict[str, Any] = {"amount": _amount, "change": change, "percent": _percent}
    environment.filters.update(filters)
    return environment


def _amount(value: float) -> str:
    return amount(value).strip()


def _percent(value: float, digits: int = 1) -> str:
    return f"{value:.{digits}%}"


def _finalize(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


@cache
def _plotly() -> tuple[str, str]:
    """Read plotly.js, plain and packed: 1.9 MB in place of 4.8. The page unpacks it itself."""
    script = (resources.files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    packed = base64.b64encode(zlib.compress(script, 9))
    return script.decode("utf-8"), packed.decode("ascii")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
