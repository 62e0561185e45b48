"""`cxrzero heatmap` from paths or a table to a folder."""

from __future__ import annotations

import csv
import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cxrzero import Screener
from cxrzero.cli import app
from cxrzero.errors import ConfigError
from cxrzero.heatmap.arrays import FilmMaps, read_npz
from cxrzero.heatmap.methods import choose_method
from cxrzero.heatmap.overlay import SIDE
from cxrzero.heatmap.table import highest
from tests.heatmap.test_places import blob, write_dicom
from tests.support.bundle import write_bundle
from tests.support.patches import LABEL, write_patch_bundle

Draw = Callable[..., Path]
Heatmap = Callable[..., Result]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patch_bundle(tmp_path_factory.mktemp("bundle") / "patches")


@pytest.fixture
def heatmap(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Heatmap:
    monkeypatch.chdir(tmp_path)
    arguments = ["-m", str(bundle), "--device", "cpu"]
    return lambda *more: CliRunner().invoke(app, ["heatmap", *map(str, more), *arguments], env={"COLUMNS": "200"})


def rows(folder: Path | str = "heatmaps") -> list[dict[str, str]]:
    with (Path(folder) / "heatmaps.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def film(path: str, row: float = 0.3, column: float = 0.6) -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(blob(211, 157, row, column, 0.04)).save(path, "PNG")
    return path


def test_a_row_and_a_picture_for_each_film_and_label(heatmap: Heatmap) -> None:
    film("in/a.png"), film("in/b.png", 0.7, 0.3)
    result = heatmap("in", "--labels", f"{LABEL},mass")
    assert result.exit_code == 0, result.output
    found = rows()
    assert [(row["path"], row["label"]) for row in found] == [
        ("in/a.png", LABEL), ("in/a.png", "mass"), ("in/b.png", LABEL), ("in/b.png", "mass"),
    ]  # fmt: skip
    first = found[0]
    assert abs(int(first["peak_x"]) - 0.6 * 157) < 157 / 8
    assert abs(int(first["peak_y"]) - 0.3 * 211) < 211 / 8
    assert int(first["box_left"]) < int(first["peak_x"]) < int(first["box_right"])
    assert int(first["box_upper"]) < int(first["peak_y"]) < int(first["box_lower"])
    assert 0 < float(first["share"]) < 0.2
    assert (first["rows"], first["columns"], first["method"], first["frame"]) == ("211", "157", "patch", "1")
    assert first["location"] == "never measured"
    assert len({row["picture"] for row in found}) == 4
    with Image.open(Path("heatmaps") / first["picture"]) as picture:
        assert picture.height > SIDE
    assert sorted(path.name for path in Path("heatmaps").iterdir()) == sorted(
        ["heatmaps.csv", *(row["picture"] for row in found)]
    )
    assert "4 passes" in result.output
    assert not Path("heatmaps.partial").exists()


def test_the_probability_is_that_of_predict(heatmap: Heatmap, bundle: Path) -> None:
    film("a.png")
    heatmap("a.png", "--labels", LABEL)
    heatmap("a.png", "--labels", LABEL, "--method", "occlusion", "--out", "other")
    CliRunner().invoke(app, ["predict", "a.png", "-m", str(bundle), "--device", "cpu", "--labels", LABEL])
    with Path("predictions.csv").open(encoding="utf-8") as file:
        predicted = next(csv.DictReader(file))[LABEL]
    assert rows()[0]["p"] == rows("other")[0]["p"] == predicted


def test_arrays_are_on_the_stored_frame(heatmap: Heatmap) -> None:
    film("a.png")
    assert heatmap("a.png", "--labels", LABEL, "--format", "npz").exit_code == 0
    (row,) = rows()
    assert row["picture"] == ""
    maps = read_npz(Path("heatmaps") / row["arrays"])
    assert (maps.path, maps.frame, maps.labels, maps.rows, maps.columns) == ("a.png", 1, (LABEL,), 211, 157)
    assert maps.peak(0) == (int(row["peak_x"]), int(row["peak_y"]))
    assert maps.maps.shape == (1, 211, 157)
    assert [path.suffix for path in sorted(Path("heatmaps").iterdir())] == [".npz", ".csv"]


@pytest.mark.parametrize("method", ["patch", "occlusion"])
def test_maps_do_not_change_with_batch_size_or_workers(heatmap: Heatmap, method: str) -> None:
    for number in range(5):
        film(f"in/{number}.png", 0.2 + 0.1 * number, 0.3)
    made: list[list[FilmMaps]] = []
    for out, more in (("a", ("1", "1")), ("b", ("3", "4")), ("c", ("64", "2"))):
        options = ("--batch-size", more[0], "--workers", more[1], "--method", method, "--format", "npz", "--out", out)
        assert heatmap("in", "--labels", f"{LABEL},mass", *options).exit_code == 0
        made.append([read_npz(path) for path in sorted(Path(out).glob("*.npz"))])
    for others in made[1:]:
        for one, other in zip(made[0], others, strict=True):
            np.testing.assert_array_equal(one.maps, other.maps)
            np.testing.assert_array_equal(one.probabilities, other.probabilities)


def test_nothing_is_overwritten_or_mixed(heatmap: Heatmap) -> None:
    film("a.png"), film("b.png")
    assert heatmap("a.png", "b.png", "--labels", LABEL).exit_code == 0
    before = {path.name: path.read_bytes() for path in Path("heatmaps").iterdir()}
    again = heatmap("a.png", "--labels", LABEL)
    assert again.exit_code == 2
    assert "holds heatmaps already" in again.output
    assert {path.name: path.read_bytes() for path in Path("heatmaps").iterdir()} == before
    assert heatmap("a.png", "--labels", LABEL, "--overwrite").exit_code == 0
    assert len(list(Path("heatmaps").iterdir())) == 2  # nothing of the first run is left
    Path("mine").mkdir()
    Path("mine/letter.txt").write_text("dear", encoding="utf-8")
    other = heatmap("a.png", "--labels", LABEL, "--out", "mine", "--overwrite")
    assert other.exit_code == 2
    assert [path.name for path in Path("mine").iterdir()] == ["letter.txt"]


def test_a_run_that_ends_early_leaves_no_folder(heatmap: Heatmap, monkeypatch: pytest.MonkeyPatch) -> None:
    film("a.png")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("cxrzero.heatmap.folder.Path.write_bytes", full)
    result = heatmap("a.png", "--labels", LABEL)
    assert result.exit_code == 1
    assert "cannot be written: No space left on device" in result.output
    assert not Path("heatmaps").exists()


def test_films_that_fail_are_rows_with_their_code(heatmap: Heatmap) -> None:
    film("in/a.png")
    Path("in/b.png").write_bytes(b"")
    Path("in/c.dcm").write_bytes(b"\0" * 128 + b"DICM")
    result = heatmap("in", "--labels", LABEL)
    assert result.exit_code == 3
    assert [row["status"] for row in rows()] == ["ok", "failed", "failed"]
    assert rows()[1]["error"] == "empty_file: the file is empty"
    assert rows()[1]["label"] == rows()[1]["p"] == rows()[1]["picture"] == ""
    assert heatmap("in/b.png", "--labels", LABEL, "--out", "none").exit_code == 1
    assert heatmap("nowhere", "--labels", LABEL, "--out", "other").exit_code == 2


def test_frames_each_have_their_maps(heatmap: Heatmap) -> None:
    frames = np.stack([blob(64, 90, 0.3, 0.3, 0.06), blob(64, 90, 0.7, 0.7, 0.06)])
    write_dicom(Path("film.dcm"), frames)
    assert heatmap("film.dcm", "--labels", LABEL).exit_code == 0
    first, second = rows()
    assert (first["frame"], second["frame"]) == ("1", "2")
    assert int(first["peak_x"]) < 45 < int(second["peak_x"])
    assert first["sop_instance_uid"] == "2.25.77"


def test_hostile_names_reach_no_picture_and_no_cell_as_a_formula(heatmap: Heatmap) -> None:
    names = ["=1+1.png", "<script>alert(1)</script>.png", "line\nbreak.png", "quo'te\".png"]
    names.append(os.fsdecode(b"caf\xe9.png"))
    for number, name in enumerate(names):
        os.rename(film(f"in/{number}.png"), os.path.join("in", name.replace("/", "_")))
    assert heatmap("in", "--labels", "=cmd|' /C calc'!A0").exit_code == 0
    for row in rows():
        assert not row["label"].startswith("=")
        assert set(row["picture"]) <= set("0123456789abcdefghijklmnopqrstuvwxyz_-.")
    raw = Path("heatmaps/heatmaps.csv").read_bytes()
    assert b"caf\\xe9.png" in raw


def test_pseudonyms_hide_paths_and_uids(heatmap: Heatmap) -> None:
    write_dicom(Path("DOE_JANE.dcm"), blob(64, 90, 0.3, 0.3, 0.06))
    Path("key").write_bytes(b"k" * 32)
    options = ("--pseudonymise", "--pseudonym-key", "key", "--format", "both")
    result = heatmap("DOE_JANE.dcm", "--labels", LABEL, *options)
    assert result.exit_code == 0, result.output
    (row,) = rows()
    assert row["sop_instance_uid"].startswith("2.25.")
    assert row["sop_instance_uid"] != "2.25.77"
    assert read_npz(Path("heatmaps") / row["arrays"]).path == row["path"]
    for path in Path("heatmaps").iterdir():
        assert "DOE" not in path.name
        assert b"DOE" not in path.read_bytes()
    assert "DOE" not in result.output
    missing = heatmap("JOHN_DOE.dcm", "--labels", LABEL, *options, "--out", "other")
    assert missing.exit_code == 2
    assert "PATH number 1" in missing.output
    assert "DOE" not in missing.output


# Which method.


def test_auto_says_what_it_takes_and_why(bundle: Path, tmp_path: Path) -> None:
    plain = write_patch_bundle(tmp_path / "plain", patches=False)
    entry = {"label": LABEL, "dataset": "d", "films": 40, "units": 30, "seen_in_training": False}
    gains = [("patch", 0.1), ("occlusion", 0.3)]
    location = [
        entry
        | {"method": method, "hit_rate": {"value": 0.5}, "gain": {"value": gain, "low": gain - 0.2}, "best_point": 0.4}
        for method, gain in gains
    ]
    measured = write_patch_bundle(tmp_path / "measured", location=location)

    def bundles(*paths: Path) -> list[object]:
        return [member.bundle for member in Screener(list(paths), device="cpu", cache=False).members]

    assert choose_method("auto", bundles(bundle))[0] == "patch"  # type: ignore[arg-type]
    assert "neither method was measured" in choose_method("auto", bundles(bundle))[1]  # type: ignore[arg-type]
    assert choose_method("auto", bundles(plain))[0] == "occlusion"  # type: ignore[arg-type]
    assert "no embeddings of patches" in choose_method("auto", bundles(plain))[1]  # type: ignore[arg-type]
    method, why = choose_method("auto", bundles(measured))  # type: ignore[arg-type]
    assert (method, "occlusion +0.30" in why) == ("occlusion", True)
    with pytest.raises(ConfigError, match="--method occlusion"):
        choose_method("patch", bundles(plain))  # type: ignore[arg-type]


def test_a_validated_label_has_no_warning(heatmap: Heatmap, tmp_path: Path) -> None:
    entry = {
        "label": LABEL, "method": "patch", "dataset": "d", "films": 40, "units": 30, "seen_in_training": False,
        "hit_rate": {"value": 0.8}, "gain": {"value": 0.3, "low": 0.1, "high": 0.5}, "best_point": 0.6,
    }  # fmt: skip
    model = write_patch_bundle(tmp_path / "measured", location=[entry])
    film("a.png")
    result = heatmap("a.png", "--labels", f"{LABEL},mass", "-m", model, "--out", "m")
    result = CliRunner().invoke(app, ["heatmap", "a.png", "--labels", f"{LABEL},mass", "-m", str(model)])
    assert result.exit_code == 0, result.output
    assert [row["location"] for row in rows()] == ["validated", "never measured"]
    assert "location not validated for mass:" in result.output


def test_an_ensemble_is_asked_by_occlusion(heatmap: Heatmap, tmp_path: Path, bundle: Path) -> None:
    letterbox = [
        {"step": "resize_longest", "size": 32, "interpolation": "bicubic"},
        {"step": "pad_to_square", "size": 32, "fill": 0},
        {"step": "rescale", "factor": 1 / 255},
    ]
    other = write_patch_bundle(tmp_path / "other", seed=1, preprocess=letterbox)
    film("a.png", 0.3, 0.62)
    models = ["-m", str(bundle), "-m", str(other)]
    result = CliRunner().invoke(app, ["heatmap", "a.png", "--labels", LABEL, "--device", "cpu", *models])
    assert result.exit_code == 0, result.output
    (row,) = rows()
    assert row["method"] == "occlusion"
    assert "an ensemble of 2 models has no patches in one space" in result.output
    assert row["fingerprint"].count("+") == 1
    assert abs(int(row["peak_x"]) + 0.5 - 0.62 * 157) < 211 / 16 + 1
    assert abs(int(row["peak_y"]) + 0.5 - 0.3 * 211) < 211 / 16 + 1


def test_any_bundle_can_be_asked(heatmap: Heatmap, tmp_path: Path) -> None:
    film("a.png")
    sigmoid = write_bundle(tmp_path / "sigmoid", scoring={"rule": "sigmoid", "scale": 3.0, "bias": -0.5})
    result = CliRunner().invoke(app, ["heatmap", "a.png", "--labels", LABEL, "--device", "cpu", "-m", str(sigmoid)])
    assert result.exit_code == 0, result.output
    assert rows()[0]["method"] == "occlusion"


# Found or not.


@pytest.mark.parametrize(("stated", "found"), [("0", "1"), ("1", "0")])
def test_found_is_by_the_probability(heatmap: Heatmap, stated: str, found: str) -> None:
    film("a.png")
    result = heatmap("a.png", "--labels", LABEL, "--found-above", stated)
    assert rows()[0]["found"] == found
    assert f"not found means a probability below {stated}" in result.output


def test_without_a_calibration_half_is_the_threshold_and_that_is_said(heatmap: Heatmap) -> None:
    film("a.png")
    result = heatmap("a.png", "--labels", LABEL)
    assert rows()[0]["found"] == str(int(float(rows()[0]["p"]) >= 0.5))
    assert "below 0.5: the model brings no threshold" in result.output


def test_a_threshold_is_reached_by_the_number_as_it_is_written(heatmap: Heatmap) -> None:
    """0.123 as a table writes it is reached by the float32 that is written so, though that lies below."""
    film("a.png")
    assert heatmap("a.png", "--labels", LABEL).exit_code == 0
    written = rows()[0]["p"]
    for stated, found in ((written, "1"), (str(float(written) + 1e-6), "0")):
        heatmap("a.png", "--labels", LABEL, "--found-above", stated, "--overwrite")
        assert rows()[0]["found"] == found


# A table of predict.


@pytest.fixture
def predicted(heatmap: Heatmap, bundle: Path) -> Path:
    for number in range(6):
        film(f"in/{number}.png", 0.3 + 0.05 * number, 0.4)
        pixels = np.asarray(Image.open(f"in/{number}.png"))
        Image.fromarray(np.clip(pixels.astype(int) + 15 * number, 0, 255).astype(np.uint8)).save(f"in/{number}.png")
    Path("in/6.png").write_bytes(b"")
    write_dicom(Path("in/7.dcm"), np.stack([blob(64, 90, 0.3, 0.3, 0.06), blob(64, 90, 0.7, 0.7, 0.2)]))
    run = CliRunner().invoke(app, ["predict", "in", "-m", str(bundle), "--device", "cpu", "--labels", f"{LABEL},mass"])
    assert run.exit_code == 3
    return Path("predictions.csv")


def table_rows(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_highest_films_of_a_table(heatmap: Heatmap, predicted: Path) -> None:
    result = heatmap(predicted, "--top", "2")
    assert result.exit_code == 0, result.output
    scored = [row for row in table_rows(predicted) if row["status"] == "ok"]
    expected = set()
    for label in (LABEL, "mass"):
        best = sorted(scored, key=lambda row: -float(row[label]))[:2]
        expected |= {(row["path"], row["frame"], label) for row in best}
    assert {(row["path"], row["frame"], row["label"]) for row in rows()} == expected
    first = max(scored, key=lambda row: float(row[LABEL]))
    assert (rows()[0]["path"], rows()[0]["label"]) == (first["path"], LABEL)
    one = heatmap(predicted, "--top", "1", "--labels", "MASS", "--out", "one")
    assert [row["label"] for row in rows("one")] == ["mass"], one.output


def test_films_that_changed_since_are_said_and_not_drawn(heatmap: Heatmap, predicted: Path) -> None:
    scored = sorted((r for r in table_rows(predicted) if r["status"] == "ok"), key=lambda r: -float(r[LABEL]))
    moved, other = [row["path"] for row in scored if row["path"].endswith(".png")][:2]
    os.rename(moved, "elsewhere.png")
    film(other, 0.9, 0.9)
    write_dicom(Path("in/7.dcm"), blob(64, 90, 0.3, 0.3, 0.06), SOPInstanceUID="2.25.78")
    result = heatmap(predicted, "--top", "8", "--labels", LABEL)
    assert result.exit_code == 3
    by_path = {(row["path"], row["frame"]): row for row in rows()}
    assert by_path[moved, ""]["error"] == "changed: there is no file at this path now"
    assert "in the table, so the file, the model" in by_path[other, "1"]["error"]
    assert "SOP Instance UID is not the table's" in by_path["in/7.dcm", "1"]["error"]
    assert by_path["in/7.dcm", ""]["error"] == "changed: the file has no frame 2 now"
    assert all(not row["picture"] for row in rows() if row["status"] == "failed")
    assert sum(row["status"] == "ok" for row in rows()) == 4


def test_tables_of_another_kind_are_refused(heatmap: Heatmap, predicted: Path) -> None:
    Path("labels.csv").write_text("image,mass\na.png,1\n", encoding="utf-8")
    assert "no table of cxrzero predict" in heatmap("labels.csv", "--top", "1").output
    assert "has no label 'edema'" in heatmap(predicted, "--top", "1", "--labels", "edema").output
    assert "takes one table" in heatmap(predicted, "in", "--top", "1").output
    header, *_ = predicted.read_text(encoding="utf-8").splitlines()
    Path("empty.csv").write_text(header + "\n", encoding="utf-8")
    assert heatmap("empty.csv", "--top", "1").exit_code == 2


def test_of_a_long_table_only_the_highest_rows_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in parts of 1,000 rows, 40,000 take as much memory as 1,000 and no more."""
    monkeypatch.setattr("cxrzero.tables.read.CHUNK_ROWS", 1000)
    values = np.random.default_rng(0).permutation(40_000) / 40_000
    lines = (f"some/folder/of/films/{n}.png,1,ok,{value:.6f},{1 - value:.6f}\n" for n, value in enumerate(values))
    (tmp_path / "p.csv").write_text("path,frame,status,mass,edema\n" + "".join(lines), encoding="utf-8")
    tracemalloc.start()
    labels, listed = highest(tmp_path / "p.csv", None, 3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert labels == ("mass", "edema")
    order = [*np.argsort(-values)[:3], *np.argsort(values)[:3]]
    assert [each.path for each in listed] == [f"some/folder/of/films/{n}.png" for n in order]
    assert peak < 5_000_000  # the paths alone would take 3 MB, all rows 15 MB


def test_the_card_of_a_run_is_not_needed(heatmap: Heatmap, predicted: Path) -> None:
    record = predicted.with_suffix(".run.json")
    assert json.loads(record.read_text())
    record.unlink()
    assert heatmap(predicted, "--top", "1").exit_code == 0
