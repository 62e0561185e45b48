"""The notebooks in examples/ run, and what they show is what they showed when they were written.

`python -m tests.test_notebooks` runs them and keeps their outputs.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import REPO
from tests.support.needs import modules

if __name__ != "__main__":
    modules("nbclient", "nbformat", "ipykernel", "pandas")

NOTEBOOKS = sorted((REPO / "examples").glob("*.ipynb"))
# Paths of a machine, addresses in its memory, and times of day.
OF_A_MACHINE = re.compile(r"/(?:home|root|tmp|work|Users|usr|var|private)/|[A-Z]:\\|0x[0-9a-f]{6,}|\b\d\d:\d\d:\d\d\b")
CELL_SECONDS = 300


def run(path: Path) -> Any:
    """Run a notebook as a user does who opens it; what it gives, as nbformat keeps it."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    bin_folder = str(Path(sys.executable).parent)  # so that `!cxrzero` is that of this Python
    client = NotebookClient(notebook, timeout=CELL_SECONDS, record_timing=False, kernel_name="python3")
    with client.setup_kernel(env=os.environ | {"PATH": bin_folder + os.pathsep + os.environ["PATH"]}):
        for index, cell in enumerate(notebook.cells):
            client.execute_cell(cell, index)
            for each in cell.get("outputs", ()):
                if "image/jpeg" in each.get("data", {}):  # Pillow gives the same picture twice
                    each.data.pop("image/png", None)
    return notebook


def outputs(notebook: Any) -> list[tuple[int, str, str]]:
    """(cell, kind, text) of all that a notebook shows as text."""
    shown = []
    for number, cell in enumerate(notebook.cells):
        for each in cell.get("outputs", ()):
            texts = {each.output_type: each.text} if "text" in each else each.get("data", {})
            shown += [(number, kind, text) for kind, text in texts.items() if not kind.startswith("image/")]
    return shown


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat

    for name, value in (("TMPDIR", str(tmp_path)), ("CXRZERO_CACHE_DIR", str(tmp_path / "cache"))):
        monkeypatch.setenv(name, value)
    # What a debugger, which nobody uses here, warns of; and IPython's own folder.
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    made, kept = run(path), nbformat.read(path, as_version=4)
    assert {number for number, *_ in outputs(made)} == {number for number, *_ in outputs(kept)}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_shows_is_of_no_machine(path: Path) -> None:
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1)), (
        "run: python -m tests.test_notebooks"
    )
    assert sum(bool(cell.outputs) for cell in code) >= len(code) - 2
    assert not [each for cell in code for each in cell.outputs if each.output_type == "error"]
    assert not [each for cell in code for each in cell.outputs if each.get("name") == "stderr"], "a warning"
    assert not [text for *_, text in outputs(notebook) if OF_A_MACHINE.search(text)]


def test_there_are_notebooks() -> None:
    assert len(NOTEBOOKS) == 3


if __name__ == "__main__":
    import nbformat

    for each in NOTEBOOKS:
        nbformat.write(run(each), each)
