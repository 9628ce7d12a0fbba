"""Recover: give back accuracy with the structure fixed.

``recover.Recover`` and ``distil.Distil`` are the passes; here is what scores need of it.
"""

from __future__ import annotations

from .least_squares import Repaired, repair

__all__ = ["Repaired", "repair"]
