"""A models folder of the test's own, and a converter that copies the tiny bundle instead of converting."""

from __future__ import annotations

import json
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from huggingface_hub import constants

from cxrzero.errors import AmbiguousModelError
from tests.registry.hubserver import Server


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "models"
    monkeypatch.setenv("CXRZERO_MODELS_DIR", str(folder))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "huggingface"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    # read when the library is imported, which another test may have done before
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "huggingface" / "hub"))
    return folder


@pytest.fixture
def hub_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.stalled.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def install(models: Path, tiny_bundle: Path) -> Callable[[str], Path]:
    """Put a bundle into the models folder: install("mine"), install("chexzero/best_…")."""

    def put(name: str) -> Path:
        return Path(shutil.copytree(tiny_bundle, models / name))

    return put


@dataclass
class FakeConverter:
    """Stands for `cxrzero.convert`: what it was asked for, and the error that it shall raise."""

    bundle: Path
    calls: list[dict[str, Any]] = field(default_factory=list)
    error: Exception | None = None

    def import_model(self, source: Path, out: Path, **options: Any) -> Any:
        self.calls.append({"source": source, **options})
        if self.error:
            out.mkdir()
            (out / "half").write_text("written")
            raise self.error
        shutil.copytree(self.bundle, out)
        card = json.loads((out / "model.json").read_text())
        (out / "model.json").write_text(json.dumps({**card, "name": options["name"]}))
        return _Report(out, (f"recognised {source.name}",))


@dataclass(frozen=True)
class _Report:
    bundle: Path
    lines: tuple[str, ...]


@pytest.fixture
def converter(tiny_bundle: Path, models: Path, monkeypatch: pytest.MonkeyPatch) -> FakeConverter:
    fake = FakeConverter(tiny_bundle)
    module = ModuleType("cxrzero.convert")
    module.import_model = fake.import_model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cxrzero.convert", module)
    return fake


def ambiguous() -> AmbiguousModelError:
    return AmbiguousModelError("weights.pt has the shape of CheXzero and of OpenAI CLIP.")
