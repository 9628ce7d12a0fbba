"""What is known of calls: what those without a kernel write, and when a call runs at all."""

from __future__ import annotations

import pytest

from graphprune.analysis.analyse import analyse
from graphprune.passes.latency import workload
from graphprune.passes.latency.kernel_calls import runs_with
from tests.passes.latency.helpers import Concat, program


def test_operators_without_a_kernel_are_counted_by_what_they_write() -> None:
    work = workload(analyse(program(Concat())))
    assert work.others == {"aten.cat.default": 1}
    assert work.bytes.at([16, 16]) == 4 * 32 * 64


@pytest.mark.parametrize(
    ("widths", "runs"), [((4, 2, 3), 0), ((4, 2, 0), 1), ((4, 0, 0), 0), ((0, 2, 0), 0)]
)
def test_a_call_runs_with_some_groups_and_without_another(
    widths: tuple[int, ...], runs: int
) -> None:
    assert runs_with([0, 1], [2]).at(widths) == runs
    assert runs_with([0, 1], []).at(widths) == float(widths[0] > 0 < widths[1])
