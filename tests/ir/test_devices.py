"""Devices: which one is found, what an absent one says, and where float64 is."""

from __future__ import annotations

import pytest
import torch

from graphprune.errors import LoadError, OptionError
from graphprune.ir import devices
from graphprune.ir.devices import CPU, device_of, find_device, full_float32, put, solver, wide
from tests.fake_device import NAME, MixedDevicesError, fake_device


def test_auto_takes_the_best_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.BEST_FIRST == ("cuda", "mps", "cpu")
    with fake_device(monkeypatch) as fake:
        assert find_device("auto") == fake.device
        monkeypatch.setattr(devices, "BEST_FIRST", ("cuda", NAME, "cpu"))  # there is no CUDA
        assert find_device("auto") == fake.device
        monkeypatch.setattr(devices, "device_count", lambda kind: int(kind == "cpu"))
        assert find_device("auto") == CPU


@pytest.mark.parametrize("name", ["cuda", "cuda:1", "mps", "xpu", "meta"])
def test_an_absent_device_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "device_count", lambda kind: int(kind == "cpu"))
    with pytest.raises(OptionError, match="there is no device") as failure:
        find_device(name)
    assert failure.value.options == ("device",)
    assert "cpu" in failure.value.hint


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_what_is_no_device_is_an_error(name: str) -> None:
    with pytest.raises(OptionError, match="no device is called"):
        find_device(name)


def test_a_number_that_is_too_large_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "device_count", lambda kind: 2)
    with pytest.raises(OptionError, match="there is no device cuda:2 here") as failure:
        find_device("cuda:2")
    assert failure.value.hint == "there are 2 of cuda, numbered from 0"


def test_a_device_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise AssertionError("the driver is too old")

    monkeypatch.setattr(devices, "device_count", lambda kind: 1)
    monkeypatch.setattr(torch, "empty", fails)
    with pytest.raises(OptionError, match="the driver is too old"):
        find_device("cuda")


def test_a_found_device_has_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_device(monkeypatch) as fake:
        assert find_device(NAME) == find_device(f"{NAME}:0") == fake.device


def test_one_device_of_tensors() -> None:
    meta = torch.empty(2, device="meta")
    assert device_of([torch.zeros(1), torch.zeros(2)]) == CPU
    assert device_of([]) == CPU
    assert device_of([meta]).type == "meta"


def test_tensors_on_several_devices_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_device(monkeypatch) as fake:
        there = torch.zeros(2, device=fake.device)
        with pytest.raises(LoadError, match="on several devices: cpu, fakegpu:0") as failure:
            device_of([torch.zeros(1), there])
        assert "model.to('cpu')" in failure.value.hint


def test_what_is_there_stays_the_same_object() -> None:
    value = {"x": torch.zeros(2), "n": [3, None]}
    assert put(value, CPU)["x"] is value["x"]
    assert put(value, CPU)["n"] == [3, None]


def test_float64_is_on_the_device_if_it_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_device(monkeypatch) as fake:
        assert wide(torch.ones(2, device=fake.device)).device == fake.device
        assert solver(fake.device) == fake.device


def test_without_float64_it_is_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_device(monkeypatch, float64=False) as fake:
        value = torch.ones(2, device=fake.device)
        with pytest.raises(MixedDevicesError, match=r"no torch\.float64"):
            value.double()
        found = wide(value)
        assert (found.device, found.dtype, found.tolist()) == (CPU, torch.float64, [1.0, 1.0])
        assert found.to(value).device == fake.device


def test_wide_is_what_double_is() -> None:
    value = torch.randn(3, 4).t()
    assert wide(value).stride() == value.double().stride()
    assert torch.equal(wide(value), value.double())
    already = value.double()
    assert wide(already) is already


@pytest.mark.parametrize(("convolutions", "products"), [(True, "highest"), (False, "high")])
def test_float32_is_full_and_the_users_choice_comes_back(
    convolutions: bool, products: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "device_count", lambda kind: 1)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", convolutions)
    usual = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(products)
    try:
        with full_float32():
            assert not torch.backends.cudnn.allow_tf32
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.backends.cudnn.allow_tf32 == convolutions
        assert torch.get_float32_matmul_precision() == products
    finally:
        torch.set_float32_matmul_precision(usual)
