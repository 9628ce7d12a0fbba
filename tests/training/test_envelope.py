"""The proximal step of the envelope, held against the minimum that it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from graphprune.training.envelope import envelope_factors


def value(
    norms: np.ndarray, cost: np.ndarray, budget: float, amount: float
) -> tuple[float, np.ndarray]:
    """Minimise distance and envelope together, over the norms and the shares of channels, by another method."""
    count = len(norms)

    def total(z: np.ndarray) -> float:
        x, u = z[:count], z[count:]
        return float(((x - norms) ** 2).sum() / 2 + amount * (x**2 / u).sum() / 2)

    start = np.concatenate([norms / 2, np.full(count, min(1.0, budget / cost.sum()))])
    bounds = [(0, None)] * count + [(1e-7, 1)] * count
    room = {"type": "ineq", "fun": lambda z: budget - cost @ z[count:]}
    options = {"maxiter": 500, "ftol": 1e-13}
    found = minimize(
        total, start, bounds=bounds, constraints=[room], method="SLSQP", options=options
    )
    return float(found.fun), found.x[:count]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("share", "amount"), [(0.5, 0.1), (0.3, 1.0), (0.8, 0.02)])
def test_the_step_minimises_distance_and_envelope(seed: int, share: float, amount: float) -> None:
    draw = np.random.default_rng(seed)
    norms, cost = draw.uniform(0.1, 2, 6), draw.uniform(0.2, 1, 6)
    budget = share * float(cost.sum())
    found = envelope_factors(torch.from_numpy(norms), torch.from_numpy(cost), budget, amount)
    _, wanted = value(norms, cost, budget, amount)
    np.testing.assert_allclose(norms * found.numpy(), wanted, atol=2e-3)


def test_what_does_not_belong_is_exactly_zero_and_the_rest_decays() -> None:
    norms = torch.tensor([3.0, 2.0, 0.01, 0.02], dtype=torch.float64)
    found = envelope_factors(norms, torch.ones(4, dtype=torch.float64), 2.0, 0.1)
    torch.testing.assert_close(found[:2], torch.full((2,), 1 / 1.1, dtype=torch.float64))
    assert (found[2:] == 0).all()
    cheap = torch.tensor([1.0, 1.0, 0.001, 0.5], dtype=torch.float64)
    found = envelope_factors(norms, cheap, 2.002, 0.001)
    assert found[2] > found[3]  # costs next to nothing


def test_a_budget_that_has_room_for_all_is_weight_decay() -> None:
    norms = torch.tensor([3.0, 0.0, 0.5], dtype=torch.float64)
    found = envelope_factors(norms, torch.ones(3, dtype=torch.float64), 3.0, 0.25)
    torch.testing.assert_close(found, torch.tensor([0.8, 0.0, 0.8], dtype=torch.float64))
    assert (envelope_factors(0 * norms, torch.ones(3, dtype=torch.float64), 1.0, 0.1) == 0).all()
