"""What is published, built and installed as users do, predicts with the model in the box on every backend."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.support import REPO
from tests.support.needs import CI, modules

pytestmark = pytest.mark.slow
UV = (sys.executable, "-m", "uv")
BACKENDS = [name for name in ("onnxruntime", "openvino", "torch") if CI or importlib.util.find_spec(name)]
FILM = REPO / "examples" / "effusion_left.png"
PREDICT = """
import json, sys
import cxrzero
from cxrzero import Screener
found = {"file": cxrzero.__file__}
for backend in sys.argv[2:]:
    (row,) = Screener(backend=backend, device="cpu", cache=False).predict(sys.argv[1], ["pleural effusion"])
    found[backend] = row.scores["pleural effusion"]
print(json.dumps(found))
"""


def run(*command: str | Path) -> str:
    """Outside the checkout's own ways: no PYTHONPATH, nothing of the network."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([*map(str, command)], env=environment | {"UV_OFFLINE": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sdist."""
    modules("hatchling", "uv")
    out = tmp_path_factory.mktemp("dist")
    run(*UV, "build", REPO, "--out-dir", out, "--no-build-isolation", "--python", sys.executable, "--quiet")
    assert len(list(out.glob("cxrzero-*.tar.gz"))) == 1
    (wheel,) = out.glob("cxrzero-*.whl")
    return wheel


@pytest.mark.parametrize("installer", ["pip", "uv"])
def test_an_installed_wheel_predicts_on_every_backend(built: Path, tmp_path: Path, installer: str) -> None:
    venv.create(tmp_path / "env", with_pip=False, symlinks=os.name != "nt")
    python = tmp_path / "env" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    # What the wheel depends on is that of this environment; an editable cxrzero there is not seen through this file.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", "utf-8")
    if installer == "pip":
        run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", "--quiet", built)
    else:
        cache = ("--cache-dir", tmp_path / "uv", "--link-mode", "hardlink")
        run(*UV, "pip", "install", "--python", python, "--no-deps", "--no-index", "--quiet", *cache, built)
    encoders = list(packages.glob("cxrzero/models/cxrzero-mini/*.onnx"))
    assert encoders
    assert all((file.stat().st_nlink > 1) == (installer == "uv") for file in encoders)

    found = json.loads(run(python, "-P", "-c", PREDICT, FILM, *BACKENDS))
    assert Path(found.pop("file")).parent == packages / "cxrzero"
    assert list(found) == BACKENDS
    command = python.with_name("cxrzero")
    run(command, "predict", FILM, "--labels", "pleural effusion", "--no-cache", "--out", tmp_path / "table.csv")
    said = (tmp_path / "table.csv").read_text("utf-8").splitlines()[-1].rpartition(",")[2]
    assert list(found.values()) == [pytest.approx(float(said), abs=1e-5)] * len(BACKENDS)
