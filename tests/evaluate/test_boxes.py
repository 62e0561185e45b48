"""`cxrzero eval --boxes`: maps against boxes, from the outside and by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.errors import ConfigError, LabelError, NoInputError
from cxrzero.evaluate.boxes.run import Localisation, evaluate_boxes
from cxrzero.evaluate.options import EvalOptions, read_size
from cxrzero.stats.intervals import wilson
from tests.support.maps import film_maps, write_folder

HEADER = ("image", "finding", "x", "y", "width", "height", "patient")
N = 24
# On films of 200 × 100 pixels: a box on the left and one on the right, each 0.2 of the film wide and 0.4 high.
LEFT, RIGHT = (20, 30, 40, 40), (140, 30, 40, 40)
ON_LEFT, ON_RIGHT, NOWHERE = (0.2, 0.5), (0.8, 0.5), (0.5, 0.05)


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(app, ["eval", *map(str, arguments)], env={"COLUMNS": "200"})


def found(maps: Path, boxes: str | Path, **options: Any) -> Localisation:
    return evaluate_boxes(EvalOptions(str(maps), boxes=Path(boxes), **{"n_resamples": 200, "unseen": True} | options))


def texts(result: Localisation) -> str:
    return "\n".join(each.text for each in result.warnings)


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Boxes change sides from patient to patient, two films each. Effusion is found there, mass always on the left."""
    films = [
        film_maps(
            f"films/{i}.png",
            {"pleural effusion": ON_RIGHT if i // 2 % 2 else ON_LEFT, "mass": ON_LEFT, "edema": NOWHERE},
        )
        for i in range(N)
    ]
    return write_folder(tmp_path / "maps", films)


@pytest.fixture
def boxes(write: Any) -> str:
    rows = [
        (f"{i}.png", finding, *(RIGHT if i // 2 % 2 else LEFT), i // 2)
        for i in range(N)
        for finding in ("Effusion", "Mass")
    ]
    return write("boxes.csv", HEADER, rows)


def test_hits_baselines_and_verdicts_by_hand(maps: Path, boxes: str) -> None:
    result = found(maps, boxes)
    effusion, mass = result.labels
    assert (effusion.label, effusion.n_films, effusion.n_units, effusion.n_boxes) == ("pleural effusion", N, 12, N)
    assert effusion.hit_rate.value == 1
    assert mass.hit_rate.value == 0.5
    # Of 23 other films 11 have the box on this film's side and 12 on the other: the best point always misses.
    assert effusion.fixed_point_hit_rate.value == 0
    assert effusion.centre_hit_rate.value == 0
    assert effusion.mean_box_hit_rate.value == 0
    assert effusion.box_share.value == pytest.approx(0.2 * 0.4)
    assert (effusion.gain.value, mass.gain.value) == (1, 0.5)
    # Every film is a hit, so no resample varies: Wilson's interval for 12 of 12 patients, 2 p − 1 for the difference.
    assert effusion.hit_rate.low == pytest.approx(wilson(12, 12, 0.95).low)
    assert effusion.gain.low == pytest.approx(2 * wilson(12, 12, 0.95).low - 1)
    assert mass.hit_rate.low < 0.5 < mass.hit_rate.high
    # The map is round, the box 40 × 40 pixels, so a cut-off that gives the circle inside it has an IoU of about π / 4.
    assert effusion.miou.value > 0.6
    assert effusion.mean_box_miou.value == pytest.approx(0.0, abs=0.01)
    assert mass.miou.value == pytest.approx(effusion.miou.value / 2, rel=0.1)
    # A point that never moves hits half of them too, so the gain of `mass` over the weak point left out is no merit.
    assert mass.gain.low > 0
    assert (effusion.best_point_hit_rate, mass.best_point_hit_rate) == (0.5, 0.5)
    assert (effusion.verdict, mass.verdict) == ("validated", "not validated")
    assert result.mean is not None
    assert result.mean.labels == ("pleural effusion", "mass")
    assert result.mean.values["hit_rate"].value == 0.75
    assert 0.5 < result.mean.values["hit_rate"].low < 0.75 < result.mean.values["hit_rate"].high < 1


def test_maps_that_point_at_one_place_do_not_beat_the_best_fixed_point(tmp_path: Path, write: Any) -> None:
    films = [film_maps(f"{i}.png", {"mass": ON_LEFT}) for i in range(N)]
    # 18 of 24 are on the left: the best point of the others is there too, whichever film is left out.
    rows = [(f"{i}.png", "Mass", *(RIGHT if i % 4 == 0 else LEFT), i) for i in range(N)]
    (mass,) = found(write_folder(tmp_path / "maps", films), write("boxes.csv", HEADER, rows)).labels
    assert (mass.hit_rate.value, mass.fixed_point_hit_rate.value, mass.gain.value) == (0.75, 0.75, 0)
    assert mass.verdict == "not validated"


def test_a_whole_run_writes_three_files_and_says_what_is_not_validated(maps: Path, write: Any, tmp_path: Path) -> None:
    rows = [(f"{i}.png", finding, *LEFT, i // 2) for i in range(N) for finding in ("Effusion", "Mass")]
    boxes, out = write("boxes.csv", HEADER, rows), tmp_path / "out"
    result = invoke(maps, "--boxes", boxes, "--unseen", "--resamples", "200", "--out", out)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == ["location.csv", "location.html", "location.json"]
    assert "pleural effusion ← Effusion (built-in synonym of NIH)" in result.output
    assert "LOCATION NOT VALIDATED: pleural effusion and mass." in result.output
    assert "not a medical device" in result.output
    with (out / "location.csv").open(encoding="utf-8", newline="") as file:
        cells = list(csv.DictReader(file))
    hit = {row["label"]: row["value"] for row in cells if row["metric"] == "hit_rate"}
    assert hit == {"pleural effusion": "0.5", "mass": "1.0", "mean of 2": "0.75"}
    record = json.loads((out / "location.json").read_text(encoding="utf-8"))
    assert (record["schema"], record["schema_version"], record["method"]) == ("cxrzero.location", 1, "patch")
    assert record["model"] == {"fingerprint": "f" * 64}
    assert [label["verdict"] for label in record["labels"]] == ["not validated", "not validated"]
    page = (out / "location.html").read_text(encoding="utf-8")
    assert "location not validated" in page
    assert "Read this first" in page
    again = invoke(maps, "--boxes", boxes, "--out", out)
    assert again.exit_code == 2
    assert "exists already" in again.output


def test_the_same_seed_gives_the_same_numbers(maps: Path, boxes: str) -> None:
    assert found(maps, boxes).labels == found(maps, boxes).labels
    assert found(maps, boxes, seed=1).labels != found(maps, boxes).labels


def test_without_patients_each_film_is_its_own_and_that_is_said(maps: Path, write: Any) -> None:
    rows = [(f"{i}.png", "Mass", *LEFT) for i in range(N)]
    result = found(maps, write("boxes.csv", HEADER[:-1], rows))
    assert result.labels[0].n_units == N
    assert result.gathered.unit == "film"
    assert "No column names the patients, so each film counts as a patient of its own" in texts(result)


def test_several_boxes_of_a_finding_on_a_film_are_one_region(tmp_path: Path, write: Any) -> None:
    films = [film_maps("a.png", {"mass": ON_RIGHT}), film_maps("b.png", {"mass": NOWHERE})]
    rows = [
        ("a.png", "Mass", *LEFT, 1),
        ("a.png", "Mass", *RIGHT, 1),
        ("a.png", "Mass", *RIGHT, 1),
        ("b.png", "mass", *LEFT, 2),
    ]
    with pytest.raises(LabelError, match="'Mass' and 'mass'"):
        found(write_folder(tmp_path / "maps", films), write("boxes.csv", HEADER, rows))
    result = found(tmp_path / "maps", write("boxes.csv", HEADER, rows[:3]))
    assert (result.labels[0].n_films, result.labels[0].n_boxes, result.labels[0].hit_rate.value) == (1, 2, 1)
    assert result.labels[0].box_share.value == pytest.approx(0.16)
    assert "1 row repeats a box that is there already" in texts(result)
    assert result.labels[0].verdict == "too few"


def test_boxes_drawn_on_copies_of_another_size(maps: Path, boxes: str, write: Any, tmp_path: Path) -> None:
    with Path(boxes).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    # Squares of 1,000 pixels: x is five times, y ten times that of the films.
    larger = [[a, b, int(x) * 5, int(y) * 10, int(w) * 5, int(h) * 10, p] for a, b, x, y, w, h, p in rows]
    table = write("larger.csv", header, larger)
    assert found(maps, table, box_size=(1000, 1000)).labels == found(maps, boxes).labels
    with pytest.raises(ConfigError, match=r"48 of 48 boxes reach outside their films .* give --box-size WIDTHxHEIGHT"):
        found(maps, table)
    with pytest.raises(ConfigError, match="--box-size is not that of the films"):
        found(maps, table, box_size=(500, 500))


def test_single_boxes_that_reach_out_are_cut_off_or_left_out_and_said(maps: Path, write: Any) -> None:
    rows = [(f"{i}.png", "Mass", *LEFT, i) for i in range(22)]
    rows += [("22.png", "Mass", -20, 30, 80, 40, 22), ("23.png", "Mass", 300, 30, 40, 40, 23)]
    result = found(maps, write("boxes.csv", HEADER, rows))
    assert result.labels[0].n_films == 23
    assert "2 boxes reach outside their films, 1 wholly, and are left out (first: films/22.png, 200 × 100" in texts(
        result
    )
    # A box of the film's own width, and half a pixel more by rounding, is not outside.
    result = found(maps, write("boxes.csv", HEADER, [("0.png", "Mass", -0.5, 0, 201, 100, 0)]))
    assert "outside" not in texts(result)
    assert result.labels[0].box_share.value == 1


def test_findings_that_were_not_mapped_and_films_without_a_map_are_said(maps: Path, boxes: str, write: Any) -> None:
    rows = [("0.png", "Mass", *LEFT, 0), ("1.png", "Hernia", *LEFT, 0), ("x.png", "Mass", *LEFT, 9)]
    said = texts(found(maps, write("more.csv", HEADER, rows)))
    assert "Boxes of findings that were not mapped were left out: Hernia 1." in said
    assert "1 box is on films that have no map, and not evaluated (first: x.png)." in said
    assert "NOT EVALUATED: no box is of 'edema'." in said
    with pytest.raises(LabelError, match="no predicted label"):
        found(maps, write("none.csv", HEADER, rows[1:2]))
    with pytest.raises(ConfigError, match="maps and boxes"):
        found(maps, write("none.csv", HEADER, rows[2:]))


def test_a_name_of_several_films_is_no_ones(tmp_path: Path, write: Any) -> None:
    films = [film_maps(path, {"mass": ON_LEFT}) for path in ("one/a.png", "two/a.png", "one/b.png")]
    rows = [("a.png", "Mass", *LEFT, 1), ("a.png", "Mass", *RIGHT, 1), ("b.png", "Mass", *LEFT, 2)]
    result = found(write_folder(tmp_path / "maps", films), write("boxes.csv", HEADER, rows))
    assert result.labels[0].n_films == 1
    assert "2 boxes name their films by what stands for several films, and were not evaluated." in texts(result)


def test_published_tables_are_read_as_they_are(maps: Path, tmp_path: Path, write: Any) -> None:
    nih = tmp_path / "BBox_List_2017.csv"
    rows = "".join(f"{i}.png,Infiltrate,20.5,30,40,40,,,\n" for i in range(N))
    nih.write_text("\ufeffImage Index,Finding Label,Bbox [x,y,w,h],,,\n" + rows, encoding="utf-8")
    films = [film_maps(f"{i}.jpg", {"infiltration": ON_LEFT}) for i in range(N)]
    (infiltration,) = found(write_folder(tmp_path / "nih", films), nih).labels
    assert (infiltration.n_films, infiltration.hit_rate.value) == (N, 1)
    vindr = write(
        "vindr.csv",
        ("image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max"),
        [(i, "Pleural effusion", 10, "R1", 20, 30, 60, 70) for i in range(N)]
        + [(99, "No finding", 14, "R1", *[""] * 4)],
    )
    result = found(maps, vindr)
    assert result.labels[0].n_films == N
    assert "1 row has no coordinates: no box, and not evaluated." in texts(result)
    # Not a film's name: the number in the column of another table.
    with pytest.raises(ConfigError, match="has no column 'name'"):
        found(maps, vindr, patient="name")


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        (("image", "finding", "x", "y", "width"), ("0.png", "Mass", 1, 2, 3), "no columns for a box's size"),
        (("image", "x", "y", "width", "height"), ("0.png", 1, 2, 3, 4), "no column for the finding"),
        (("image", "finding", "y", "width", "height"), ("0.png", "Mass", 2, 3, 4), "a box's left edge"),
        (HEADER, ("0.png", "Mass", "NaN", 2, 3, 4, 1), "data row 1 has a box with a coordinate that is blank"),
        (HEADER, ("0.png", "Mass", "inf", 2, 3, 4, 1), "data row 1 has a box with a coordinate"),
        (HEADER, ("0.png", "Mass", "left", 2, 3, 4, 1), "'left' is not a number"),
        (HEADER, ("0.png", "Mass", 1, 2, 0, 4, 1), "data row 1 has a box without width or height"),
        (HEADER, ("0.png", "Mass", 1, 2, 3, -4, 1), "data row 1 has a box without width or height"),
        (HEADER, ("0.png", "Mass", "", "", "", "", 1), "no row has a box"),
    ],
)
def test_tables_that_are_none_of_boxes(
    maps: Path, write: Any, header: tuple[str, ...], row: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        found(maps, write("boxes.csv", header, [row]))


def test_films_of_several_patients_are_refused_and_nameless_ones_stand_alone(maps: Path, write: Any) -> None:
    rows = [("0.png", "Mass", *LEFT, 1), ("0.png", "Mass", *RIGHT, 2)]
    with pytest.raises(ConfigError, match=r"films/0\.png is of several patients by column 'patient'"):
        found(maps, write("boxes.csv", HEADER, rows))
    patients = ("", "", "5", "5")
    table = write("boxes.csv", HEADER, [(f"{i}.png", "Mass", *LEFT, patient) for i, patient in enumerate(patients)])
    assert found(maps, table).labels[0].n_units == 3


def test_maps_of_two_models_or_methods_or_twice_of_a_frame_are_refused(tmp_path: Path, boxes: str) -> None:
    one = film_maps("0.png", {"mass": ON_LEFT})
    for number, (other, words) in enumerate(
        {
            "model": (film_maps("1.png", {"mass": ON_LEFT}, fingerprint="a" * 64), "maps of different models"),
            "method": (film_maps("1.png", {"mass": ON_LEFT}, method="occlusion"), "maps of different methods"),
            "twice": (film_maps("0.png", {"mass": ON_LEFT}), "both of frame 1 of one film"),
        }.values()
    ):
        with pytest.raises(ConfigError, match=words):
            found(write_folder(tmp_path / str(number), [one, other]), boxes)


def test_folders_that_hold_no_maps(tmp_path: Path, boxes: str) -> None:
    with pytest.raises(NoInputError, match="no such folder"):
        found(tmp_path / "none", boxes)
    with pytest.raises(NoInputError, match="is a file"):
        found(Path(boxes), boxes)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    (pictures / "heatmaps.csv").write_text("path\n")
    with pytest.raises(ConfigError, match="run cxrzero heatmap with --format npz"):
        found(pictures, boxes)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "0.npz").write_bytes(b"PK")
    with pytest.raises(ConfigError, match=r"0\.npz is not a file of cxrzero heatmap"):
        found(damaged, boxes)


def test_boxes_say_on_which_of_several_frames_they_are(tmp_path: Path, write: Any) -> None:
    films = [film_maps("a.dcm", {"mass": at}, frame=n) for n, at in ((1, ON_LEFT), (2, ON_RIGHT))]
    folder = write_folder(tmp_path / "maps", [*films, film_maps("b.png", {"mass": ON_LEFT})])
    rows = [("a.dcm", "Mass", *RIGHT, 1, 2), ("b.png", "Mass", *LEFT, 2, "")]
    (mass,) = found(folder, write("boxes.csv", (*HEADER, "frame"), rows)).labels
    assert (mass.n_films, mass.hit_rate.value) == (2, 1)
    result = found(folder, write("boxes.csv", HEADER, [row[:-1] for row in rows]))
    assert result.labels[0].n_films == 1
    assert "1 box is on films of several frames, and no column 'frame' says on which" in texts(result)


def test_only_films_that_were_not_trained_on_are_judged_by(maps: Path, boxes: str, tmp_path: Path) -> None:
    unknown = found(maps, boxes, unseen=False)
    assert [each.verdict for each in unknown.labels] == ["unknown", "not validated"]
    assert "TRAINING UNKNOWN" in unknown.warnings[0].text
    assert found(maps, boxes).warnings[0].text.startswith("LOCATION NOT VALIDATED: mass.")

    # One of the two films of patient 0, under another suffix: both are seen, for it is one patient.
    listed = tmp_path / "trained.txt"
    listed.write_text("somewhere/else/0.jpg\nnot-here.png\n", encoding="utf-8")
    result = found(maps, boxes, unseen=False, seen=str(listed))
    assert [(each.label, each.training, each.n_films) for each in result.labels] == [
        ("pleural effusion", "not seen", N - 2),
        ("pleural effusion", "seen", 2),
        ("mass", "not seen", N - 2),
        ("mass", "seen", 2),
    ]
    assert [each.verdict for each in result.labels] == [
        "validated",
        "seen in training",
        "not validated",
        "seen in training",
    ]
    assert "SEEN IN TRAINING: pleural effusion and mass (4 maps)" in texts(result)
    assert result.mean is not None
    assert result.mean.training == "not seen"


def test_training_may_be_a_column_or_a_table_of_pairs(maps: Path, write: Any) -> None:
    rows = [(f"{i}.png", "Mass", *LEFT, i, "train" if i < 5 else "val") for i in range(N)]
    table = write("boxes.csv", (*HEADER, "split"), rows)
    pairs = write("pairs.csv", ("image", "text"), [(f"deep/{i}.png", "a mass") for i in range(5)])
    by_column = found(maps, table, unseen=False, seen="split").labels
    assert [each.n_films for each in by_column] == [N - 5, 5]
    assert found(maps, table, unseen=False, seen=pairs).labels == by_column
    with pytest.raises(
        NoInputError, match="--seen nothing: there is no such file, and the box table has no such column"
    ):
        found(maps, table, unseen=False, seen="nothing")
    with pytest.raises(ConfigError, match="column 'finding' has 'Mass'; --seen takes 1 and 0"):
        found(maps, table, unseen=False, seen="finding")
    with pytest.raises(ConfigError, match="has no column that names films"):
        found(maps, table, unseen=False, seen=write("texts.csv", ("text", "weight"), [("a mass", 1)]))


def test_sizes_are_two_numbers() -> None:
    assert read_size("1024x512") == (1024, 512)
    assert read_size(" 2022 × 2021 ") == (2022, 2021)
    for wrong in ("1024", "1024x", "0x3", "x", "1024x1024x3", "-1x5", "1e3x1e3", "9999999x1"):
        with pytest.raises(ConfigError, match="--box-size"):
            read_size(wrong)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("labels.csv", "--boxes", "b.csv"), "--boxes takes one folder of maps; leave labels.csv out"),
        (("--box-size", "10x10"), "--box-size is about boxes; give --boxes too"),
        (("--unseen", "labels.csv"), "--unseen is about boxes; give --boxes too"),
        (("--boxes", "b.csv", "--threshold", "0.5"), "--threshold says nothing about boxes"),
        (("--boxes", "b.csv", "--by", "sex"), "--by says nothing about boxes"),
        (("--boxes", "b.csv", "--seen", "c.txt", "--unseen"), "--seen and --unseen say two things"),
        (("--boxes", "b.csv", "--box-size", "10"), "write the films' width and height in pixels"),
        (("--boxes", "b.csv"), "b.csv: no such file"),
        ((), "name the table of reference labels after the predictions"),
    ],
)
def test_wrong_usage_is_said_before_anything_is_read(arguments: tuple[str, ...], words: str) -> None:
    result = invoke("maps", *arguments)
    assert result.exit_code == 2, result.output
    assert words in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_hostile_names_stay_text(tmp_path: Path, write: Any) -> None:
    name, label = 'x"><script>alert(1)</script>.png', "=mass<script>"
    films = [film_maps(name, {label: ON_LEFT})]
    out = tmp_path / "out"
    boxes = write("boxes.csv", HEADER, [(name, label, *LEFT, 1)])
    result = invoke(write_folder(tmp_path / "maps", films), "--boxes", boxes, "--unseen", "--out", out)
    assert result.exit_code == 0, result.output
    assert "<script>alert" not in (out / "location.html").read_text(encoding="utf-8")
    with (out / "location.csv").open(encoding="utf-8", newline="") as file:
        assert {row["label"] for row in csv.DictReader(file)} == {f"'{label}"}
