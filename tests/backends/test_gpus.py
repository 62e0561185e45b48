"""Which GPU `--device` means, with a pretended driver."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from cxrzero.backends import open_encoder
from cxrzero.backends.gpus import Gpu, find_gpus, gpu_of
from cxrzero.choices import gpu_number, parse_device
from cxrzero.errors import DeviceError, UsageError
from cxrzero.model.bundle import load_bundle


class Driver:
    """Pretends to be libcuda with these cards; `failure` is what cuInit returns."""

    def __init__(self, names: list[str], failure: int = 0) -> None:
        self._names, self._failure = names, failure

    def cuInit(self, flags: int) -> int:  # noqa: N802 (CUDA's names)
        return self._failure

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = len(self._names)
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: N802
        device._obj.value = number
        return 0

    def cuDeviceGetName(self, name: Any, size: int, device: Any) -> int:  # noqa: N802
        name.value = self._names[device.value].encode()[: size - 1]
        return 0


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(["NVIDIA H100 80GB HBM3", "NVIDIA L4"]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.parametrize("text", ["auto", "cpu", "cuda", "cuda:0", "cuda:1", "cuda:15"])
def test_devices_that_are_words(text: str) -> None:
    assert parse_device(text) == text


@pytest.mark.parametrize(
    "text", ["", "gpu", "cuda:", "cuda:-1", "cuda:01", "cuda:x", "cuda:0 ", "CUDA", "cuda:1234", "cuda:1\n", None, 1]
)
def test_what_is_no_device(text: Any, tiny_bundle: Any) -> None:
    with pytest.raises(UsageError, match=r"is unknown; choose auto, cpu, cuda, or cuda:N"):
        parse_device(text)
    with pytest.raises(UsageError, match=r"is unknown"):
        open_encoder(load_bundle(tiny_bundle), device=text)


def test_a_device_without_a_number_is_the_first_gpu() -> None:
    assert [gpu_number(text) for text in ("auto", "cuda", "cuda:0", "cuda:12")] == [0, 0, 0, 12]


@pytest.mark.usefixtures("two_cards")
def test_a_gpu_has_the_number_and_the_name_that_the_driver_says() -> None:
    assert find_gpus() == (Gpu(0, "NVIDIA H100 80GB HBM3"), Gpu(1, "NVIDIA L4"))
    assert [str(gpu_of(device)) for device in ("cuda", "cuda:1")] == [
        "cuda:0 (NVIDIA H100 80GB HBM3)",
        "cuda:1 (NVIDIA L4)",
    ]


@pytest.mark.usefixtures("two_cards")
def test_a_number_that_is_too_large_names_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match=r"^there is no cuda:2: CUDA shows 2 GPUs, cuda:0 to cuda:1$"):
        gpu_of("cuda:2")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(["NVIDIA L4"]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    with pytest.raises(DeviceError, match=r"CUDA shows 1 GPU, cuda:0 \(CUDA_VISIBLE_DEVICES is '3'\)$"):
        gpu_of("cuda:3")


@pytest.mark.parametrize("driver", [Driver([]), Driver(["NVIDIA L4"], failure=999)])
def test_a_driver_without_a_gpu(monkeypatch: pytest.MonkeyPatch, driver: Driver) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: driver)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(DeviceError, match=r"^the NVIDIA driver finds no usable GPU \(CUDA_VISIBLE_DEVICES is ''\)$"):
        find_gpus()


def test_no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> Any:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    with pytest.raises(DeviceError, match=r"^no NVIDIA driver was found$"):
        gpu_of("cuda:0")
