"""Programs that use cxrzero are clean under a strict type checker, and do what they say."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import REPO
from tests.support.needs import modules

SCRIPTS = sorted((REPO / "examples" / "python").glob("*.py"))
FORMS = Path(__file__).with_name("forms.py")


def checked(folder: Path, *files: Path) -> list[str]:
    """What basedpyright says of files, in pyright's strict mode."""
    modules("basedpyright")
    # An ignored error that is none is one, so that the calls that must not pass are seen not to.
    settings = {"typeCheckingMode": "strict", "reportUnnecessaryTypeIgnoreComment": "error", "extraPaths": [str(REPO)]}
    config = folder / "pyrightconfig.json"
    config.write_text(json.dumps(settings | {"include": [str(file) for file in files]}), encoding="utf-8")
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    said = json.loads(done.stdout)
    assert said["summary"]["filesAnalyzed"] == len(files), done.stderr
    return [
        f"{Path(each['file']).name}:{each['range']['start']['line'] + 1}: {each['message']}"
        for each in said["generalDiagnostics"]
    ]


def test_scripts_are_typed(tmp_path: Path) -> None:
    assert len(SCRIPTS) == 4
    assert checked(tmp_path, *SCRIPTS) == []


def test_every_form_of_an_image_is_typed(tmp_path: Path) -> None:
    modules("torch", "datasets")
    assert checked(tmp_path, FORMS) == []


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from cxrzero import Screener\n\nprint(Screener().predict(5))\n", encoding="utf-8")
    [said] = checked(tmp_path, script)
    assert said.startswith('script.py:3: Argument of type "Literal[5]" cannot be assigned to parameter "images"')


RUNS = {
    "screen_folder": (["{films}"], "cardiomegaly.png cardiomegaly 1.00, pleural effusion "),
    "screen_arrays": (["{films}/effusion_left.png"], "{{'upright': 1.0, 'mirrored': "),
    "ask_again": (["{films}", "kept.npz"], "{films}/cardiomegaly.png: 0."),
    "search_by_example": (["{films}", "{films}/normal.png"], "1. {films}/normal.png (1.00)\n2. "),
}


@pytest.mark.parametrize("name", RUNS)
def test_scripts_run(name: str, tmp_path: Path) -> None:
    arguments, says = RUNS[name]
    films = str(REPO / "examples")
    command = [sys.executable, str(REPO / "examples" / "python" / f"{name}.py")]
    environment = os.environ | {"PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [*command, *(argument.format(films=films) for argument in arguments)],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert says.format(films=films) in done.stdout
    assert {script.stem for script in SCRIPTS} == set(RUNS)


def test_the_package_says_that_it_is_typed() -> None:
    found = importlib.util.find_spec("cxrzero")
    assert found is not None
    assert found.origin is not None
    assert Path(found.origin).with_name("py.typed").exists()
