"""Fixtures of all rooms: a tiny bundle, drawn pictures, folders of the tests' own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from tests.support import REPO
from tests.support.bundle import write_bundle
from tests.support.pictures import picture

# What forces colours or a width on a terminal, as services that run tests do, would change the texts that tests read;
# Typer looks at it when it is imported.
for forcing in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "COLUMNS", "TERMINAL_WIDTH"):
    os.environ.pop(forcing, None)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real chest X-rays for development; tests that need them are skipped where they are absent."""
    folder = Path(os.environ.get("CXRZERO_SHARED_DATA", REPO.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real chest X-rays in {folder} (set CXRZERO_SHARED_DATA)")
    return folder


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """A shell starts what it runs in the background deaf to Ctrl-C, and so would be each command that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests keep embeddings and models in folders of their own, never in the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXRZERO_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("CXRZERO_MODELS_DIR", str(tmp_path_factory.mktemp("models")))
        yield


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose encoders are a pooled random projection (image) and a mean of token vectors (text)."""
    return write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")


@pytest.fixture
def png(tmp_path: Path) -> Callable[..., Path]:
    """Draw a grey PNG: png("a.png", seed=3)."""

    def draw(name: str | Path, seed: int = 0, size: tuple[int, int] = (40, 32)) -> Path:
        path = tmp_path / os.fsdecode(os.fspath(name).encode("utf-8", "surrogateescape"))  # in an ASCII locale, too
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(seed, size)).save(path, format="PNG")
        return path

    return draw
