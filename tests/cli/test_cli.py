"""What holds for the command line as a whole."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cxrzero
from cxrzero.cli import app

HEAVY = ("torch", "onnxruntime", "pydicom", "numpy", "PIL", "tokenizers", "imagecodecs", "tifffile", "huggingface_hub")


@pytest.mark.parametrize(
    "statement", ["import cxrzero", "import cxrzero.cli", "import cxrzero.predict.options, cxrzero.errors"]
)
def test_importing_the_command_line_loads_nothing_heavy(statement: str) -> None:
    code = f"import sys; {statement}; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_a_run_loads_what_it_needs_and_no_more(png: Callable[..., Path], tiny_bundle: Path, tmp_path: Path) -> None:
    """What shows mistakes and --help, and what reads a TIFF, costs a run of PNG files nothing."""
    film, out = png("a.png", 1), str(tmp_path / "a.csv")
    given = ["predict", str(film), "--labels", "mass", "--model", str(tiny_bundle), "--out", out, "--no-cache"]
    code = (
        f"import sys; from cxrzero.cli import app; app({given!r}, standalone_mode=False); "
        "print(*sorted({'typer.rich_utils', 'tifffile', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["numpy"]


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.output.strip() == f"cxrzero {cxrzero.__version__}"


@pytest.mark.parametrize("command", ["predict", "inspect", "train", "bench"])
def test_help_keeps_the_main_panel_small_and_teaches_with_an_example(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    main, _, advanced = result.output.partition("─ Advanced")
    assert advanced
    assert sum(line.startswith("│ --") for line in main.splitlines()) <= 13
    assert f"cxrzero {command}" in result.output


def test_help_names_the_extra_that_a_command_needs() -> None:
    """Square brackets are markup in a help text, and would be swallowed."""
    result = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "100"})
    assert "pip install 'cxrzero[torch]'" in result.output
