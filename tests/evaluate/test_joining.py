"""Identifiers as they really are, and several rows of labels for one film: a wrong pair is never made."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrzero.errors import ConfigError
from cxrzero.evaluate.join import Join, join_rows
from cxrzero.evaluate.keys import bare, is_in_powers, number, number_after_letters, stem
from cxrzero.evaluate.options import EvalOptions
from cxrzero.evaluate.outputs import metrics_json
from cxrzero.evaluate.run import evaluate


def pairs(joined: Join) -> list[tuple[int, int]]:
    return sorted(zip(joined.predictions.tolist(), joined.references[joined.target].tolist(), strict=True))


def by(one: str, predictions: Sequence[str], other: str, references: Sequence[str], **how: Any) -> Join:
    return join_rows({one: list(predictions)}, {other: list(references)}, **how)


@pytest.mark.parametrize(
    ("cell", "name"),
    [
        ("a/1.2.3.100.dcm", "1.2.3.100"),
        ("1.2.3.100", "1.2.3.100"),
        ("x.DCM", "x"),
        ("x.jpeg", "x"),
        ("x.nii.gz", "x"),
        ("x.dcm.png", "x"),
        ("x.v2.png", "x.v2"),
        ("CHNCXR_0001_0.txt", "CHNCXR_0001_0"),
        (".png", ".png"),
    ],
)
def test_only_suffixes_of_pictures_are_taken_off(cell: str, name: str) -> None:
    assert stem(cell) == name


def test_the_last_part_of_a_uid_is_no_suffix() -> None:
    joined = by("path", ["1.2.3.100.dcm", "1.2.3.101.dcm"], "image", ["1.2.3.101", "1.2.3.100.7"])
    assert pairs(joined) == [(1, 0)]
    with pytest.raises(ConfigError, match="no prediction matches"):
        by("path", ["1.2.3.100.dcm"], "image", ["1.2.3.100.7"])
    uids = by("path", ["in/1.2.7.dcm", "in/1.2.8.dcm"], "SOPInstanceUID", ["1.2.8", "1.2.7"])
    assert pairs(uids) == [(0, 1), (1, 0)]


@pytest.mark.parametrize(
    ("one", "prediction", "other", "reference"),
    [
        ("path", "files/p10/p10000032/s50410000/a.dcm", "study_id", "50410000"),
        ("path", "files/p10/p10000032/s50410000/a.dcm", "study_id", "50410000.0"),
        ("path", "files/50410000/a.dcm", "study_id", "s50410000"),
        ("path", "s50410000.png", "study_id", "50410000"),
        ("study_id", "s50410000", "study_id", "50410000"),
    ],
)
def test_letters_before_a_study_s_number(one: str, prediction: str, other: str, reference: str) -> None:
    others = [prediction.replace("5041", "5099"), prediction]
    joined = by(one, others, other, [reference, reference.replace("5041", "5055")])
    assert pairs(joined) == [(1, 0)]
    assert joined.report.level == "study"


def test_a_patient_s_folder_is_joined_where_it_is_named() -> None:
    paths = [f"files/p10/p1000003{k}/s5041000{k}/a.dcm" for k in (2, 3)]
    joined = by("path", paths, "subject_id", ["10000033", "10000032"], on=("path", "subject_id"))
    assert pairs(joined) == [(0, 1), (1, 0)]


def test_numbers_with_letters() -> None:
    assert [number(cell) for cell in ("50410000", "50410000.0", "s5041", "123")] == ["50410000", "50410000", "", ""]
    letters = [number_after_letters(cell) for cell in ("s50410000", "study1", "p1a5041")]
    assert letters == ["50410000", "", ""]
    assert bare("p10000032") == bare("10000032") == bare("0010000032")
    assert is_in_powers("1.23E+15")
    assert is_in_powers("1,23e+15")
    assert not any(map(is_in_powers, ("1e5", "7E12", "1.23", "12e+5.png")))


def test_identifiers_that_a_spreadsheet_destroyed_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"1\.23E\+15.*data row 2.*export the column as text"):
        by("path", ["1230000000000001.png", "a.png"], "image", ["a.png", "1.23E+15"])


def test_zeros_and_case_are_said_and_never_guessed() -> None:
    joined = by("path", ["00012.png", "00345.png", "b.png"], "image", ["12", "345", "b"])
    assert pairs(joined) == [(2, 2)]
    assert any("zeros in front" in hint and hint.startswith("2 ") for hint in joined.report.hints)
    with pytest.raises(ConfigError, match="1 more identifier would match if upper and lower case were the same"):
        by("path", ["IMG_A.PNG"], "image", ["img_a.png"])
    assert by("path", ["a.png"], "image", ["a.png"]).report.hints == ()


def test_case_is_said_of_files_in_folders_and_zeros_of_no_equal_names() -> None:
    with pytest.raises(ConfigError, match=r"2 more identifiers would match if upper and lower case were the same$"):
        by("path", ["d/Film_1.png", "d/Film_2.png"], "image", ["film_1.PNG", "film_2.PNG"])


def test_rows_that_are_there_twice_are_the_reason_where_nothing_is_joined() -> None:
    """Two runs in one table: what matches is not unique, and nobody is sent after zeros in front."""
    with pytest.raises(ConfigError, match=r"by path = image \(file name\).*'01.png', occurs more than once") as caught:
        by("path", ["d/01.png", "d/02.png", "d/01.png", "d/02.png"], "image", ["01.png", "02.png"])
    assert "zeros" not in str(caught.value)


def test_a_uid_that_is_called_an_image() -> None:
    predictions = {"path": ["in/IM1", "in/IM2"], "sop_instance_uid": ["1.2.3.1", "1.2.3.2"]}
    joined = join_rows(predictions, {"image_id": ["1.2.3.2.dcm", "1.2.3.1"]})
    assert pairs(joined) == [(0, 1), (1, 0)]


def test_one_file_name_in_two_folders_is_two_films() -> None:
    joined = by("path", ["in/x.png", "in/y.png"], "image", ["p1/x.png", "p2/x.png", "p3/y.png"])
    assert pairs(joined) == [(1, 2)]
    assert joined.report.examples["duplicate_references"] == ("x.png",)


def test_one_folder_name_of_two_patients_is_two_studies() -> None:
    paths = [f"patient{k}/study1/view{v}.jpg" for k in range(2) for v in range(2)]
    with pytest.raises(ConfigError, match="'study1', occurs more than once in the predictions, or means several"):
        by("path", paths, "Study", ["study1", "study2"])
    both = by("path", paths, "Study", ["patient1/study1", "patient0/study1"])
    assert pairs(both) == [(0, 1), (1, 1), (2, 0), (3, 0)]
    one = by("path", ["frontal/s50410000/a.png", "lateral/s50410000/b.png"], "study_id", ["s50410000"])
    assert pairs(one) == [(0, 0), (1, 0)]


def test_windows_paths_blanks_and_order() -> None:
    joined = by("path", ["C:\\in\\b.png ", "C:\\in\\a.png"], "image", [" a.png", "b.png"])
    assert pairs(joined) == [(0, 1), (1, 0)]


def test_frames_of_a_film_are_one() -> None:
    paths, frames = ["a.dcm", "a.dcm", "b.dcm", "b.dcm"], ["1", "2", "1", "1"]
    joined = by("path", paths, "image", ["a", "b"], frames=frames)
    assert pairs(joined) == [(0, 0), (1, 0)]
    assert joined.report.n_several == 1
    assert joined.report.examples["duplicate_predictions"] == ("b",)


def test_studies_that_are_probably_several(tmp_path: Path) -> None:
    """Seven loose films in a folder are more than a study has, five are not; two UIDs in a folder are two studies."""
    folders = {
        "f_loose": [""] * 7,
        "f_five": [""] * 5,
        "f_two": ["2.25.1", "2.25.2"],
        "f_one": ["2.25.3", "2.25.3", ""],
    }
    paths = [f"in/{folder}/{n}.png" for folder, uids in folders.items() for n in range(len(uids))]
    uids = [uid for each in folders.values() for uid in each]
    joined = join_rows({"path": paths, "study_instance_uid": uids}, {"study_id": list(folders)})
    assert (joined.report.level, joined.report.n_matched, joined.report.n_several) == ("study", 4, 4)
    assert (joined.report.n_crowded, joined.report.n_mixed) == (1, 1)
    rows = "".join(f"{path},{uid},ok,0.{n}\n" for n, (path, uid) in enumerate(zip(paths, uids, strict=True)))
    (tmp_path / "p.csv").write_text(f"path,study_instance_uid,status,Edema\n{rows}")
    labels = "".join(f"{name},{n % 2}\n" for n, name in enumerate(folders))
    (tmp_path / "l.csv").write_text(f"study_id,Edema\n{labels}")
    loud = [caveat.text for caveat in run(str(tmp_path / "p.csv"), str(tmp_path / "l.csv")).warnings if caveat.is_loud]
    assert any(text.startswith("1 study has more than 5 images") for text in loud)
    assert any(text.startswith("1 row of labels was joined with images of different Study") for text in loud)


def run(predictions: str, labels: str, **options: Any) -> Any:
    return evaluate(EvalOptions(predictions, labels, n_resamples=0, **options))


def truth(found: Any, label: str = "Edema") -> list[float | None]:
    return [None if np.isnan(value) else float(value) for value in found.dataset.truth[label].values]


@pytest.fixture
def predictions(write: Any) -> str:
    path: str = write("p.csv", ["path", "Edema"], [[f"in/{name}.png", 0.1 * i] for i, name in enumerate("abcdef")])
    return path


def test_boxes_of_a_film_count_once(write: Any) -> None:
    """RSNA: a row per box, and the patient's number is the file's name."""
    predictions = write("p.csv", ["path", "Target"], [[f"in/{name}.dcm", 0.1 * i] for i, name in enumerate("abcd")])
    boxes = [
        ["a", "", "", "", "", 0],
        *[["b", 1 + k, 2, 3, 4, 1] for k in range(3)],
        ["c", 5, 6, 7, 8, 1],
        ["d", *[""] * 4, 0],
    ]
    labels = write("l.csv", ["patientId", "x", "y", "width", "height", "Target"], boxes)
    found = run(predictions, labels)
    assert truth(found, "Target") == [0, 1, 1, 0]
    assert found.dataset.join.n_matched_rows == 6
    assert "1 film has several rows of labels, which agree and count once." in [each.text for each in found.warnings]
    assert json.loads(metrics_json(found))["repeated_labels"]["n_films"] == 1


READERS = {"a": (1, 1, 1), "b": (0, 1, 0), "c": (1, 0, 1), "d": (0, 0, 0), "e": (1, 0), "f": ("", 1)}


@pytest.fixture
def readers(write: Any) -> str:
    rows = [[name, f"R{k}", value] for name, values in READERS.items() for k, value in enumerate(values)]
    path: str = write("l.csv", ["image_id", "rad_id", "Edema"], rows)
    return path


@pytest.mark.parametrize(
    ("how", "expected", "words"),
    [
        ("any", [1, 1, 1, 0, 1, 1], "positive where one row is (--aggregate-labels any"),
        ("majority", [1, 0, 1, 0, None, 1], "more than half of the rows are, and left out where it is half"),
        ("mean", [1, 0, 1, 0, 1, 1], "at least half of the rows are"),
    ],
)
def test_readers_who_differ(predictions: str, readers: str, how: Any, expected: list[float | None], words: str) -> None:
    found = run(predictions, readers, aggregate_labels=how)
    assert truth(found) == expected
    (said,) = [each.text for each in found.warnings if "several rows of labels" in each.text]
    assert words in said
    assert "ties: Edema 1" in said
    record = json.loads(metrics_json(found))
    assert record["config"]["aggregate_labels"] == how
    assert record["repeated_labels"] == {
        "n_films": 6, "how": how, "n_differing": {"Edema": 3}, "n_ties": {"Edema": 1}
    }  # fmt: skip


def test_readers_who_differ_are_an_error_that_says_why(predictions: str, readers: str) -> None:
    words = (
        r"l\.csv: films have several rows, one per reader \(column 'rad_id'\), and in 3 of them the rows differ in "
        r"'Edema', first in data rows 4 and 5 \(b\); .*--aggregate-labels any .*majority .*mean"
    )
    with pytest.raises(ConfigError, match=words):
        run(predictions, readers)


def test_boxes_that_differ_say_so(write: Any, predictions: str) -> None:
    rows = [["a", 1, "Edema"], ["a", 2, "Mass"], ["b", 3, "Mass"]]
    labels = write("l.csv", ["image_id", "x_min", "class_name"], rows)
    with pytest.raises(ConfigError, match="one per box"):
        run(predictions, labels, list_column="class_name")
    assert truth(run(predictions, labels, list_column="class_name", aggregate_labels="any")) == [1, 0]


def test_rows_of_a_study_s_images_that_agree_are_one(write: Any) -> None:
    predictions = write("p.csv", ["path", "Edema"], [[f"s{s}/v{v}.png", s / 10] for s in range(4) for v in range(2)])
    labels = write("l.csv", ["study", "Edema"], [[f"s{s}", s % 2] for s in range(4) for _ in range(3)])
    found = run(predictions, labels)
    assert truth(found) == [0, 1, 0, 1]
    assert any("4 studies have several images: the mean" in each.text for each in found.warnings)


def test_a_table_is_not_evaluated_against_itself(write: Any, tmp_path: Path) -> None:
    """Its labels of 0 and 1 would be predictions without an error: AUROC 1."""
    labels = write("l.csv", ["image", "Edema"], [[f"{i}.png", i % 2] for i in range(6)])
    (tmp_path / "same.csv").hardlink_to(labels)
    for other in (labels, str(tmp_path / "same.csv")):
        with pytest.raises(ConfigError, match="given as predictions and as labels"):
            run(other, labels)


def test_one_row_per_study_is_no_mean_of_several(write: Any) -> None:
    predictions = write("p.csv", ["study_instance_uid", "Edema"], [[f"1.{s}", s / 10] for s in range(6)])
    labels = write("l.csv", ["StudyInstanceUID", "Edema"], [[f"1.{s}", s % 2] for s in range(6)])
    found = run(predictions, labels)
    assert found.dataset.join.level == "study"
    assert not any("mean" in each.text or "several" in each.text for each in found.warnings)
    assert "several" not in found.dataset.join.key


def test_a_long_table_is_told(write: Any) -> None:
    header = ["path", "status", "label", "probability"]
    labels = write("l.csv", ["image", "Edema"], [["a", 1]])
    with pytest.raises(ConfigError, match="a table of --long"):
        run(write("p.csv", header, [["a.png", "ok", "Edema", 0.5]]), labels)


def test_labels_that_match_nothing_are_loud(write: Any, predictions: str) -> None:
    labels = write("l.csv", ["image", "Edema"], [["a", 1], ["b", 0], ["y", 1], ["z", 0]])
    loud = [each.text for each in run(predictions, labels).warnings if each.is_loud]
    assert "2 rows are in the labels only and were not evaluated." in loud


def test_patients_with_and_without_letters_are_the_same(write: Any) -> None:
    def tables(name: str, patient: str) -> tuple[str, str]:
        scores = [[f"{name}{i}", i % 2 / 2 + i / 100] for i in range(30)]
        labels = [[f"{name}{i}", patient.format(10000000 + i), i % 2] for i in range(30)]
        predictions = write(f"{name}.csv", ["path", "Edema"], scores)
        return predictions, write(f"{name}_l.csv", ["image", "subject_id", "Edema"], labels)

    found = run(*tables("test", "p{}"), validation=tables("val", "{}"))
    assert len(found.shared_units) == 30
