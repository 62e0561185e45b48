"""Label conventions and row matching."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrzero.errors import ConfigError, LabelError
from cxrzero.evaluate.join import join_rows
from cxrzero.evaluate.keys import stem, tail
from cxrzero.evaluate.match import match_labels, parse_mapping
from cxrzero.tables.labels import LabelRules, column_truth, listed_truth, split_findings
from cxrzero.tables.names import fold

HERE = Path("labels.csv")


def codes(cells: list[str], **rules: str) -> list[float | None]:
    values = column_truth([cells], ["x"], LabelRules(**rules), HERE).values  # type: ignore[arg-type]
    return [None if np.isnan(value) else float(value) for value in values]


def test_plain_columns() -> None:
    assert codes(["0", "1", "1.0", "true", "No", ""]) == [0, 1, 1, 1, 0, None]


def test_chexpert_columns() -> None:
    cells = ["1.0", "-1.0", "", "0.0"]
    assert codes(cells) == [1, None, 0, 0]
    assert codes(cells, uncertain="positive") == [1, 1, 0, 0]
    assert codes(cells, uncertain="negative", blank="ignore") == [1, 0, None, 0]


def test_blanks_in_a_column_that_never_says_0_are_negatives() -> None:
    assert codes(["1", "", ""]) == [1, 0, 0]
    assert column_truth([["1", ""]], ["x"], LabelRules(), HERE).blank_means == "negative"


def test_a_wrong_cell_is_named() -> None:
    with pytest.raises(ConfigError, match="label column 'x', data row 2: '2' is none of"):
        codes(["1", "2"])


def test_several_columns_are_positive_where_any_is() -> None:
    cells = [["1", "0", "0", ""], ["0", "0", "1", "0"]]
    found = column_truth(cells, ["a", "b"], LabelRules(blank="ignore"), HERE).values
    np.testing.assert_array_equal(found, [1, 0, 1, np.nan])


@pytest.mark.parametrize(
    ("cell", "findings"),
    [
        ("Mass|Pleural_Thickening", ("Mass", "Pleural_Thickening")),
        ("No Finding", ("No Finding",)),
        ("['pleural effusion', 'mass']", ("pleural effusion", "mass")),
        ("['loc right, basal']", ("loc right, basal",)),
        ("Edema, Pleural_Thickening", ("Edema", "Pleural_Thickening")),
        ("mass, left", ("mass, left",)),
        ("[]", ()),
        ("", ()),
    ],
)
def test_lists_of_findings(cell: str, findings: tuple[str, ...]) -> None:
    assert split_findings(cell) == findings


def test_listed_findings_by_exact_name_not_by_part() -> None:
    cells = ["Mass|Edema", "No Finding", "", "Edema of the leg"]
    found = listed_truth(cells, {"edema": ("Edema",), "any": ("Mass", "Edema of the leg")}, LabelRules())
    np.testing.assert_array_equal(found["edema"].values, [1, 0, np.nan, 0])
    np.testing.assert_array_equal(found["any"].values, [1, 0, np.nan, 1])
    assert found["edema"].n_blank == 1


def test_names_match_without_case_and_punctuation() -> None:
    match = match_labels(
        ["pleural effusion", "Cardio-megaly"], ["Pleural_Effusion", "CARDIOMEGALY", "Sex"], LabelRules()
    )
    assert match.names == {"pleural effusion": ("Pleural_Effusion",), "Cardio-megaly": ("CARDIOMEGALY",)}
    assert match.only_reference == ("Sex",)


def test_a_label_that_matches_none_is_reported_with_the_nearest() -> None:
    match = match_labels(["Edema", "Cardiomegalie"], ["Edema", "Cardiomegaly"], LabelRules())
    assert match.only_predicted == {"Cardiomegalie": "Cardiomegaly"}


def test_a_label_that_matches_two_is_refused() -> None:
    with pytest.raises(LabelError, match=r"fits 'Pleural Effusion' and 'pleural_effusion'.*--map"):
        match_labels(["pleural effusion"], ["Pleural Effusion", "pleural_effusion"], LabelRules())
    with pytest.raises(LabelError, match="are the same name"):
        match_labels(["Edema", "edema"], ["Edema"], LabelRules())


def test_explicit_maps() -> None:
    rules = LabelRules(parse_mapping(["Pneumonia = bacterial pneumonia | viral pneumonia"]))
    match = match_labels(["Pneumonia"], ["bacterial pneumonia", "viral pneumonia", "normal"], rules)
    assert match.names["Pneumonia"] == ("bacterial pneumonia", "viral pneumonia")
    with pytest.raises(LabelError, match="has no 'viral pneumonia'"):
        match_labels(["Pneumonia"], ["bacterial pneumonia"], rules)
    with pytest.raises(LabelError, match="is not a predicted label"):
        match_labels(["Edema"], ["bacterial pneumonia", "viral pneumonia"], rules)
    with pytest.raises(ConfigError, match="write 'predicted label=reference label'"):
        parse_mapping(["Pneumonia"])


def test_no_label_in_common_names_both_sides() -> None:
    with pytest.raises(LabelError, match=r"Edema.*Hernia.*--map"):
        match_labels(["Edema"], ["Hernia"], LabelRules())


@given(st.text())
def test_folding_is_stable(name: str) -> None:
    assert fold(fold(name)) == fold(name)


def pairs(predictions: list[str], references: list[str], **columns: str) -> list[tuple[int, int]]:
    joined = join_rows({columns.get("one", "path"): predictions}, {columns.get("other", "image"): references})
    return sorted(zip(joined.predictions.tolist(), joined.references[joined.target].tolist(), strict=True))


def test_paths_join_whole_by_tail_by_name_and_by_stem() -> None:
    assert pairs(["a/x.png", "b/x.png"], ["b/x.png", "a/x.png"]) == [(0, 1), (1, 0)]
    assert pairs(["/data/a/x.png", "/data/b/x.png"], ["b/x.png", "a/x.png"]) == [(0, 1), (1, 0)]
    assert pairs(["c:\\in\\x.png", "c:\\in\\y.png"], ["y.png", "x.png"]) == [(0, 1), (1, 0)]
    assert pairs(["in/x.dcm", "in/y.dcm"], ["y.jpg", "x.jpg"]) == [(0, 1), (1, 0)]


def test_row_order_is_never_used() -> None:
    with pytest.raises(ConfigError, match="no prediction matches"):
        pairs(["a.png", "b.png"], ["c.png", "d.png"])
    with pytest.raises(ConfigError, match="no identifier in common"):
        join_rows({}, {"image": ["a.png"]})


def test_mismatches_are_counted_with_examples() -> None:
    joined = join_rows({"path": ["a", "b", "b", "x"]}, {"image": ["a", "b", "c", "c", "d"]})
    report = joined.report
    assert (report.n_matched, report.n_only_predictions, report.n_only_references) == (1, 1, 3)
    assert report.examples["duplicate_predictions"] == ("b",)
    assert report.examples["duplicate_references"] == ("c",)
    assert joined.references.tolist() == [0]


def test_study_labels_take_all_images_of_a_study() -> None:
    paths = [f"CheXpert/test/patient{p}/study1/view{v}.jpg" for p in (1, 2) for v in (1, 2)]
    joined = join_rows({"path": paths}, {"Study": ["data/test/patient2/study1", "data/test/patient1/study1"]})
    assert joined.report.level == "study"
    assert joined.target.tolist() == [1, 1, 0, 0]
    by_uid = join_rows(
        {"path": paths, "study_instance_uid": ["1.2", "1.2", "1.3", "1.3"]}, {"StudyInstanceUID": ["1.3"]}
    )
    assert by_uid.predictions.tolist() == [2, 3]


def test_named_columns_win() -> None:
    predictions, references = {"path": ["a", "b"], "key": ["2", "1"]}, {"image": ["a", "b"], "nr": ["1", "2"]}
    joined = join_rows(predictions, references, on=("key", "nr"))
    assert joined.references[joined.target].tolist() == [1, 0]


def test_path_keys() -> None:
    assert tail(2)("./a\\b/c.png") == "b/c.png"
    assert stem("a/b.c.dcm") == "b.c"
    assert stem("a/.hidden") == ".hidden"
