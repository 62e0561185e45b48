"""`cxrzero predict` and its sisters on an address: what is fetched again, what is kept, what is said, who is named."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cxrzero.cli import app
from tests.archive.conftest import held
from tests.archive.webserver import Server, hang_up, status, whole
from tests.support.tables import table

Run = Callable[..., Result]
FILMS = [held(number, study) for study in (1, 2, 3) for number in (1, 2)]
UIDS = sorted(film.instance for film in FILMS)


@pytest.fixture
def cxrzero(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: object) -> Run:
    """Run a command in tmp_path with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXRZERO_CACHE_DIR", str(tmp_path / "cache"))

    def run(name: str, *arguments: str | Path) -> Result:
        model = ["--model", str(tiny_bundle)] if name in ("predict", "heatmap", "search") else []
        return CliRunner().invoke(app, [name, *map(str, arguments), *model])

    return run


def predict(cxrzero: Run, web: Server, *arguments: str | Path, exit_code: int = 0) -> Result:
    web.library.held = web.library.held or list(FILMS)
    result = cxrzero("predict", web.address, "--query", "all", "--labels", "edema", *arguments)
    assert result.exit_code == exit_code, result.output
    return result


def test_what_the_cache_knows_is_not_fetched_again(cxrzero: Run, web: Server) -> None:
    first = predict(cxrzero, web)
    assert web.library.fetched() == UIDS
    before = Path("predictions.csv").read_bytes()
    assert "0 taken from the cache, 6 computed" in first.output
    assert "6 taken from the cache, 0 computed" in predict(cxrzero, web, "--overwrite").output
    assert web.library.fetched() == UIDS
    assert Path("predictions.csv").read_bytes() == before
    predict(cxrzero, web, "--overwrite", "--refetch")
    assert web.library.fetched() == sorted(UIDS * 2)
    predict(cxrzero, web, "--overwrite", "--no-cache")
    assert web.library.fetched() == sorted(UIDS * 3)
    assert Path("predictions.csv").read_bytes() == before


def test_an_interrupted_run_goes_on_where_it_was(cxrzero: Run, web: Server) -> None:
    def breaks(handler: object, film: object) -> None:
        raise ConnectionResetError

    web.library.held = list(FILMS)
    web.library.next("fetch", whole, whole, *[breaks] * 100)
    result = cxrzero(
        "predict", web.address, "--query", "all", "--labels", "edema", "--batch-size", "1", "--workers", "1"
    )
    assert result.exit_code == 1
    assert "same command again" in result.output
    assert not Path("predictions.csv").exists()
    web.library.queued.clear()
    web.library.asked.clear()
    assert "2 taken from the cache, 4 computed" in predict(cxrzero, web).output
    assert web.library.fetched() == UIDS[2:]
    assert [row["sop_instance_uid"] for row in table()] == UIDS


def test_shards_fetch_each_film_once_and_merge(cxrzero: Run, web: Server) -> None:
    for number in (1, 2):
        predict(cxrzero, web, "--shard", f"{number}/2", "--out", f"{number}.csv")
    assert web.library.fetched() == UIDS
    assert cxrzero("merge", "1.csv", "2.csv", "--out", "merged.csv").exit_code == 0
    predict(cxrzero, web)
    assert Path("merged.csv").read_bytes() == Path("predictions.csv").read_bytes()
    assert web.library.fetched() == UIDS


def test_tasks_fetch_each_film_once_of_one_list(cxrzero: Run, web: Server) -> None:
    result = predict(cxrzero, web, "--engine", "local=2", "--tasks", "3", "--out", "tasks.csv", "--keep-files", "kept")
    assert "6 of 6 films" in result.output
    assert web.library.fetched() == UIDS
    assert len(list(Path("kept").rglob("*.dcm"))) == len(UIDS)
    predict(cxrzero, web, "--no-cache")
    assert Path("tasks.csv").read_bytes() == Path("predictions.csv").read_bytes()
    record = json.loads(Path("tasks.run.json").read_text(encoding="utf-8"))
    assert record["not_fetched"] == {}
    assert record["engine"]["tasks"] == 3


def test_files_are_kept_where_that_is_asked_and_nowhere_else(cxrzero: Run, web: Server, tmp_path: Path) -> None:
    predict(cxrzero, web)
    kept = {"predictions.csv", "predictions.run.json", "cache"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert not any(b"DICM" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    (tmp_path / "films/1.2.1/1.2.1.1").mkdir(parents=True)
    (tmp_path / "films/1.2.1/1.2.1.1/1.2.1.1.1.dcm").touch()
    web.library.asked.clear()
    predict(cxrzero, web, "--keep-files", "films", "--overwrite")
    assert web.library.fetched() == UIDS[1:]  # what is known and kept is not asked for
    place = "films/{0.study}/{0.series}/{0.instance}.dcm"
    for film in FILMS[1:]:
        file = tmp_path / place.format(film)
        assert file.read_bytes() == film.content
        assert file.stat().st_mode & 0o777 == 0o600
        assert file.parent.stat().st_mode & 0o077 == 0 or film.study == "1.2.1"


def test_nobody_s_name_is_written_or_said(
    cxrzero: Run, web: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXRZERO_DICOMWEB_USER", "reader-1")
    monkeypatch.setenv("CXRZERO_DICOMWEB_PASSWORD", "hunter-2")
    web.library.next("fetch", status(404))
    query = "PatientID=SECRET-MRN,PatientName=NOBODY^*,StudyDate=20260101-"
    said = predict(cxrzero, web, "--query", query, exit_code=3).output
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in ("SECRET", "NOBODY", "reader-1", "hunter-2"):
        assert secret.encode() not in written
        assert secret not in said
    record = json.loads(Path("predictions.run.json").read_text(encoding="utf-8"))
    assert record["options"]["query"] == "PatientID=***,PatientName=***,StudyDate=20260101-"
    assert "--query 'PatientID=***,PatientName=***,StudyDate=20260101-'" in record["command"]
    asked = {each.what: each for each in web.library.asked}
    assert asked["studies"].query["PatientID"] == ["SECRET-MRN"]


def test_a_dry_run_lists_and_fetches_nothing(cxrzero: Run, web: Server) -> None:
    web.library.held = [*FILMS, *(held(number, 1, 2, "CT") for number in range(1, 8))]
    result = predict(cxrzero, web, "--dry-run")
    assert "Would read   6 films" in result.output
    assert "nothing was fetched; not asked for: 7 of CT" in result.output
    assert {each.what for each in web.library.asked} == {"studies", "series", "instances"}


def test_a_run_says_and_records_what_it_left_in_the_archive(cxrzero: Run, web: Server) -> None:
    web.library.held = [*FILMS, *(held(number, 1, 2, "CT") for number in range(1, 8)), held(1, 1, 3, "SR")]
    result = predict(cxrzero, web)
    assert "Not fetched, for their modality is never scored: 7 of CT and 1 of SR" in result.output
    assert json.loads(Path("predictions.run.json").read_text(encoding="utf-8"))["not_fetched"] == {"CT": 7, "SR": 1}
    assert web.library.fetched() == UIDS


def test_nothing_to_fetch_is_said(cxrzero: Run, web: Server) -> None:
    web.library.held = [held(1, 1, 2, "CT")]
    result = predict(cxrzero, web, exit_code=2)
    assert "not fetched: 1 of CT" in result.output
    web.library.held = []
    result = cxrzero("predict", web.address, "--query", "StudyDate=19000101", "--labels", "edema")
    assert result.exit_code == 2
    assert "the archive has no film that --query asks for" in result.output


def test_studies_are_joined_and_a_film_that_failed_is_counted_in_its_study(cxrzero: Run, web: Server) -> None:
    web.library.next("fetch", status(404))
    predict(cxrzero, web, "--by", "study", "--workers", "1", exit_code=3)
    rows = table("predictions.studies.csv")
    assert [row["study"] for row in rows] == ["1.2.1", "1.2.2", "1.2.3"]
    assert rows[0]["left_out_reasons"].startswith("failed_not_in_archive:1;")


def test_pseudonyms_stand_for_addresses_wherever_the_command_runs(
    cxrzero: Run, web: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    found = []
    for folder in (tmp_path, tmp_path / "elsewhere"):
        monkeypatch.chdir(folder)
        predict(cxrzero, web, "--pseudonymise", "--pseudonym-key", tmp_path / "key", "--out", "p.csv")
        found.append([row["path"] for row in table("p.csv")])
        for file in ("p.csv", "p.run.json"):
            text = Path(file).read_text(encoding="utf-8")
            assert "127.0.0.1" not in text
            assert "1.2.1" not in text.replace("2.25.", "")
    assert found[0] == found[1]
    assert len(set(found[0])) == 6


def test_other_commands_read_from_an_archive_too(cxrzero: Run, web: Server, tmp_path: Path) -> None:
    web.library.held = list(FILMS)
    film = f"{web.address}/studies/1.2.1/series/1.2.1.1/instances/1.2.1.1.1"
    result = cxrzero("inspect", film)
    assert result.exit_code == 0, result.output
    assert "48 × 64 pixels" in result.output
    assert "SECRET" not in result.output
    result = cxrzero(
        "heatmap", f"{web.address}/studies/1.2.1", "--labels", "edema", "--method", "occlusion", "--out", "h"
    )
    assert result.exit_code == 0, result.output
    assert table("h/heatmaps.csv")[0]["path"] == film
    result = cxrzero(
        "search", "--like", film, web.address + "/studies/1.2.1", "--html", "page.html", "--out", "found.csv"
    )
    assert result.exit_code == 0, result.output
    assert table("found.csv")[0]["path"] == film
    assert "data:image" in Path("page.html").read_text(encoding="utf-8")
    result = cxrzero("inspect", web.address)
    assert result.exit_code == 2
    assert "/studies/UID" in result.output


def test_films_of_a_table_are_found_where_they_were_kept(cxrzero: Run, web: Server) -> None:
    predict(cxrzero, web, "--keep-files", "films")
    web.library.asked.clear()
    result = cxrzero("worklist", "predictions.csv", "--images", "films", "--out", "page")
    assert result.exit_code == 0, result.output
    result = cxrzero("worklist", "predictions.csv", "--out", "other")
    assert "--keep-files" in result.output
    result = cxrzero("heatmap", "predictions.csv", "--top", "1", "--method", "occlusion", "--out", "h")
    assert (result.exit_code, "no archive is asked because a table names it" in result.output) == (1, True)
    assert web.library.asked == []


def test_reports_are_made_of_films_that_were_kept(cxrzero: Run, web: Server) -> None:
    result = predict(cxrzero, web, "--dicom-sr", "reports", exit_code=2)
    assert "--keep-files" in result.output
    assert web.library.asked == []
    predict(cxrzero, web, "--keep-files", "films")
    result = cxrzero("dicom-sr", "predictions.csv", "--images", "films", "--out", "reports")
    assert result.exit_code == 0, result.output
    assert len(list(Path("reports").rglob("*.dcm"))) == 3
    result = cxrzero("dicom-sr", "predictions.csv", "--out", "others")
    assert result.exit_code == 1
    assert "--keep-files" in result.output


def test_rows_of_an_archive_grow_in_a_database(cxrzero: Run, web: Server) -> None:
    predict(cxrzero, web)
    predict(cxrzero, web, "--out", "results.sqlite")
    predict(cxrzero, web, "--out", "results.sqlite")
    result = cxrzero("table", "results.sqlite", "--out", "again.csv")
    assert result.exit_code == 0, result.output
    assert table("again.csv") == table()


@pytest.mark.parametrize("command", ["eval", "bench"])
def test_what_reads_files_alone_says_what_to_do(cxrzero: Run, command: str) -> None:
    film = "dicomweb+https://pacs.example/x/studies/1.2"
    result = cxrzero(command, film, *(["labels.csv"] if command == "eval" else []))
    assert result.exit_code == 2
    assert "--keep-files" in result.output


@pytest.mark.parametrize("option", [("--query", "all"), ("--refetch",), ("--keep-files", "x")])
def test_an_option_of_archives_needs_one(cxrzero: Run, tmp_path: Path, option: tuple[str, ...]) -> None:
    result = cxrzero("predict", tmp_path, *option)
    assert (result.exit_code, option[0] in result.output) == (2, True)


def test_a_password_in_an_address_is_refused_and_not_shown(cxrzero: Run) -> None:
    result = cxrzero("predict", "dicomweb+https://reader:hunter2@pacs.example/x", "--query", "all")
    assert result.exit_code == 2
    assert "CXRZERO_DICOMWEB_PASSWORD" in result.output
    assert "hunter2" not in result.output


def test_an_archive_that_is_down_leaves_no_table(cxrzero: Run, web: Server, tmp_path: Path) -> None:
    web.library.next("studies", *[hang_up] * 9)
    result = predict(cxrzero, web, exit_code=1)
    assert "no connection to the archive" in result.output
    assert not any("predictions" in path.name for path in tmp_path.iterdir())


def test_a_config_file_may_name_it_all(cxrzero: Run, web: Server) -> None:
    web.library.held = list(FILMS)
    config = f'paths = ["{web.address}"]\nquery = "ModalitiesInStudy=DX"\nlabels = ["edema"]\n'
    Path("run.toml").write_text(config, encoding="utf-8")
    assert cxrzero("predict", "--config", "run.toml").exit_code == 0
    assert web.library.fetched() == UIDS


def test_a_list_may_name_films_of_archives_and_of_this_machine(cxrzero: Run, web: Server) -> None:
    web.library.held = list(FILMS)
    Path("own.dcm").write_bytes(held(9).content)
    films = [f"{web.address}/studies/{film.study}/series/{film.series}/instances/{film.instance}" for film in FILMS[:2]]
    Path("list.txt").write_text("\n".join([films[1], "own.dcm", films[0]]), encoding="utf-8")
    result = cxrzero("predict", "@list.txt", "--labels", "edema")
    assert result.exit_code == 0, result.output
    assert [row["path"] for row in table()] == [films[1], "own.dcm", films[0]]
    assert {each.what for each in web.library.asked} == {"fetch"}


def test_the_cache_holds_no_address(cxrzero: Run, web: Server, tmp_path: Path) -> None:
    predict(cxrzero, web)
    (store,) = (tmp_path / "cache").rglob("*.sqlite*")
    with sqlite3.connect(store) as database:
        dump = "\n".join(database.iterdump())
    assert "127.0.0.1" not in dump
    assert "dicomweb" not in dump


@pytest.mark.parametrize(
    ("module", "address"),
    [("dicomweb_client", "dicomweb+https://pacs.example/x"), ("pynetdicom", "dicom://pacs.example:104/ORTHANC")],
)
def test_a_missing_extra_is_one_line(cxrzero: Run, monkeypatch: pytest.MonkeyPatch, module: str, address: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.web", None)
    result = cxrzero("predict", address, "--query", "all")
    assert result.exit_code == 1
    assert "pip install 'cxrzero[pacs]'" in result.output
    assert "Traceback" not in result.output
