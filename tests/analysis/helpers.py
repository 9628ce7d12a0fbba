"""What tests of the analysis share."""

from __future__ import annotations

from graphprune.analysis.analyse import analyse
from graphprune.ir.trace import trace
from tests import nets


def analysed(net: nets.Net):
    return analyse(trace(net, net.inputs()))
