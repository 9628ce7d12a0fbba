"""Recover: give back accuracy with the structure fixed."""

from __future__ import annotations

from .least_squares import Repaired, repair

__all__ = ["Repaired", "repair"]
