"""Products with weights of few bits: a session that has to be exact rounds nothing to 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from graphprune.export.exact_products import with_exact_products
from graphprune.export.ort_session import session
from tests.loading.onnx.test_few_bit_blocks import net

pytestmark = pytest.mark.onnx


@pytest.mark.parametrize("as_file", [True, False])
def test_nodes_that_may_round_are_told_not_to(as_file: bool, tmp_path: Path) -> None:
    model = net(level=4)
    onnx.save(model, tmp_path / "net.onnx")
    given = tmp_path / "net.onnx" if as_file else model.SerializeToString()
    made = with_exact_products(given)
    assert isinstance(made, bytes)
    levels = [
        a.i
        for n in onnx.load_from_string(made).graph.node
        for a in n.attribute
        if "level" in a.name
    ]
    assert levels == [1, 1, 1]
    x = np.random.default_rng(0).normal(size=(2, 3, 64)).astype(np.float32)
    exact, plain = (
        session(m, exact=True).run(None, {"x": x})[0] for m in (given, net().SerializeToString())
    )
    np.testing.assert_allclose(exact, plain, rtol=1e-4, atol=1e-5)


def test_other_models_are_handed_on() -> None:
    data = net().SerializeToString()
    assert with_exact_products(data) is data
