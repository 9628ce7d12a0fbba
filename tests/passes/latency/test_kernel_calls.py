"""What is known of calls that have no kernel of their own."""

from __future__ import annotations

from graphprune.analysis.analyse import analyse
from graphprune.passes.latency import workload
from tests.passes.latency.helpers import Concat, program


def test_operators_without_a_kernel_are_counted_by_what_they_write() -> None:
    work = workload(analyse(program(Concat())))
    assert work.others == {"aten.cat.default": 1}
    assert work.bytes.at([16, 16]) == 4 * 32 * 64
