"""Is this installation of ONNX Runtime able to use CUDA? If not, what is missing, and the command that brings it.

Two packages bring the module `onnxruntime`: the plain one, without CUDA, and onnxruntime-gpu. In one folder they
overwrite each other's files; in two, the folder that Python looks in first hides the other.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import sys
from collections.abc import Iterator
from pathlib import Path

import onnxruntime

from cxrzero.errors import DeviceError, RunError

PLAIN, GPU = "onnxruntime", "onnxruntime-gpu"
REMEDY = "pip install 'onnxruntime-gpu[cuda,cudnn]'"

# What the CUDA provider needs, in the order in which it must be loaded: (library, version, package of pip). A version
# None is that of CUDA itself. libonnxruntime_providers_cuda names the first four, and opens cuDNN when it runs.
NEEDED = (
    ("cudart", None, "nvidia-cuda-runtime"),
    ("cublasLt", None, "nvidia-cublas"),
    ("cublas", None, "nvidia-cublas"),
    ("curand", 10, "nvidia-curand"),
    ("cudnn", 9, "nvidia-cudnn"),
)
# Opened when it runs, for operators that encoders of images do not have.
OPTIONAL = (("nvrtc", None), ("cufft", 12))


def check_installation() -> None:
    """Refuse an environment with both ONNX Runtime packages in one folder.

    Raises:
        RunError: both are installed there.
    """
    here = _imported_from()
    if len({name for name, _, folder in _installed() if folder == here}) == 2:
        raise RunError(
            "onnxruntime and onnxruntime-gpu are both installed and break each other; run: "
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        )


def without_cuda() -> str:
    """Why the onnxruntime that was imported has no CUDA, and what to do, in words for the user."""
    mine = f"onnxruntime {onnxruntime.__version__}"
    for name, version, folder in _installed():
        if name == GPU and folder != _imported_from():
            return (
                f"the {mine} in {_imported_from().parent} was built without CUDA and hides onnxruntime-gpu {version} "
                f"in {folder.parent}: uninstall the first, or put the second folder first on PYTHONPATH"
            )
    return f"this {mine} was built without CUDA; run: pip uninstall -y onnxruntime && {REMEDY}"


def load_cuda_libraries() -> None:
    """Load CUDA's libraries and cuDNN, those of Python packages first, wherever on sys.path these are.

    Raises:
        DeviceError: naming the libraries that cannot be loaded and the packages that bring them.
    """
    cuda = cuda_version()
    for stem, version in OPTIONAL:
        _is_loaded(library_name(stem, version or cuda))
    missing = {
        library_name(stem, version or cuda): _package(package, cuda)
        for stem, version, package in NEEDED
        if not _is_loaded(library_name(stem, version or cuda))
    }
    if missing:
        packages = " ".join(dict.fromkeys(missing.values()))
        raise DeviceError(
            f"onnxruntime-gpu {onnxruntime.__version__} needs CUDA {cuda}, of which {', '.join(missing)} cannot be "
            f"loaded; run: {REMEDY} (or: pip install {packages})"
        )


def cuda_version() -> int:
    """The major version of CUDA that this onnxruntime was built for."""
    return int(str(getattr(onnxruntime, "cuda_version", "") or "13").partition(".")[0])


def library_name(stem: str, version: int) -> str:
    return f"{stem}64_{version}.dll" if sys.platform == "win32" else f"lib{stem}.so.{version}"


def _package(name: str, cuda: int) -> str:
    """From CUDA 13 on only cuDNN has it in its name."""
    return f"{name}-cu{cuda}" if cuda < 13 or name == "nvidia-cudnn" else name


def _is_loaded(name: str) -> bool:
    """Load a library for the whole process; what comes later finds it by its name."""
    for candidate in (*(str(path) for path in _packaged(name)), name):
        try:
            ctypes.CDLL(candidate)
        except OSError:
            continue
        return True
    return False


def _packaged(name: str) -> Iterator[Path]:
    """A library in NVIDIA's Python packages or in torch, in any folder of sys.path.

    Python's own search for `nvidia` ends at the first folder where a package has put an `__init__.py` there.
    """
    for folder in ("nvidia/*/lib", "nvidia/*/bin", "nvidia/*/bin/*", "torch/lib"):
        for root in filter(None, sys.path):
            yield from sorted(Path(root).glob(f"{folder}/{name}"))


def _imported_from() -> Path:
    return Path(onnxruntime.__file__).resolve().parent


def _installed() -> list[tuple[str, str, Path]]:
    """(name, version, folder of the module) of both packages, wherever on sys.path; none whose module is gone."""
    found = [(name, each) for name in (PLAIN, GPU) for each in importlib.metadata.distributions(name=name)]
    folders = [Path(str(each.locate_file("onnxruntime"))).resolve() for _, each in found]
    return [
        (name, each.version, folder) for (name, each), folder in zip(found, folders, strict=True) if folder.is_dir()
    ]
