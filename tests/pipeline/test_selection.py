"""What is left out, told twice, joined and made anonymous: --skip, --only, duplicates, --by study, --pseudonymise."""

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner, Result

from cxrzero.cli import app
from cxrzero.errors import ConfigError
from cxrzero.images.flags import FLAGS
from cxrzero.images.radiograph import Facts
from cxrzero.pipeline.selection import parse_skip
from cxrzero.prediction import Prediction
from cxrzero.tables.pseudonym import Pseudonymiser, load_key
from cxrzero.tables.studies import Studies
from tests.support.films import film, medium
from tests.support.tables import table

Predict = Callable[..., Result]
Draw = Callable[..., Path]


@pytest.fixture
def predict(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["predict", *arguments, "--model", str(tiny_bundle), "--overwrite"])

    return run


def test_skip_and_only_make_rows_that_say_why(predict: Predict) -> None:
    film("in/1.dcm", 1, "PA")
    film("in/2.dcm", 2, "LL")
    film("in/3.dcm", 3, "")
    assert predict("in").exit_code == 0
    assert [row["status"] for row in table()] == ["ok"] * 3
    assert predict("in", "--skip", "lateral").exit_code == 0
    rows = table()
    assert [row["status"] for row in rows] == ["ok", "skipped", "ok"]
    assert rows[1]["error"] == "lateral: left out by --skip"
    assert "lateral" in rows[1]["flags"].split(";")
    assert rows[1]["view_position"] == "LL"
    assert rows[1]["edema"] == ""
    assert predict("in", "--only", "frontal").exit_code == 0
    assert [row["error"] for row in table()][1:] == [
        "lateral: left out by --only frontal",
        "view_unknown: left out by --only frontal",
    ]
    assert json.loads(Path("predictions.run.json").read_text(encoding="utf-8"))["options"]["only"] == "frontal"


def test_what_the_header_means_decides_and_not_how_it_is_spelled(predict: Predict) -> None:
    film("in/1.dcm", 1, "AP SUPINE", "2.25.11")
    film("in/2.dcm", 2, "XTABLE LATERAL", "2.25.11")
    film("in/3.dcm", 3, "PA ERECT", "2.25.11")
    assert predict("in", "--only", "frontal", "--by", "study").exit_code == 0
    assert [row["status"] for row in table()] == ["ok", "skipped", "ok"]
    assert [row["view_position"] for row in table()] == ["AP SUPINE", "XTABLE LATERAL", "PA ERECT"]
    assert predict("in", "--by", "study").exit_code == 0
    (study,) = table("predictions.studies.csv")
    assert (study["images_used"], study["left_out_reasons"]) == ("2", "lateral:1")


def test_an_unknown_flag_is_wrong_usage_with_the_choices(predict: Predict) -> None:
    film("in/1.dcm", 1)
    result = predict("in", "--skip", "sideways")
    assert result.exit_code == 2
    assert "unknown flag sideways" in result.output
    assert "maybe_inverted" in result.output
    assert parse_skip(list(FLAGS)) == frozenset(FLAGS)
    with pytest.raises(ConfigError):
        parse_skip(["nothing"])


@pytest.mark.parametrize("workers", ["1", "5"])
def test_the_second_of_two_equal_pictures_is_the_duplicate(predict: Predict, workers: str) -> None:
    for name, seed in (("a", 1), ("b", 2), ("c", 1), ("d", 2), ("e", 3)):
        film(f"in/{name}.dcm", seed)
    assert predict("in", "--workers", workers, "--batch-size", "2").exit_code == 0
    assert ["duplicate" in row["flags"] for row in table()] == [False, False, True, True, False]
    assert predict("in", "--skip", "duplicate", "--workers", workers).exit_code == 0
    assert [row["status"] for row in table()] == ["ok", "ok", "skipped", "skipped", "ok"]


def test_studies_are_joined_from_frontal_views(predict: Predict) -> None:
    film("in/s1/1.dcm", 1, "PA", "2.25.11")
    film("in/s1/2.dcm", 2, "AP", "2.25.11")
    film("in/s1/3.dcm", 3, "LL", "2.25.11")
    film("in/s2/4.dcm", 4, "LL", "2.25.22")
    Path("in/s1/broken.png").write_bytes(b"")
    result = predict("in", "--by", "study")
    assert result.exit_code == 3
    assert "predictions.studies.csv" in result.output
    images = {Path(row["path"]).name: row for row in table()}
    first, other, second = table("predictions.studies.csv")
    assert (first["study"], first["images_used"], first["images_left_out"]) == ("2.25.11", "2", "1")
    assert first["left_out_reasons"] == "lateral:1"
    expected = (float(images["1.dcm"]["edema"]) + float(images["2.dcm"]["edema"])) / 2
    assert float(first["edema"]) == pytest.approx(expected, abs=1e-7)
    assert (other["study"], other["left_out_reasons"]) == ("in/s1", "failed_empty_file:1")
    assert (second["study"], second["images_used"], second["edema"]) == ("2.25.22", "0", "")
    assert predict("in", "--by", "study", "--study-aggregate", "max").exit_code == 3
    largest = max(float(images["1.dcm"]["edema"]), float(images["2.dcm"]["edema"]))
    assert float(table("predictions.studies.csv")[0]["edema"]) == pytest.approx(largest, abs=1e-7)


def warnings() -> dict[str, Any]:
    studies: dict[str, Any] = json.loads(Path("predictions.run.json").read_text(encoding="utf-8"))["studies"]
    return studies


def test_strangers_in_one_folder_are_warned_of(predict: Predict, png: Draw) -> None:
    """Five loose films may be a study, six are not; a folder of its own for each ends the warning."""
    for seed in range(6):
        png(f"loose/{seed}.png", seed)
        png(f"apart/{seed}/film.png", seed)
    shutil.copytree("loose", "five", ignore=lambda *_: ["5.png"])
    result = predict("loose", "--by", "study")
    assert "1 folder with more than 5 images without a Study Instance UID became one study" in " ".join(
        result.output.split()
    )
    assert "0 by Study Instance UID, 1 by folder (6 images without a UID); at most 6 images in one" in result.output
    found = warnings()
    assert [found[key] for key in ("studies", "folders", "images_by_folder", "large_folders")] == [1, 1, 6, 1]
    for folder, studies in (("five", 1), ("apart", 6)):
        assert "Warning" not in predict(folder, "--by", "study").output
        assert (warnings()["studies"], warnings()["warnings"]) == (studies, [])
    assert predict("loose").exit_code == 0
    assert warnings() is None


def test_files_without_a_uid_beside_studies_that_have_one(predict: Predict, png: Draw) -> None:
    film("in/1.dcm", 1, study="2.25.11")
    film("in/2.dcm", 2, study="2.25.22")
    png("in/3.png", 3)
    png("elsewhere/4.png", 4)
    result = predict("in", "elsewhere", "--by", "study")
    assert "lie beside files of 2 studies with one, in 1 folder," in " ".join(result.output.split())
    found = warnings()
    assert [found[key] for key in ("studies", "folders", "shared_folders", "studies_beside")] == [4, 2, 1, 2]


def test_more_films_under_a_uid_than_a_study_has(predict: Predict) -> None:
    for number in range(6):
        film(f"in/{number}.dcm", number, "LL" if number % 2 else "PA", "2.25.11")
    result = predict("in", "--by", "study")
    assert "1 Study Instance UID with more than 5 images" in " ".join(result.output.split())
    assert (warnings()["large_uids"], warnings()["most_images"]) == (1, 6)


def test_a_study_table_needs_a_file(predict: Predict) -> None:
    film("in/1.dcm", 1)
    assert predict("in", "--by", "study", "--out", "-").exit_code == 2


def test_max_of_a_study_is_not_zero_floored() -> None:
    studies = Studies(["x"], "max")
    studies.add(Prediction("a/1.png", ("x",), "ok", 1, Facts(), scores={"x": 0.0}))
    assert next(studies.rows())["x"] == 0.0


def test_pseudonyms_hide_join_and_are_valid_uids(predict: Predict, tmp_path: Path) -> None:
    film("in/SMITH_JOHN/1.dcm", 1, study="1.2.840.999.313373133731")
    film("in/SMITH_JOHN/2.dcm", 2, study="1.2.840.999.313373133731")
    Path("in/SMITH_JOHN/broken.png").write_bytes(b"")
    result = predict("in", "--pseudonymise", "--by", "study")
    assert result.exit_code == 3
    assert "Made a pseudonym key" in result.output
    files = [
        Path(f"predictions{suffix}").read_text(encoding="utf-8") for suffix in (".csv", ".studies.csv", ".run.json")
    ]
    for text in (*files, result.output):
        assert "SMITH" not in text
        assert "313373133731" not in text  # longer than random digits repeat by chance
    first, second, _ = table()
    assert first["path"].rpartition("/")[0] == second["path"].rpartition("/")[0]
    assert first["path"] != second["path"]
    assert first["study_instance_uid"] == second["study_instance_uid"]
    assert pydicom.uid.UID(first["study_instance_uid"]).is_valid
    assert first["sop_instance_uid"] != second["sop_instance_uid"]
    again = predict("in", "--pseudonymise")
    assert "Made a pseudonym key" not in again.output
    assert table()[0]["path"] == first["path"]
    mode = stat.S_IMODE((tmp_path / "config/cxrzero/pseudonym.key").stat().st_mode)
    assert mode == 0o600


def test_pseudonyms_depend_on_the_key(tmp_path: Path) -> None:
    one, other = Pseudonymiser(b"a" * 32), Pseudonymiser(b"b" * 32)
    assert one.uid("1.2.3") != other.uid("1.2.3")
    assert one.path("x/y.png") != other.path("x/y.png")
    assert one.uid("") == ""
    (tmp_path / "short.key").write_bytes(b"abc")
    with pytest.raises(ConfigError, match="at least 32"):
        load_key(tmp_path / "short.key")


def test_a_dicomdir_that_is_named_is_followed(predict: Predict, tmp_path: Path) -> None:
    medium(tmp_path / "medium", 2)
    result = predict("medium/DICOMDIR")
    assert result.exit_code == 0, result.output
    assert len(table()) == 2
    assert {row["status"] for row in table()} == {"ok"}
    assert np.unique([row["edema"] for row in table()]).size == 2
    listed = [row["path"] for row in table()]
    Path(listed[0]).unlink()
    assert predict("medium/DICOMDIR").exit_code == 3
    assert [row["error"].partition(":")[0] for row in table()].count("missing") == 1
    assert predict("medium").exit_code == 0
    assert len(table()) == 1
    Path("medium/DICOMDIR").write_bytes(Path("medium/DICOMDIR").read_bytes()[:600])
    result = predict("medium/DICOMDIR")
    assert result.exit_code in (1, 2)
    assert "Traceback" not in result.output
