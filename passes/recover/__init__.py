"""Recovery: how does a cut network get its accuracy back, with its structure fixed?

``recover`` is the pass that refits layers by least squares (``least_squares``, ``ridge``,
``judge``, ``rows``, ``normal_equations``) or re-estimates BatchNorm; ``distil`` the pass that trains by knowledge
distillation (``teacher_student``, ``distance``, ``training``, ``optimizers``, ``muon``). ``Choose``
repairs plans by the names exported here.
"""

from __future__ import annotations

from .least_squares import Repaired, repair
from .ridge import QUICK, THOROUGH

__all__ = ["QUICK", "THOROUGH", "Repaired", "repair"]
