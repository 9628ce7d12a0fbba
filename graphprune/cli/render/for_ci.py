"""Write results for a CI job: Markdown that its page shows, and JUnit XML that it counts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from graphprune.cli.console import console, line

if TYPE_CHECKING:
    from graphprune.export.bench import Benchmark
    from graphprune.workflow.comparison import Comparison

__all__ = ["Case", "Gate", "benchmark_gate", "comparison_gate", "shortfalls"]

_NOT_IN_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MEANT_IN_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>|~#!&])")


@dataclass(frozen=True)
class Case:
    """One thing that was checked.

    Attributes:
        name: what it was.
        ok: whether it is as it should be.
        found: what was measured, in words.
        wanted: what that is held against, or ``""``.
        seconds: how long one run took, if that is what was measured.
    """

    name: str
    ok: bool
    found: str
    wanted: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Gate:
    """All that one command checked.

    Attributes:
        title: what was checked, in a few words.
        columns: heads of the name, of what was found, and of what was wanted.
        cases: in the order of the command's own table.
        note: a sentence on how, or ``""``.
    """

    title: str
    columns: tuple[str, str, str]
    cases: tuple[Case, ...]
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether all is as it should be."""
        return all(case.ok for case in self.cases)

    def to_markdown(self) -> str:
        """Write a section with one table."""
        rows: list[Sequence[str]] = [
            (*self.columns, ""),
            ("---",) * 4,
            *(
                (*map(_markdown, (c.name, c.found, c.wanted)), "ok" if c.ok else "**FAILED**")
                for c in self.cases
            ),
        ]
        verdict = "passed" if self.ok else "failed"
        lines = [f"### {_markdown(self.title)}: {verdict}", ""]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        if self.note:
            lines += ["", _markdown(self.note)]
        return "\n".join(lines) + "\n\n"

    def to_junit(self) -> str:
        """Write one test suite; what isn't as it should be is a failure."""
        failures = sum(not case.ok for case in self.cases)
        suite = ElementTree.Element(
            "testsuite",
            name=_xml(self.title),
            tests=str(len(self.cases)),
            failures=str(failures),
            errors="0",
        )
        for case in self.cases:
            entry = ElementTree.SubElement(
                suite,
                "testcase",
                classname="graphprune",
                name=_xml(case.name),
                time=f"{case.seconds:.6f}",
            )
            said = f"{case.found}, wanted: {case.wanted}" if case.wanted else case.found
            if not case.ok:
                ElementTree.SubElement(entry, "failure", message=_xml(said))
            ElementTree.SubElement(entry, "system-out").text = _xml(said)
        ElementTree.indent(suite)
        text = ElementTree.tostring(suite, encoding="unicode")
        return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def comparison_gate(found: Comparison) -> Gate:
    """Judge the files that ``graphprune verify`` compared."""
    against = "masked original" if found.masked else "original"
    note = "The dense model has the smaller one's weights." if found.retrained else ""
    cases = tuple(
        Case(
            name=check.file,
            ok=check.ok,
            found=check.reason if check.max_error is None else f"{check.max_error:.1e}",
            wanted=f"at most {check.tolerance:.0e}",
        )
        for check in found.checks
    )
    columns = ("file", f"error against the {against}", "tolerance")
    return Gate(f"graphprune verify {found.model}", columns, cases, note)


def benchmark_gate(found: Benchmark, most: float | None) -> Gate:
    """Judge the times that ``graphprune bench`` measured.

    Args:
        found: what it measured; ratios are to the first file.
        most: the largest ratio that is allowed; ``None`` allows any.
    """
    from graphprune.export.ort_session import threads_text

    first = found.timings[0].file
    limit = "" if most is None else f"at most {most:g}"
    cases = tuple(
        Case(
            name=f"{t.file}, batch {t.batch}, {threads_text(t.threads)}",
            ok=most is None or t.file == first or t.ratio.median <= most,
            found=f"{t.seconds.median * 1e3:.3f} ms, ratio {t.ratio.median:.3f} "
            f"({t.ratio.low:.3f} to {t.ratio.high:.3f})",
            wanted="" if t.file == first else limit,
            seconds=t.seconds.median,
        )
        for t in found.timings
    )
    note = (
        f"onnxruntime {found.onnxruntime}, {found.provider}, {found.rounds} rounds in turn; "
        f"ratios are to {first}."
    )
    return Gate("graphprune bench", ("file", "time of a run", "ratio"), cases, note)


def shortfalls(gate: Gate) -> None:
    """Print what isn't as it should be on stderr."""
    out = console(to_stderr=True)
    for case in gate.cases:
        if not case.ok:
            line(out, "failed: ", f"{case.name}: {case.found}, {case.wanted}", style="bold red")


def _markdown(text: str) -> str:
    """Escape what Markdown or HTML would take for markup, and keep it on one line."""
    return _MEANT_IN_MARKDOWN.sub(r"\\\1", " ".join(text.split()))


def _xml(text: str) -> str:
    """Replace the characters that XML can't hold."""
    return _NOT_IN_XML.sub("\ufffd", text)
