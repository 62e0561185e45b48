"""Which label is which column: built-in synonyms, and that nothing is dropped without a word."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.errors import ConfigError, LabelError
from cxrzero.evaluate.caveats import map_option
from cxrzero.evaluate.match import match_labels, nearest
from cxrzero.evaluate.options import EvalOptions
from cxrzero.evaluate.outputs import metrics_csv, metrics_json
from cxrzero.evaluate.run import evaluate
from cxrzero.tables.labels import LabelRules

FILMS = [f"f{i:02}.png" for i in range(40)]
TRUTH = [int(i % 3 == 0) for i in range(40)]
SCORES = [0.1 + 0.4 * t + (i % 7) / 20 for i, t in enumerate(TRUTH)]


def run(predictions: str, labels: str, **options: Any) -> Any:
    return evaluate(EvalOptions(predictions, labels, n_resamples=0, **options))


def predicted(write: Any, *labels: str, name: str = "p.csv") -> str:
    path: str = write(name, ["path", *labels], [[f, *([s] * len(labels))] for f, s in zip(FILMS, SCORES, strict=True)])
    return path


def listed(write: Any, positive: str) -> str:
    """NIH's own label file."""
    cells = [positive if t else "No Finding" for t in TRUTH]
    path: str = write("l.csv", ["Image Index", "Finding Labels"], list(zip(FILMS, cells, strict=True)))
    return path


def warned(found: Any, loud: bool) -> str:
    return "\n".join(each.text for each in found.warnings if each.is_loud is loud)


def test_nih_s_own_file_has_pleural_effusion(write: Any) -> None:
    by_name = run(predicted(write, "Effusion"), listed(write, "Effusion"))
    found = run(predicted(write, "pleural effusion", "tuberculosis"), listed(write, "Effusion"))
    assert found.scores[0].label == "pleural effusion"
    assert found.scores[0].reference == ("Effusion",)
    assert found.macro.auroc == by_name.macro.auroc
    assert found.dataset.match.synonyms == {"pleural effusion": "pleural effusion ← Effusion (built-in synonym of NIH)"}
    assert "NOT EVALUATED: tuberculosis. The label table has no column of that name" in warned(found, loud=True)
    assert '--map "tuberculosis=COLUMN"' in warned(found, loud=True)
    record = json.loads(metrics_json(found))
    assert record["label_match"]["synonyms"]["pleural effusion"].endswith("(built-in synonym of NIH)")
    assert record["label_match"]["only_predicted"] == {"tuberculosis": ""}
    assert any(text.startswith("NOT EVALUATED: tuberculosis") for text in record["warnings"])


def test_it_is_said_on_both_streams(write: Any, tmp_path: Path) -> None:
    tables = [predicted(write, "pleural effusion", "tuberculosis"), listed(write, "Effusion")]
    result = CliRunner().invoke(app, ["eval", *tables, "--resamples", "0"], env={"COLUMNS": "100"})
    assert result.exit_code == 0
    assert "pleural effusion ← Effusion (built-in synonym of NIH)" in result.stdout
    for stream in (result.stdout, result.stderr):
        assert "NOT EVALUATED: tuberculosis" in stream


def test_a_column_of_nearly_that_name_is_proposed_with_the_map_to_type(write: Any) -> None:
    labels = write("l.csv", ["image", "Cardiomegaly", "Edema"], list(zip(FILMS, TRUTH, TRUTH, strict=True)))
    found = run(predicted(write, "cardiomegalie", "edema"), labels)
    assert '--map "cardiomegalie=Cardiomegaly"' in warned(found, loud=True)
    mapped = run(predicted(write, "cardiomegalie", "edema"), labels, mapping=("cardiomegalie=Cardiomegaly",))
    assert [s.label for s in mapped.scores] == ["cardiomegalie", "edema"]
    assert "NOT EVALUATED" not in warned(mapped, loud=True)


@pytest.mark.skipif(os.name == "nt", reason="shells of Unix")
@pytest.mark.parametrize(
    "label", ["mass, left", 'so-called "mass"', "mass > 3 cm", "cost $5", "it's", "what?!", "back`tick`", "a\\b"]
)
def test_the_map_to_type_is_one_word_of_a_shell(label: str) -> None:
    for shell in ("sh", "bash"):
        typed = f"printf '%s' {map_option(label, 'A|B').removeprefix('--map ')}"
        said = subprocess.run([shell, "-c", typed], capture_output=True, check=True, text=True)
        assert said.stdout == f"{label}=A|B"


def test_another_finding_is_never_proposed() -> None:
    assert nearest("pneumonia", ["Pneumothorax", "Edema"]) == ""
    assert nearest("emphysema", ["subcutaneous emphysema"]) == ""
    assert nearest("Cardiomegalie", ["Edema", "Cardiomegaly"]) == "Cardiomegaly"


def test_two_columns_of_one_finding_ask_for_a_map() -> None:
    words = r'fits \'Effusion\' and \'derrame pleural\'.*--map "pleural effusion=Effusion"'
    with pytest.raises(LabelError, match=words):
        match_labels(["pleural effusion"], ["Effusion", "derrame pleural"], LabelRules())
    rules = LabelRules({"pleural effusion": ("Effusion", "derrame pleural")})
    match = match_labels(["pleural effusion"], ["Effusion", "derrame pleural"], rules)
    assert match.names["pleural effusion"] == ("Effusion", "derrame pleural")


def test_a_column_of_that_very_name_wins_and_the_other_is_said(write: Any) -> None:
    rows = list(zip(FILMS, TRUTH, [0] * 40, strict=True))
    found = run(predicted(write, "Pleural effusion"), write("l.csv", ["image", "Pleural_Effusion", "Effusion"], rows))
    assert found.scores[0].reference == ("Pleural_Effusion",)
    assert "'Effusion' in the labels means 'Pleural effusion' too" in warned(found, loud=False)


def test_a_column_belongs_to_one_label(write: Any) -> None:
    match = match_labels(["pleural effusion", "Effusion"], ["Effusion"], LabelRules())
    assert match.names == {"Effusion": ("Effusion",)}
    assert match.only_predicted == {"pleural effusion": "Effusion"}
    both = match_labels(["pleural effusion", "pleural effusions", "Edema"], ["Effusion", "Edema"], LabelRules())
    assert both.names == {"Edema": ("Edema",)}
    assert both.only_predicted == {"pleural effusion": "Effusion", "pleural effusions": "Effusion"}


def test_findings_of_the_table_that_were_not_predicted_are_stated_and_other_columns_are_not(write: Any) -> None:
    header = ["image", "Age", "Sex", "Edema", "Hernia", "Mass"]
    rows = [[f, 40 + i, "MF"[i % 2], t, 1 - t, 0] for i, (f, t) in enumerate(zip(FILMS, TRUTH, strict=True))]
    found = run(predicted(write, "edema"), write("l.csv", header, rows))
    assert "The label table has findings that were not predicted: Hernia." in warned(found, loud=False)


def test_other_columns_of_a_foreign_prediction_table_are_no_labels(write: Any) -> None:
    rows = [[i, f, "PA", 50 + i, s, s] for i, (f, s) in enumerate(zip(FILMS, SCORES, strict=True))]
    predictions = write("p.csv", ["", "image", "view", "age", "Edema", "Hernia"], rows)
    labels = write(
        "l.csv",
        ["Unnamed: 0", "image", "Edema"],
        [[i, f, t] for i, (f, t) in enumerate(zip(FILMS, TRUTH, strict=True))],
    )
    found = run(predictions, labels)
    assert found.dataset.match.only_predicted == {"Hernia": ""}
    assert found.dataset.match.only_reference == ()


def test_the_study_table_has_labels_and_nothing_else(write: Any) -> None:
    fixed = ["study", "study_instance_uid", "images_used", "images_left_out", "left_out_reasons"]
    rows = [[f"1.{i}", f"1.{i}", 2, 0, "", s] for i, s in enumerate(SCORES)]
    labels = write("l.csv", ["StudyInstanceUID", "Edema"], [[f"1.{i}", t] for i, t in enumerate(TRUTH)])
    found = run(write("p.studies.csv", [*fixed, "edema"], rows), labels)
    assert found.dataset.match.only_predicted == {}
    assert not any("several images" in each.text for each in found.warnings)
    assert "several images" not in found.dataset.join.key


def test_swapped_tables_are_noticed(write: Any, tmp_path: Path) -> None:
    predictions = predicted(write, "Edema")
    columns = write("l.csv", ["image", "Edema"], list(zip(FILMS, TRUTH, strict=True)))
    for labels in (columns, listed(write, "Edema")):
        with pytest.raises((ConfigError, LabelError), match="Are predictions and labels swapped"):
            run(labels, predictions)
    with pytest.raises(ConfigError, match=r"is a folder.*are predictions and labels swapped"):
        run(columns, str(tmp_path))
    with pytest.raises(LabelError) as plain:
        run(predictions, write("m.csv", ["image", "Hernia"], list(zip(FILMS, TRUTH, strict=True))))
    assert "swapped" not in str(plain.value)


def test_what_other_tables_lack_is_said(write: Any) -> None:
    labels = write("l.csv", ["image", "Edema", "Mass"], list(zip(FILMS, TRUTH, TRUTH, strict=True)))
    both, one = predicted(write, "Edema", "Mass"), predicted(write, "Edema", name="other.csv")
    assert "other has no column for Mass, so that was not compared." in warned(
        run(both, labels, compare=(one,)), loud=True
    )
    lone = write("v.csv", ["image", "Edema"], list(zip(FILMS, TRUTH, strict=True)))
    found = run(both, labels, validation=(both, lone))
    assert "The validation table has no labels for Mass, so no threshold was chosen." in warned(found, loud=True)


def test_a_label_called_macro_is_not_the_average(write: Any) -> None:
    labels = write("l.csv", ["image", "macro", "Mass"], list(zip(FILMS, TRUTH, TRUTH[1:] + TRUTH[:1], strict=True)))
    tables = predicted(write, "macro", "Mass"), labels
    found = run(*tables, threshold=0.5, compare=(predicted(write, "macro", "Mass", name="other.csv"),))
    rows = [line.split(",") for line in metrics_csv(found).splitlines()]
    aurocs = {row[0]: float(row[3]) for row in rows if row[2] == "auroc"}
    assert set(aurocs) == {"macro", "Mass", "macro average"}
    assert aurocs["macro average"] == pytest.approx((aurocs["macro"] + aurocs["Mass"]) / 2)
    assert found.macro_point.sensitivity.value != found.points["macro"].sensitivity.value
    assert [each.label for each in found.comparisons if each.is_average] == ["macro average"]
    plain = run(predicted(write, "Mass"), labels)
    assert sorted({line.split(",")[0] for line in metrics_csv(plain).splitlines()[1:]}, reverse=True) == [
        "macro",
        "Mass",
    ]


def test_groups_are_ordered_by_what_they_are(write: Any) -> None:
    names = ["underweight 20", "5 to 9", "under 5", "not stated", "", "10 and over"]
    cells = [names[i % 6] for i in range(40)]
    labels = write("l.csv", ["image", "Edema", "band"], list(zip(FILMS, TRUTH, cells, strict=True)))
    (groups,) = run(predicted(write, "Edema"), labels, by=("band",)).subgroups
    assert [(each.name, each.is_stated) for each in groups.groups] == [
        ("under 5", True),
        ("5 to 9", True),
        ("10 and over", True),
        ("underweight 20", True),
        ("not stated", False),
    ]
    assert groups.groups[-1].n == cells.count("") + cells.count("not stated")
