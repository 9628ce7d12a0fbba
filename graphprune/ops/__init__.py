"""Operator rules. Importing this package fills the table ``registry.RULES``."""

from graphprune.ops import (
    attention,
    conv,
    create,
    distance,
    elementwise,
    linear,
    lookup,
    norm,
    passing,
    pool,
    recurrent,
    reduce,
    reorder,
    routing,
    rows,
    shape,
    spectral,
)
from graphprune.ops.call import Call
from graphprune.ops.facts import Facts, Kept
from graphprune.ops.registry import RULES, Rule, Sample, find, rule, sample

__all__ = [
    "RULES",
    "Call",
    "Facts",
    "Kept",
    "Rule",
    "Sample",
    "attention",
    "conv",
    "create",
    "distance",
    "elementwise",
    "find",
    "linear",
    "lookup",
    "norm",
    "passing",
    "pool",
    "recurrent",
    "reduce",
    "reorder",
    "routing",
    "rows",
    "rule",
    "sample",
    "shape",
    "spectral",
]
