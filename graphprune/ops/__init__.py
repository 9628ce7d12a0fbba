"""Operator rules. Importing this package fills the table ``registry.RULES``."""

from . import (
    attention,
    conv,
    create,
    distance,
    elementwise,
    linear,
    norm,
    pool,
    recurrent,
    reduce,
    shape,
    spectral,
)
from . import concat_slice as rows
from . import embedding as lookup
from . import gather_scatter as routing
from . import identity as passing
from . import permute as reorder
from .call import Call
from .facts import Facts
from .registry import RULES, Rule, Sample, find, rule, sample

__all__ = [
    "RULES",
    "Call",
    "Facts",
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
