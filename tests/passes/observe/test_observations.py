"""Layers as regressions, targets, the frontier, and what is recorded."""

from __future__ import annotations
