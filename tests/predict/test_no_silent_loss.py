"""Requests that would lose or mix rows without a word are refused instead."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cxrzero import Screener
from cxrzero.cli import app
from cxrzero.errors import ImageError, LabelError, NoInputError, OutputError, UsageError
from cxrzero.images.dicomdir import referenced_files
from cxrzero.sources import check_paths
from cxrzero.tables.table import Table
from tests.support.films import film, medium
from tests.support.tables import table

COLUMNS = {"path": str, "score": float}
Draw = Callable[..., Path]
Predict = Callable[..., Result]


@pytest.fixture
def predict(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return lambda *arguments: CliRunner().invoke(app, ["predict", *arguments, "--model", str(tiny_bundle)])


def test_a_list_from_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "list")
    with pytest.raises(NoInputError, match="is not a file"):
        check_paths([f"@{tmp_path}/list"])


def test_two_runs_do_not_write_one_table(tmp_path: Path) -> None:
    out = str(tmp_path / "t.csv")
    with Table(out, COLUMNS) as first:
        with pytest.raises(OutputError, match="another run is writing"):
            Table(out, COLUMNS)
        first.commit()
    with Table(out, COLUMNS, overwrite=True) as later:
        later.commit()


def test_links_stay_and_pipes_are_refused(predict: Predict, png: Draw) -> None:
    png("a.png")
    Path("real.csv").write_text("old", encoding="utf-8")
    Path("link.csv").symlink_to("real.csv")
    assert predict("a.png", "--out", "link.csv", "--overwrite").exit_code == 0
    assert Path("link.csv").is_symlink()
    assert Path("real.csv").read_text(encoding="utf-8").startswith("path,")
    os.mkfifo("pipe.csv")
    assert predict("a.png", "--out", "pipe.csv", "--overwrite").exit_code == 1
    assert Path("pipe.csv").is_fifo()


def test_the_record_is_checked_before_any_image(predict: Predict, png: Draw) -> None:
    png("a.png")
    Path("b.run.json").mkdir()
    assert predict("a.png", "--out", "b.csv").exit_code == 1
    assert not Path("b.csv").exists()
    Path("c.run.json").write_text("precious", encoding="utf-8")
    assert predict("a.png", "--out", "c.csv").exit_code == 2
    assert Path("c.run.json").read_text(encoding="utf-8") == "precious"


def test_a_key_without_pseudonymise_is_refused_and_a_dry_run_makes_none(
    predict: Predict, png: Draw, tmp_path: Path
) -> None:
    png("a.png")
    assert predict("a.png", "--pseudonym-key", "k").exit_code == 2
    assert predict("a.png", "--pseudonymise", "--dry-run").exit_code == 0
    assert not (tmp_path / "config").exists()


def test_a_label_may_not_hide_a_column_of_the_study_table(predict: Predict, png: Draw) -> None:
    png("a.png")
    assert predict("a.png", "--labels", "study", "--by", "study").exit_code == 2


def test_an_equal_picture_that_is_not_scored_hides_no_other(predict: Predict) -> None:
    film("in/1.dcm", 1, "LL")
    film("in/2.dcm", 1, "PA")
    film("in/3.dcm", 1, "PA")
    assert predict("in", "--skip", "lateral,duplicate").exit_code == 0
    assert [row["status"] for row in table()] == ["skipped", "ok", "skipped"]


def test_a_directory_that_is_cut_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    medium(tmp_path / "medium", 3)
    whole = (tmp_path / "medium/DICOMDIR").read_bytes()
    assert len(list(referenced_files("medium/DICOMDIR"))) == 3
    for length in range(600, len(whole) - 1, 37):
        Path("medium/DICOMDIR").write_bytes(whole[:length])
        with pytest.raises(ImageError, match="bad_dicomdir"):
            list(referenced_files("medium/DICOMDIR"))


def test_label_files_take_no_comments_and_unquote(predict: Predict, png: Draw) -> None:
    png("a.png")
    Path("labels.txt").write_text('"mass, left"\nedema\n', encoding="utf-8")
    assert predict("a.png", "--labels", "@labels.txt").exit_code == 0
    assert list(table()[0])[-2:] == ["mass, left", "edema"]
    Path("labels.txt").write_text("# findings\nedema\n", encoding="utf-8")
    assert predict("a.png", "--labels", "@labels.txt", "--overwrite").exit_code == 2


def test_the_api_refuses_what_it_cannot_mean(tiny_bundle: Path, png: Draw) -> None:
    with pytest.raises(UsageError, match="device"):
        Screener(tiny_bundle, device="CUDA")
    with pytest.raises(UsageError, match="at least 1"):
        Screener(tiny_bundle, batch_size=0)
    with pytest.raises(LabelError, match="list of texts"):
        Screener(tiny_bundle).predict(png("a.png"), labels="edema")


def test_inspect_says_when_there_is_nothing_and_mixes_no_runs(png: Draw, tiny_bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert CliRunner().invoke(app, ["inspect", str(tmp_path / "empty")]).exit_code == 2
    arguments = ["inspect", str(png("a.png")), "--png", str(tmp_path / "seen"), "--model", str(tiny_bundle)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert CliRunner().invoke(app, arguments).exit_code == 2
