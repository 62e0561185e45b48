"""What is said of an installation of ONNX Runtime that cannot use CUDA."""

from __future__ import annotations

import ctypes
import shutil
import sys
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from cxrzero.backends.ort_install import check_installation, cuda_version, load_cuda_libraries, without_cuda
from cxrzero.errors import DeviceError, RunError


def install(folder: Path, name: str, version: str) -> Path:
    """A folder of packages that has one of the two that bring `onnxruntime`."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (info / "RECORD").write_text("onnxruntime/__init__.py,,\n")
    (folder / "onnxruntime").mkdir(exist_ok=True)
    (folder / "onnxruntime" / "__init__.py").touch()
    return folder


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that `onnxruntime` was imported from, alone on sys.path."""
    folder = tmp_path / "first"
    monkeypatch.setattr(sys, "path", [str(folder), str(tmp_path / "second")])
    monkeypatch.setattr(onnxruntime, "__file__", str(folder / "onnxruntime" / "__init__.py"))
    monkeypatch.setattr(onnxruntime, "__version__", "1.30.0")
    return folder


def test_two_packages_in_one_folder_are_refused(first: Path) -> None:
    install(first, "onnxruntime", "1.30.0")
    check_installation()
    install(first, "onnxruntime-gpu", "1.31.1")
    with pytest.raises(RunError, match="pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"):
        check_installation()


def test_a_plain_package_behind_the_one_with_cuda_does_no_harm(first: Path, tmp_path: Path) -> None:
    install(first, "onnxruntime-gpu", "1.30.0")
    install(tmp_path / "second", "onnxruntime", "1.30.0")
    check_installation()


def test_a_plain_package_that_hides_the_other_is_told(first: Path, tmp_path: Path) -> None:
    install(first, "onnxruntime", "1.30.0")
    second = install(tmp_path / "second", "onnxruntime-gpu", "1.31.1")
    check_installation()  # a CPU needs no more
    assert without_cuda() == (
        f"the onnxruntime 1.30.0 in {first} was built without CUDA and hides onnxruntime-gpu 1.31.1 in {second}: "
        "uninstall the first, or put the second folder first on PYTHONPATH"
    )


def test_what_is_left_of_a_package_that_is_gone_hides_behind_nothing(first: Path, tmp_path: Path) -> None:
    install(first, "onnxruntime", "1.30.0")
    second = install(tmp_path / "second", "onnxruntime-gpu", "1.31.1")
    shutil.rmtree(second / "onnxruntime")
    assert without_cuda().startswith("this onnxruntime 1.30.0 was built without CUDA; run: ")


def test_a_plain_package_alone_is_told_with_the_command(first: Path) -> None:
    install(first, "onnxruntime", "1.30.0")
    assert without_cuda() == (
        "this onnxruntime 1.30.0 was built without CUDA; run: pip uninstall -y onnxruntime && "
        "pip install 'onnxruntime-gpu[cuda,cudnn]'"
    )


class Libraries:
    """Pretends to be the loader of shared libraries, with some on the system and some in Python packages."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, system: set[str], packages: list[Path]) -> None:
        self.loaded: list[str] = []
        self._system = system
        monkeypatch.setattr(sys, "path", ["", *map(str, packages)])
        monkeypatch.setattr(ctypes, "CDLL", self)
        monkeypatch.setattr(sys, "platform", "linux")

    def __call__(self, name: str) -> Any:
        if name not in self._system and not Path(name).is_file():
            raise OSError(f"{name}: cannot open shared object file")
        self.loaded.append(name)
        return object()


def packaged(folder: Path, package: str, *names: str) -> None:
    (folder / "nvidia" / package / "lib").mkdir(parents=True)
    for name in names:
        (folder / "nvidia" / package / "lib" / name).touch()


SYSTEM = {"libcudart.so.13", "libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcudnn.so.9"}


def test_libraries_of_packages_go_first_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, one, other = (tmp_path / name for name in ("first", "one", "other"))
    packaged(first, "nvimgcodec")
    (first / "nvidia" / "__init__.py").touch()  # which hides the others from Python
    packaged(one, "cu13", "libcudart.so.13", "libcublas.so.13", "libcublasLt.so.13")
    packaged(other, "cudnn", "libcudnn.so.9")
    monkeypatch.setattr(onnxruntime, "cuda_version", "13.0", raising=False)
    libraries = Libraries(monkeypatch, SYSTEM, [first, one, other])
    load_cuda_libraries()
    assert libraries.loaded == [
        str(one / "nvidia/cu13/lib/libcudart.so.13"),
        str(one / "nvidia/cu13/lib/libcublasLt.so.13"),
        str(one / "nvidia/cu13/lib/libcublas.so.13"),
        "libcurand.so.10",
        str(other / "nvidia/cudnn/lib/libcudnn.so.9"),
    ]


@pytest.mark.parametrize(
    ("cuda", "missing", "told"),
    [
        ("13.0", "libcudnn.so.9", "nvidia-cudnn-cu13"),
        ("13.0", "libcublasLt.so.13", "nvidia-cublas"),
        ("13.0", "libcudart.so.13", "nvidia-cuda-runtime"),
        ("12.8", "libcudnn.so.9", "nvidia-cudnn-cu12"),
        ("12.8", "libcurand.so.10", "nvidia-curand-cu12"),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_package(
    monkeypatch: pytest.MonkeyPatch, cuda: str, missing: str, told: str
) -> None:
    monkeypatch.setattr(onnxruntime, "cuda_version", cuda, raising=False)
    there = {name.replace(".so.13", f".so.{cuda_version()}") for name in SYSTEM} - {missing}
    Libraries(monkeypatch, there, [])
    with pytest.raises(DeviceError) as caught:
        load_cuda_libraries()
    assert str(caught.value) == (
        f"onnxruntime-gpu {onnxruntime.__version__} needs CUDA {cuda_version()}, of which {missing} cannot be loaded; "
        f"run: pip install 'onnxruntime-gpu[cuda,cudnn]' (or: pip install {told})"
    )
