"""Whatever is in names, headers, labels and tables: no command prints what a terminal would act on, no page has it.

The commands are walked with one name (`tests.support.hostile`) wherever a file or a user can put one. Where something
is printed is held, too: new commands go through the same two modules.
"""

from __future__ import annotations

import ast
import csv
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cxrzero.cli import app
from cxrzero.phantom import draw
from cxrzero.phantom.dicom import write_dicom
from tests.support import REPO
from tests.support.bundle import write_bundle
from tests.support.dicomfile import dicom_bytes
from tests.support.hostile import HOSTILE, SHOWN, raw

if sys.getfilesystemencoding() != "utf-8":
    pytest.skip("the name is none in this locale's encoding", allow_module_level=True)

FILE = f"{HOSTILE}.png"
PACKAGE = REPO / "cxrzero"

Draw = Callable[..., Path]
Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command; what it prints must be harmless."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*arguments: str | Path) -> Result:
        result = CliRunner().invoke(app, list(map(str, arguments)))
        # A list for programs has tabs of its own.
        assert raw(result.stdout.replace("\t", "") if arguments == ("models", "list") else result.stdout) == []
        assert raw(result.stderr) == []
        assert "unexpected" not in result.stderr
        return result

    return invoke


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A model from a stranger."""
    path = write_bundle(tmp_path / f"model {HOSTILE}", name=HOSTILE)
    card = json.loads((path / "model.json").read_text(encoding="utf-8"))
    card["intended_use"], card[HOSTILE] = HOSTILE, HOSTILE
    (path / "model.json").write_text(json.dumps(card), encoding="utf-8")
    return path


def page(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    assert raw(text) == []
    return text


def test_a_long_label_is_cut_above_its_films(run: Run, png: Draw) -> None:
    png("in/a.png")
    label = "mass" + " of the left lung" * 20
    Path("p.yaml").write_text(f"labels:\n  {label}:\n    positive: [mass]\n    negative: [no mass]\n", encoding="utf-8")
    result = run("predict", "in", "--model", write_bundle(Path("tiny")), "--prompts", "p.yaml", "--out", "t.csv")
    assert result.exit_code == 0, result.output
    assert f"\n{label[:59]}… (never measured)\n" in result.stderr
    with Path("t.csv").open(encoding="utf-8", newline="") as file:
        assert label in next(csv.reader(file))


def test_predict(run: Run, png: Draw, bundle: Path) -> None:
    png(f"in/{FILE}")
    Path("in/broken\x1b[2J.png").write_bytes(b"")
    folder = f"out {HOSTILE}"
    Path(folder).mkdir()
    options = ("--model", bundle, "--labels", "[red]mass,:skull:", "--out", f"{folder}/{HOSTILE}.csv")
    for more in ((), ("--dry-run",), ("--overwrite", "--debug")):
        result = run("predict", "in", *options, *more)
        assert result.exit_code == (0 if "--dry-run" in more else 3), result.output
        assert f"{SHOWN}.csv" in result.stderr
    assert "[red]mass" in result.stderr
    assert ":skull:" in result.stderr
    assert r"broken\x1b[2J.png" in result.stderr
    again = run("predict", "in", *options)
    assert again.exit_code == 2
    assert SHOWN in again.stderr
    with open(f"{folder}/{HOSTILE}.csv", encoding="utf-8", newline="") as table:  # which is for programs
        assert {row["path"] for row in csv.DictReader(table)} == {f"in/{FILE}", "in/broken\x1b[2J.png"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", HOSTILE],
        ["predict", f"@{HOSTILE}"],
        ["predict", "a.png", "--model", HOSTILE],
        ["predict", "a.png", "--labels", HOSTILE],
        ["predict", "a.png", "--labels", f"@{HOSTILE}"],
        ["predict", "a.png", "--prompts", HOSTILE],
        ["predict", "a.png", "--config", HOSTILE],
        ["predict", "a.png", "--config", "hostile.toml"],
        ["predict", "a.png", "--device", HOSTILE],
        ["predict", "a.png", "--out", f"no {HOSTILE}/a.csv"],
        ["predict", f"--{HOSTILE}"],
        [HOSTILE],
        ["merge", HOSTILE, "--out", "a.csv"],
        ["inspect", HOSTILE],
        ["search", "a", HOSTILE],
        ["search", "--like", HOSTILE, "a.png"],
        ["eval", HOSTILE, HOSTILE],
        ["prompts", "show", "--prompts", HOSTILE],
        ["prompts", "search", HOSTILE, HOSTILE],
        ["models", "info", HOSTILE],
        ["models", "import", HOSTILE],
        ["models", "pull", HOSTILE],
        ["models", "verify", HOSTILE],
        ["cache", "clear", "--older-than", HOSTILE],
    ],
)
def test_what_is_typed_wrong(run: Run, png: Draw, arguments: list[str]) -> None:
    png("a.png")
    Path("hostile.toml").write_text(f"{json.dumps(HOSTILE)} = 1\n", encoding="utf-8")
    result = run(*arguments)
    assert result.exit_code in (1, 2), result.output
    assert r"\x1b" in result.stderr


def test_inspect_names_and_headers(run: Run, png: Draw, tmp_path: Path) -> None:
    path = tmp_path / f"{HOSTILE}.dcm"
    write_dicom(path, draw(1, 64))
    (tmp_path / "header.dcm").write_bytes(
        dicom_bytes(np.zeros((8, 8), np.uint16), Modality="DX\x1b[2J", ViewPosition="P\x1b[2J", BodyPartExamined="\x1b")
    )
    result = run("inspect", path, png(FILE), tmp_path / "header.dcm", "--png", f"seen {HOSTILE}")
    assert f"{SHOWN}.dcm" in result.stdout
    assert f"{SHOWN}.png" in result.stdout
    assert f"seen {SHOWN}" in result.stdout


def test_search_and_its_sheet(run: Run, png: Draw, bundle: Path) -> None:
    png(f"in/{FILE}")
    result = run("search", "mass\x1b[2J", "in", "--model", bundle, "--html", f"{HOSTILE}.html")
    assert result.exit_code == 0, result.output
    assert "x" + r"\x1b[2J\n\t" in result.stderr
    sheet = page(Path(f"{HOSTILE}.html"))
    assert f"{SHOWN}.png" in sheet
    assert r"mass\x1b[2J" in sheet


def test_eval_and_its_page(run: Run) -> None:
    label = "x\x1b[2J\x9b\u202e[red]"
    heading = ["image", label, "site"]
    predictions, labels = Path(f"p{HOSTILE}.csv"), Path(f"l{HOSTILE}.csv")
    with predictions.open("w", encoding="utf-8", newline="") as p, labels.open("w", encoding="utf-8", newline="") as q:
        scores, truth = csv.writer(p), csv.writer(q)
        scores.writerow([*heading[:2], f"other {label}"])
        truth.writerow(heading)
        for row in range(40):
            scores.writerow([f"{row}{HOSTILE}.png", row / 40, 0.5])
            truth.writerow([f"{row}{HOSTILE}.png", row % 2, f"site {HOSTILE}" if row % 3 else "b"])
        scores.writerow([f"lost {HOSTILE}", 0.5, 0.5])
        truth.writerow([f"gone {HOSTILE}", 1, "b"])
    folder = f"out {HOSTILE}"
    result = run("eval", predictions, labels, "--in-sample", "--by", "site", "--out", folder)
    assert result.exit_code == 0, result.output
    assert r"x\x1b[2J\x9b\u202e[red]" in result.stdout
    assert f"Wrote {folder}".replace(HOSTILE, SHOWN) in result.stderr
    assert r"\x1b[2J" in page(Path(folder) / "report.html")
    refused = run("eval", predictions, labels, "--map", f"a{HOSTILE}=b{HOSTILE}")
    assert refused.exit_code == 2, refused.output


def test_models(run: Run, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRZERO_MODELS_DIR", str(bundle.parent))
    assert SHOWN in run("models", "list").stdout
    assert SHOWN in run("models", "info", bundle).stdout
    assert SHOWN in run("models", "verify", bundle).stdout


def test_prompts_of_a_stranger(run: Run, bundle: Path) -> None:
    path = Path(f"{HOSTILE}.yaml")
    yaml = 'labels:\n  mass:\n    positive: ["[red]mass :skull:"]\n    negative: ["no mass"]\n'
    path.write_text(yaml, encoding="utf-8")
    result = run("prompts", "show", "--prompts", path, "--model", bundle)
    assert result.exit_code == 0, result.output
    assert "+ [red]mass :skull:" in result.stdout


# Where something is printed.
# display/progress.py: of a program that asks for it; it says numbers alone, no name of anything.
PRINTERS = ("cli/terminal.py", "cli/console.py", "display/progress.py", "phantom/__main__.py")


def calls(source: str) -> set[str]:
    return {ast.unparse(node.func) for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)}


def modules() -> Iterator[tuple[str, str]]:
    """(path in the package, source) of each module."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")


def test_nothing_prints_past_the_modules_that_do() -> None:
    forbidden = {
        "print",
        "typer.echo",
        "typer.secho",
        "typer.confirm",
        "click.echo",
        "sys.stdout.write",
        "sys.stderr.write",
    }
    for name, text in modules():
        if name not in PRINTERS:
            assert forbidden.isdisjoint(calls(text)), name
            assert "import Console" not in text.replace("from cxrzero.cli.console import Console", ""), name
            assert "from_markup" not in text, name


def test_pages_are_escaped_in_one_place() -> None:
    for name, text in modules():
        if name != "display/page.py":
            assert "html.escape" not in calls(text), name
            assert "from html import escape" not in text, name
