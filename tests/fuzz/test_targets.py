"""The fuzz targets, for a moment each: with hypothesis, which shrinks what it finds."""

from __future__ import annotations

import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS, seeds

CASES = {"plan": 300, "onnx": 40, "program": 40, "onnx-graph": 40}


@pytest.mark.parametrize("name", TARGETS)
def test_only_our_own_errors_come_out(name: str) -> None:
    target = TARGETS[name]

    @settings(max_examples=CASES.get(name, 60), derandomize=True)
    @given(st.binary(max_size=60))
    def run(data: bytes) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target(data)

    run()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("checkpoint", b"\x04\x07\xb2\xd7\xfd\xdb\x03\t"),  # struct.error out of torch's unpickler
    ],
)
def test_what_was_found_stays_fixed(name: str, data: bytes) -> None:
    assert not TARGETS[name](data)


@pytest.mark.parametrize("name", TARGETS)
def test_the_good_file_is_read_and_an_edit_is_seen(name: str) -> None:
    assert TARGETS[name](b"")
    found = []
    for seed in seeds():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found.append(TARGETS[name](seed))
    assert not all(found)
