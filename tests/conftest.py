"""Settings of all tests."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# A test means the same on a slow or busy machine.
settings.register_profile("any-speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-speed")
