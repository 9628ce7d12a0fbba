"""The analysis as a pass."""

from __future__ import annotations

import pytest

import graphprune as gp
from graphprune.errors import (
    UnsupportedOpError,
)
from tests import nets


def test_strict_ops_refuses_unknown_operators() -> None:
    net = nets.UnknownOperator()
    with pytest.raises(UnsupportedOpError, match=r"aten\.renorm\.default \(nets\.py:\d+\)"):
        gp.compress(net, net.inputs(), flops=0.5, strict_ops=True)
