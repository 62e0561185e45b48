"""`predict --out DATABASE` and `cxrzero table`: what grows gives the table that a run over files writes."""

import csv
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cxrzero.cli import app
from cxrzero.errors import DatabaseError
from cxrzero.options import options_of
from cxrzero.predict import growing
from cxrzero.predict.options import PredictOptions
from tests.support import REPO
from tests.support.bundle import write_bundle
from tests.support.films import DX, film, write_dicom
from tests.support.leaks import leaks
from tests.support.needs import modules
from tests.support.pictures import picture
from tests.support.postgres import PASSWORD, USER, Server, postgres

modules("sqlalchemy", "pg8000")

Run = Callable[..., Result]
LABELS = 'edema,"mass, left"'


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    environment = {"COLUMNS": "500"}
    return lambda *arguments: CliRunner().invoke(app, [*map(str, arguments)], env=environment)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def out(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new database of either kind."""
    if request.param == "sqlite":
        return "results.sqlite"
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    return str(request.getfixturevalue("server").new_database(request.node.name[:60]))


def archive(folder: Path) -> None:
    """13 rows: frames, equal pictures, failed and skipped rows, hostile names, several studies."""
    for number in range(5):
        film(str(folder / f"{number}.dcm"), number, "PA" if number else "LL", f"2.25.{number // 2 + 7}")
    many = pydicom.dcmread(write_dicom(folder / "many.dcm", DX, "DX"))
    many.NumberOfFrames = 3
    many.PixelData = b"".join(picture(seed, (64, 48)).tobytes() for seed in (3, 90, 3))
    many.save_as(folder / "many.dcm")
    write_dicom(folder / "ct.dcm", "1.2.840.10008.5.1.4.1.1.2", "CT")
    write_dicom(folder / "none.dcm", DX, "DX", with_pixels=False)
    Image.fromarray(picture(1)).save(folder / "=1+1.png")
    (folder / "broken.png").write_bytes(b"")
    (folder / os.fsdecode(b'"caf\xe9", =1.png')).write_bytes((folder / "=1+1.png").read_bytes())


def calibration(run: Run, bundle: Path) -> Path:
    """A calibration for the labels, which `eval` fits on drawn pictures."""
    Path("val").mkdir()
    for number in range(20):
        Image.fromarray(picture(number, (40, 32))).save(f"val/{number}.png")
    rows = [("image", "edema", "mass, left"), *((f"{n}.png", int(n % 3 == 0), n // 2 % 2) for n in range(20))]
    with open("val.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    assert run("predict", "val", "--labels", LABELS, "--model", bundle, "--out", "val_p.csv").exit_code == 0
    fitted = run("eval", "val_p.csv", "val.csv", "--in-sample", "--out", "fitted")
    assert fitted.exit_code == 0, fitted.output
    return Path("fitted/calibration.json")


def done(result: Result, code: int = 0) -> str:
    assert result.exit_code == code, result.output
    return result.output


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--long",),
        ("--scores", "--only", "frontal"),
        ("--long", "--scores", "--skip", "duplicate"),
        ("ensemble",),
        ("calibration",),
    ],
    ids=" ".join,
)
def test_the_table_of_a_run_is_what_it_would_have_written(
    run: Run, tiny_bundle: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    archive(tmp_path / "in")
    if options == ("ensemble",):
        options = ("--model", str(write_bundle(tmp_path / "second", seed=1)))
    if options == ("calibration",):
        options = ("--calibration", str(calibration(run, tiny_bundle)), "--scores")
    asked = ["predict", "in", "in/1.dcm", "--model", tiny_bundle, "--labels", LABELS, *options]
    done(run(*asked, "--out", "a.csv"), 3)
    assert "14 of 14 rows new" in done(run(*asked, "--out", "r.sqlite"), 3)
    assert "Wrote b.csv, b.run.json: " in done(run("table", "r.sqlite", "--out", "b.csv"))
    assert Path("b.csv").read_bytes() == Path("a.csv").read_bytes()
    done(run("table", "sqlite:///r.sqlite", "--out", "d.jsonl"))
    done(run(*asked, "--out", "c.jsonl"), 3)
    assert Path("d.jsonl").read_bytes() == Path("c.jsonl").read_bytes()
    files, database = (json.loads(Path(f"{name}.run.json").read_text(encoding="utf-8")) for name in "ab")
    for key in ("models", "prompts", "calibration", "counts", "inputs", "precision", "versions", "remarks"):
        assert database[key] == files[key], key
    assert database["from_runs"][0]["run"] == 1


def test_a_server_gives_the_same_and_a_second_run_adds_what_is_new(run: Run, tiny_bundle: Path, out: str) -> None:
    archive(Path("in"))
    asked = ["--model", tiny_bundle, "--labels", LABELS]
    assert "13 of 13 rows new" in done(run("predict", "in", *asked, "--out", out), 3)
    assert "as run 2: 0 of 13 rows new" in done(run("predict", "in", *asked, "--out", out), 3)
    film("in/5.dcm", 5)
    assert "as run 3: 1 of 14 rows new" in done(run("predict", "in", *asked, "--out", out), 3)
    for number in (1, 3):
        done(run("table", out, "--run", number, "--out", f"{number}.csv"))
    done(run("table", out, "--out", "all.csv"))
    done(run("table", out, "--run", "latest", "--out", "latest.csv"))
    done(run("predict", "in", *asked, "--out", "whole.csv"), 3)
    assert Path("3.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert Path("all.csv").read_bytes() == Path("latest.csv").read_bytes() == Path("whole.csv").read_bytes()
    Path("in/5.dcm").unlink()
    done(run("predict", "in", *asked, "--out", "whole.csv", "--overwrite"), 3)
    assert Path("1.csv").read_bytes() == Path("whole.csv").read_bytes()
    listed = done(run("table", out, "--runs")).splitlines()
    assert [line.split()[0] for line in listed] == ["1", "2", "3"]


def test_labels_of_several_runs_stand_side_by_side(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    archive(tmp_path / "in")
    for labels in ("edema,goiter", "mass"):
        done(run("predict", "in", "--model", tiny_bundle, "--labels", labels, "--out", "r.sqlite"), 3)
    assert "Wrote t.csv, t.run.json: 13 rows of 2 runs" in done(run("table", "r.sqlite", "--out", "t.csv"))
    done(run("predict", "in", "--model", tiny_bundle, "--labels", "edema,goiter,mass", "--out", "w.csv"), 3)
    assert Path("t.csv").read_bytes() == Path("w.csv").read_bytes()
    done(run("table", "r.sqlite", "--labels", "mass,edema", "--out", "s.csv"))
    done(run("predict", "in", "--model", tiny_bundle, "--labels", "mass,edema", "--out", "v.csv"), 3)
    assert Path("s.csv").read_bytes() == Path("v.csv").read_bytes()
    record = json.loads(Path("s.run.json").read_text(encoding="utf-8"))
    assert [each["label"] for each in record["prompts"]] == ["mass", "edema"]
    assert "tumour: not asked" in done(run("table", "r.sqlite", "--labels", "tumour", "--out", "x.csv"), 2)
    assert "has no such run 9; it has 1 to 2" in done(run("table", "r.sqlite", "--run", 9, "--out", "x.csv"), 2)


def test_labels_of_one_calibration_stand_side_by_side(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    archive(tmp_path / "in")
    asked = ["predict", "in", "--model", tiny_bundle, "--calibration", calibration(run, tiny_bundle), "--labels"]
    for labels in ("edema", '"mass, left"'):
        done(run(*asked, labels, "--out", "r.sqlite"), 3)
    assert "as run 3: 0 of 13 rows new" in done(run(*asked, LABELS, "--out", "r.sqlite"), 3)
    done(run(*asked, LABELS, "--out", "w.csv"), 3)
    with sqlite3.connect("r.sqlite") as connection:
        connection.execute("DELETE FROM listed WHERE run = 3")
    connection.close()
    done(run("table", "r.sqlite", "--out", "t.csv"))
    assert Path("t.csv").read_bytes() == Path("w.csv").read_bytes()
    table, whole = (json.loads(Path(f"{name}.run.json").read_text(encoding="utf-8")) for name in "tw")
    for key in ("calibration", "prompts", "prompt_sources", "remarks"):
        assert table[key] == whole[key], key


def test_what_does_not_go_into_one_column_is_refused(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    archive(tmp_path / "in")
    second = write_bundle(tmp_path / "second", seed=1)
    (tmp_path / "p.yaml").write_text(
        "labels:\n  edema:\n    positive: [swelling]\n    negative: [none]\n", encoding="utf-8"
    )
    asked = ["predict", "in/1.dcm", "--labels", "edema", "--out"]
    done(run(*asked, "r.sqlite", "--model", tiny_bundle))
    done(run(*asked, "r.sqlite", "--model", second))
    said = done(run("table", "r.sqlite", "--out", "x.csv"), 2)
    assert "has scores of several models, tiny (" in said
    assert "choose one with --model, or a run with --run" in said
    first, last = (line.split("(")[1][:8] for line in done(run("table", "r.sqlite", "--runs")).splitlines())
    for fingerprint, model in ((first, tiny_bundle), (last, second)):
        done(run("table", "r.sqlite", "--model", fingerprint, "--out", "t.csv", "--overwrite"))
        done(run(*asked, "w.csv", "--model", model, "--overwrite"))
        assert Path("t.csv").read_bytes() == Path("w.csv").read_bytes()
    assert "--model nosuch has no run" in done(run("table", "r.sqlite", "--model", "nosuch", "--out", "x.csv"), 2)
    done(run(*asked, "p.sqlite", "--model", tiny_bundle))
    done(run(*asked, "p.sqlite", "--model", tiny_bundle, "--prompts", "p.yaml"))
    said = done(run("table", "p.sqlite", "--out", "x.csv"), 2)
    assert "runs 1 and 2 differ in the sentences asked for 'edema'; choose one with --run" in said
    done(run(*asked, "i.sqlite", "--model", tiny_bundle))
    done(run(*asked, "i.sqlite", "--model", tiny_bundle, "--invert", "yes"))
    assert "differ in invert" in done(run("table", "i.sqlite", "--out", "x.csv"), 2)
    assert not Path("x.csv").exists()


def test_pseudonyms_are_the_keys(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    archive(tmp_path / "in-SMITH")
    asked = ["predict", "in-SMITH", "--model", tiny_bundle, "--labels", "edema", "--pseudonymise"]
    asked += ["--pseudonym-key", "key", "--out"]
    done(run(*asked, "a.csv"), 3)
    done(run(*asked, "r.sqlite"), 3)
    assert "0 of 13 rows new" in done(run(*asked, "r.sqlite"), 3)
    done(run("table", "r.sqlite", "--out", "b.csv"))
    assert Path("b.csv").read_bytes() == Path("a.csv").read_bytes()
    for file in (tmp_path / "r.sqlite", tmp_path / "b.run.json", tmp_path / "b.csv"):
        assert leaks(file, ["SMITH", "2.25.1001", "SECRET^PATIENT", "MRN-31337", "many.dcm"]) == []
    assert leaks(tmp_path / "in-SMITH" / "many.dcm", ["SECRET^PATIENT", "many.dcm"])  # the search finds what is there


def test_names_and_numbers_of_patients_are_in_no_database(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    archive(tmp_path / "in")
    done(run("predict", "in", "--model", tiny_bundle, "--labels", "edema", "--out", "r.sqlite"), 3)
    assert leaks(tmp_path / "r.sqlite", ["SECRET^PATIENT", "MRN-31337"]) == []


def test_an_interrupted_run_keeps_what_is_committed_and_the_next_adds_the_rest(
    run: Run, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path / "in")
    asked = ["predict", "in", "--model", tiny_bundle, "--labels", LABELS, "--out"]
    real, rows = growing.GrowingTable.write, []

    def interrupted(table: growing.GrowingTable, row: Any, picture: str) -> None:
        rows.append(row)
        if len(rows) == 6:
            raise KeyboardInterrupt
        real(table, row, picture)

    with monkeypatch.context() as patch:
        patch.setattr(growing.GrowingTable, "write", interrupted)
        said = done(run(*asked, "r.sqlite"), 130)
    assert "done and kept in r.sqlite." in said
    assert "not ended" in done(run("table", "r.sqlite", "--runs"))
    done(run("table", "r.sqlite", "--out", "some.csv"))
    done(run(*asked, "whole.csv"), 3)
    whole = Path("whole.csv").read_text(encoding="utf-8")
    some = Path("some.csv").read_text(encoding="utf-8")
    assert whole.startswith(some)
    assert len(list(csv.reader(some.splitlines()))) == 1 + 5
    assert "as run 2: 8 of 13 rows new" in done(run(*asked, "r.sqlite"), 3)
    done(run("table", "r.sqlite", "--out", "all.csv"))
    assert Path("all.csv").read_text(encoding="utf-8") == whole


def test_a_database_that_fails_in_the_middle_ends_the_run(
    run: Run, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive(tmp_path / "in")
    monkeypatch.setattr(growing, "MOST_ROWS", 4)
    real, calls = growing.GrowingTable.flush, []

    def full(table: growing.GrowingTable) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise DatabaseError("the database r.sqlite cannot be written: the disk is full")
        real(table)

    monkeypatch.setattr(growing.GrowingTable, "flush", full)
    said = done(run("predict", "in", "--model", tiny_bundle, "--labels", "edema", "--out", "r.sqlite"), 1)
    assert "the disk is full" in said
    assert len(calls) == 3
    with sqlite3.connect("r.sqlite") as connection:
        assert connection.execute("SELECT count(*) FROM listed").fetchone() == (8,)
    connection.close()


def test_what_only_files_can_be_is_refused_before_a_film_is_read(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    archive(tmp_path / "in")
    asked = ["predict", "in", "--model", tiny_bundle, "--labels", "edema", "--out", "r.sqlite"]
    for options, words in (
        (("--overwrite",), "a database grows: leave it out"),
        (("--format", "csv"), "cxrzero table r.sqlite writes any of them"),
        (("--by", "study"), "cxrzero table r.sqlite --by study --out predictions.studies.csv"),
        (("--shard", "1/2"), "into a database several runs write without it"),
    ):
        assert words in done(run(*asked, *options), 2)
    assert "Would add    what is new to the database r.sqlite" in done(run(*asked, "--dry-run"))
    done(run(*asked, "--model", "nosuch"), 1)
    assert not list(tmp_path.glob("r.sqlite*"))
    (tmp_path / "r.sqlite").write_text("path,edema\n" * 50, encoding="utf-8")
    assert "r.sqlite is no database, though its name says so" in done(run(*asked), 1)


def test_a_password_is_in_no_output(run: Run, tiny_bundle: Path, tmp_path: Path, server: Server) -> None:
    archive(tmp_path / "in")
    server.new_database("secret")
    address = server.address("secret", password=PASSWORD)
    asked = ["predict", "in", "--model", tiny_bundle, "--labels", "edema", "--out"]
    said = [
        done(run(*asked, address, "--dry-run")),
        done(run(*asked, address), 3),
        done(run(*asked, address, "--overwrite"), 2),
        done(run("table", address, "--out", "t.csv")),
        done(run("table", address, "--runs")),
        done(run("table", address, "--run", 7, "--out", "x.csv"), 2),
        done(run(*asked, server.address("nowhere", password=PASSWORD)), 1),
        done(run(*asked, address.replace("postgresql:", "mysql:")), 2),
        done(run("eval", address, "val.csv"), 2),
        done(run("worklist", address), 2),
        done(run("search", "edema", address), 2),
        done(run("merge", address, "--out", "m.csv"), 2),
        done(run("table", address, "--out", address), 2),
    ]
    assert f"Added to postgresql://127.0.0.1:{server.port}/secret as run 1" in said[1]
    for text in (*said, Path("t.run.json").read_text(encoding="utf-8"), server.sql("secret", "SELECT * FROM runs")):
        assert PASSWORD not in text
        assert f"{USER}:" not in text


@pytest.mark.parametrize(
    "command",
    [("eval", "val.csv"), ("worklist",), ("heatmap", "--out", "maps"), ("merge", "--out", "m.csv"), ("search",)],
    ids=lambda command: command[0],
)
def test_commands_that_read_tables_say_what_to_run_first(
    run: Run, tiny_bundle: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    film("1.dcm", 1)
    done(run("predict", "1.dcm", "--model", tiny_bundle, "--labels", "edema", "--out", "r.sqlite"))
    name, *rest = command
    words = ["edema"] if name == "search" else []
    said = done(run(name, *words, "r.sqlite", *rest), 2)
    assert "cxrzero table DATABASE --out predictions.csv" in said


def test_studies_come_from_any_table(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    archive(tmp_path / "in")
    for number in range(7):
        Path(f"strangers/{number}").parent.mkdir(exist_ok=True)
        Image.fromarray(picture(200 + number)).save(f"strangers/{number}.png")
    paths = ["in", "strangers", "--model", tiny_bundle, "--labels", LABELS]
    for how in ("mean", "max"):
        done(run("predict", *paths, "--out", f"{how}.csv", "--by", "study", "--study-aggregate", how), 3)
    done(run("predict", *paths, "--long", "--out", "long.csv"), 3)
    done(run("predict", *paths, "--scores", "--out", "r.sqlite"), 3)
    done(run("predict", *paths, "--out", "p.parquet"), 3)
    for shard in ("1/2", "2/2"):
        part = f"part-{shard[0]}.csv"
        assert run("predict", *paths, "--shard", shard, "--out", part).exit_code in (0, 3)
    merged = done(run("merge", "part-1.csv", "part-2.csv", "--out", "merged.csv", "--by", "study"), 3)
    whole = Path("mean.studies.csv").read_bytes()
    assert Path("merged.studies.csv").read_bytes() == whole
    record = json.loads(Path("merged.run.json").read_text(encoding="utf-8"))
    expected = json.loads(Path("mean.run.json").read_text(encoding="utf-8"))
    for key in ("studies", "studies_sha256", "options"):
        assert record[key] == expected[key]
    for source in ("mean.csv", "merged.csv", "long.csv", "r.sqlite", "p.parquet"):
        said = done(run("table", source, "--by", "study", "--out", "s.csv", "--overwrite"))
        assert Path("s.csv").read_bytes() == whole, source
        warning = "Warning: 1 folder with more than 5 images without a Study Instance UID became one study each"
        assert warning in said
        assert warning in merged
    done(run("table", "mean.csv", "--by", "study", "--study-aggregate", "max", "--out", "m.csv"))
    assert Path("m.csv").read_bytes() == Path("max.studies.csv").read_bytes()


def test_a_folder_whose_name_is_no_text_is_a_study(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    Image.fromarray(picture(1)).save(folder / "a.png")
    done(run("predict", folder, "--model", tiny_bundle, "--labels", "edema", "--out", "t.csv", "--by", "study"))
    ((_, *_), (study, *_)) = csv.reader(Path("t.studies.csv").read_text(encoding="utf-8").splitlines())
    assert study == f"{tmp_path}/caf\\xe9"
    done(run("table", "t.csv", "--by", "study", "--out", "s.csv"))
    assert Path("s.csv").read_bytes() == Path("t.studies.csv").read_bytes()


def test_an_option_decides_numbers_unless_it_is_known_not_to() -> None:
    from cxrzero.database.store import OTHER_OPTIONS

    recorded = {each.name for each in options_of(PredictOptions) if each.recorded}
    assert recorded > OTHER_OPTIONS
    assert recorded - OTHER_OPTIONS == {"invert", "fast_decode", "scores"}


def test_studies_of_what_is_no_table_are_refused(run: Run, tiny_bundle: Path, tmp_path: Path) -> None:
    film("1.dcm", 1)
    done(run("predict", "1.dcm", "--model", tiny_bundle, "--labels", "edema", "--out", "t.csv"))
    assert "t.csv is no database" in done(run("table", "t.csv", "--out", "x.csv"), 2)
    assert "x.sqlite does not exist" in done(run("table", "x.sqlite", "--out", "x.csv"), 2)
    assert "leave them out for a table" in done(run("table", "t.csv", "--by", "study", "--run", 1, "--out", "x.csv"), 2)
    assert "is the table that is read" in done(
        run("table", "t.csv", "--by", "study", "--out", "t.csv", "--overwrite"), 2
    )
    Path("other.csv").write_text("path,edema\na.png,0.5\n", encoding="utf-8")
    assert "no table of films by cxrzero predict" in done(
        run("table", "other.csv", "--by", "study", "--out", "x.csv"), 2
    )
    text = Path("t.csv").read_text(encoding="utf-8").rstrip()
    Path("gap.csv").write_text(text[: text.rindex(",")] + ",\n", encoding="utf-8")
    said = done(run("table", "gap.csv", "--by", "study", "--out", "x.csv"), 2)
    assert "gap.csv: data row 1 is of a scored film and lacks a score" in said
    assert not Path("x.csv").exists()


def test_a_plain_run_imports_no_database(tiny_bundle: Path, tmp_path: Path) -> None:
    film(str(tmp_path / "1.dcm"), 1)
    code = (
        "import sys; from cxrzero.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print([name for name in ('sqlalchemy', 'pg8000') if name in sys.modules], file=sys.stderr)"
    )
    arguments = ["predict", "1.dcm", "--model", str(tiny_bundle), "--labels", "edema", "--out", "t.csv", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert (tmp_path / "t.csv").exists()
    assert ran.stderr.strip().endswith("[]")


def test_a_missing_package_is_one_line(
    run: Run, tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film("1.dcm", 1)
    for module, out in (("sqlalchemy", "r.sqlite"), ("pg8000", "postgresql://h/d")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            said = done(run("predict", "1.dcm", "--model", tiny_bundle, "--labels", "edema", "--out", out), 1)
            assert f"Error: {module} is not installed; run: pip install 'cxrzero[pacs]'" in said
