"""Whole evaluations on drawn tables."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrzero.calibration.file import write_calibration
from cxrzero.errors import ConfigError, LabelError
from cxrzero.evaluate.options import EvalOptions
from cxrzero.evaluate.outputs import metrics_csv, metrics_json
from cxrzero.evaluate.run import evaluate
from cxrzero.evaluate.subgroups import age_band
from tests.support.needs import optional

sk = optional("sklearn.metrics")

FAST = {"n_resamples": 200}


def run(predictions: str, labels: str, **options: Any) -> Any:
    return evaluate(EvalOptions(predictions, labels, **{**FAST, **options}))


def test_auroc_per_label_and_macro(study: Any) -> None:
    found = run(study.predictions, study.labels)
    assert [s.label for s in found.scores] == list(study.LABELS)
    expected = [sk.roc_auc_score(study.truth[study.scored, k], study.scores[study.scored, k]) for k in range(3)]
    assert [s.ranks.auroc.value for s in found.scores] == pytest.approx(expected, abs=1e-12)
    assert found.macro.auroc.value == pytest.approx(np.mean(expected), abs=1e-12)
    assert found.dataset.unit_name == "patient (Patient ID)"
    assert found.points == {}


def test_failed_rows_are_counted_with_their_positives(study: Any) -> None:
    found = run(study.predictions, study.labels)
    lost = ~study.scored
    assert found.dataset.rows.n_by_status == {"failed": int(lost.sum()), "ok": int(study.scored.sum())}
    assert found.dataset.rows.n_unscored == lost.sum()
    assert list(found.dataset.rows.unscored_positives.values()) == study.truth[lost].sum(axis=0).tolist()
    assert any("have no score" in warning.text for warning in found.warnings)


def test_both_protocols_side_by_side(study: Any) -> None:
    found = run(study.predictions, study.labels)
    first = found.scores[0]
    assert first.pair.auroc.value == pytest.approx(first.ranks.auroc.value, abs=1e-12)
    assert first.positive_only is not None


def test_thresholds_come_from_the_validation_table(study: Any, validation: Any) -> None:
    found = run(study.predictions, study.labels, validation=(validation.predictions, validation.labels))
    for k, label in enumerate(study.LABELS):
        scores, truth = validation.scores[validation.scored, k], validation.truth[validation.scored, k]
        best = max(scores, key=lambda cut: sk.matthews_corrcoef(truth, scores >= cut))
        assert found.points[label].threshold.achieved == pytest.approx(sk.matthews_corrcoef(truth, scores >= best))
        called = study.scores[study.scored, k] >= found.points[label].threshold.value
        truth = study.truth[study.scored, k]
        assert found.points[label].mcc.value == pytest.approx(sk.matthews_corrcoef(truth, called), abs=1e-12)
        assert found.points[label].f1.value == pytest.approx(sk.f1_score(truth, called), abs=1e-12)
    assert found.shared_units == ()
    assert all(quality.brier_after < quality.brier for quality in found.quality)


def test_patients_in_both_tables_are_reported(study: Any) -> None:
    found = run(study.predictions, study.labels, validation=(study.predictions, study.labels))
    assert len(found.shared_units) == 150
    assert any("in both the validation and the test table" in warning.text for warning in found.warnings)


def test_in_sample_is_loud(study: Any) -> None:
    found = run(study.predictions, study.labels, in_sample=True)
    assert found.warnings[0].is_loud
    assert found.warnings[0].text.startswith("IN SAMPLE")
    assert found.calibration.in_sample


def test_thresholds_have_one_source(study: Any) -> None:
    with pytest.raises(ConfigError, match="--in-sample and --threshold"):
        run(study.predictions, study.labels, in_sample=True, threshold=0.5)
    with pytest.raises(ConfigError, match="--reader"):
        run(study.predictions, study.labels, readers=study.readers)


def test_readers(study: Any, validation: Any) -> None:
    options = {"validation": (validation.predictions, validation.labels), "readers": study.readers}
    found = run(study.predictions, study.labels, **options)
    assert [each.label for each in found.readers] == ["Edema", "Pleural Effusion", "macro"]
    edema = found.readers[0]
    assert edema.n == study.scored.sum()
    assert edema.mean_reader["mcc"].value == pytest.approx(
        np.mean([metrics["mcc"].value for metrics in edema.readers.values()])
    )
    with open(study.readers[0], encoding="utf-8") as stream:
        decisions = np.array([row[1] for row in list(csv.reader(stream))[1:]], dtype=int)
    expected = sk.matthews_corrcoef(study.truth[study.scored, 0], decisions[study.scored])
    assert edema.readers["test_reader0"]["mcc"].value == pytest.approx(expected, abs=1e-12)
    gap = edema.differences["mcc"]
    assert gap.estimate.low < gap.estimate.value < gap.estimate.high
    assert gap.estimate.value == pytest.approx(edema.model["mcc"].value - edema.mean_reader["mcc"].value)
    assert gap.p <= gap.p_holm <= 1
    assert found.readers[2].model["mcc"].value == pytest.approx(
        np.mean([each.model["mcc"].value for each in found.readers[:2]])
    )


def test_a_reader_with_probabilities_is_refused(study: Any) -> None:
    with pytest.raises(ConfigError, match="something other than 0 and 1"):
        run(study.predictions, study.labels, threshold=0.5, readers=(study.predictions,))


def test_a_table_against_itself_does_not_differ(study: Any, tmp_path: Path) -> None:
    copy = tmp_path / "copy.csv"
    copy.write_text(Path(study.predictions).read_text(encoding="utf-8"))
    found = run(study.predictions, study.labels, compare=(str(copy),))
    assert [each.label for each in found.comparisons] == [*study.LABELS, "macro"]
    for each in found.comparisons:
        assert each.auroc.analytic.value == 0
        assert each.auroc.p == 1


def test_a_worse_table_is_worse_by_delong_and_bootstrap(study: Any, write: Any) -> None:
    rng = np.random.default_rng(3)
    noise = np.clip(study.scores + rng.normal(size=study.scores.shape) * 0.3, 0, 1)
    rows = [[f"p{i}.png", *noise[i]] for i in range(study.n)]
    other = write("other.csv", ["file", *study.LABELS], rows[::-1])
    found = run(study.predictions, study.labels, compare=(other,))
    for each in found.comparisons:
        assert each.auroc.analytic.low > 0
        assert each.auroc.p < 0.01
        if each.label != "macro":
            assert each.auroc.bootstrap.low > 0
            assert each.auroc.p <= each.auroc.p_holm
            k = study.LABELS.index(each.label)
            assert each.auroc.other == pytest.approx(
                sk.roc_auc_score(study.truth[study.scored, k], noise[study.scored, k]), abs=1e-12
            )


def test_subgroups(study: Any) -> None:
    found = run(study.predictions, study.labels, by=("sex", "age", "view_position"), threshold=0.55)
    sex, age, view = found.subgroups
    assert (sex.column, age.column, view.column) == ("Patient Sex", "Patient Age", "view_position")
    assert sum(group.n for group in sex.groups) == len(found.dataset)
    assert [group.name for group in age.groups] == ["under 18", "18 to 39", "40 to 59", "60 to 79", "80 and over"]
    women = np.array([i // 2 % 2 == 1 for i in range(study.n)]) & study.scored
    expected = sk.roc_auc_score(study.truth[women, 0], study.scores[women, 0])
    assert sex.groups[0].scores[0].ranks.auroc.value == pytest.approx(expected, abs=1e-12)
    gap = sex.gaps[0]
    values = sorted(group.scores[0].ranks.auroc.value for group in sex.groups)
    assert gap.estimate.value == pytest.approx(values[1] - values[0])
    with pytest.raises(ConfigError, match="has such a column"):
        run(study.predictions, study.labels, by=("height",))


@pytest.mark.parametrize(
    ("cell", "band"),
    [
        ("058Y", "40 to 59"),
        ("17", "under 18"),
        ("11M", "under 18"),
        ("80", "80 and over"),
        ("", "not stated"),
        ("x", "not stated"),
    ],
)
def test_age_bands(cell: str, band: str) -> None:
    assert age_band(cell) == band


def foreign(
    write: Any, n: int = 40, labels: list[int] | None = None, scores: list[Any] | None = None
) -> tuple[str, str]:
    truth = labels if labels is not None else [i % 2 for i in range(n)]
    given = scores if scores is not None else [(i * 7 % n) / n for i in range(n)]
    ids = [f"{i}.png" for i in range(n)]
    return (
        write("predictions.csv", ["name", "Edema"], list(zip(ids, given, strict=True))),
        write("labels.csv", ["image", "edema"], list(zip(ids, truth, strict=True))),
    )


def test_five_rows(write: Any) -> None:
    found = run(*foreign(write, 5), in_sample=True)
    assert found.scores[0].marks == ("few_positives", "few_negatives")
    assert found.macro.labels == ("Edema",)
    assert not math.isnan(found.scores[0].ranks.auroc.low)


def test_one_class(write: Any) -> None:
    found = run(*foreign(write, labels=[0] * 40), in_sample=True)
    assert found.scores[0].marks == ("one_class",)
    assert math.isnan(found.scores[0].ranks.auroc.value)
    assert found.macro.labels == ()
    assert found.points == {}
    assert any("Only one class" in warning.text for warning in found.warnings)


def test_missing_scores_are_counted_and_infinite_ones_refused(write: Any) -> None:
    scores: list[Any] = [(i * 7 % 40) / 40 for i in range(40)]
    found = run(*foreign(write, scores=["NaN", "", *scores[2:]]))
    assert found.scores[0].n_unscored == 2
    with pytest.raises(ConfigError, match="not within"):
        run(*foreign(write, scores=["inf", *scores[1:]]), any_score=True)


def test_logits_must_be_declared(write: Any) -> None:
    tables = foreign(write, scores=[(i * 7 % 40) - 20 for i in range(40)])
    with pytest.raises(ConfigError, match=r"not within \[0, 1\], the first is -20 in data row 1.*--any-score"):
        run(*tables)
    found = run(*tables, any_score=True, in_sample=True)
    assert found.quality == ()
    assert found.points["Edema"].threshold is not None


def test_nothing_known_is_an_error(write: Any) -> None:
    with pytest.raises(LabelError, match="no row has both"):
        run(*foreign(write, labels=[""] * 40), blank="ignore")  # type: ignore[list-item]


def test_nih_lists(write: Any) -> None:
    ids = [f"{i}.png" for i in range(30)]
    findings = ["Edema|Mass" if i % 3 == 0 else "No Finding" for i in range(30)]
    predictions = write("p.csv", ["Image", "edema", "Hernia"], [[i, 0.5 - k / 100, 0.1] for k, i in enumerate(ids)])
    labels = write(
        "l.csv", ["Image Index", "Finding Labels", "Patient ID"], list(zip(ids, findings, range(30), strict=True))
    )
    found = run(predictions, labels)
    assert found.dataset.labels == ("edema",)
    assert found.scores[0].n_positive == 10
    assert found.dataset.match.only_predicted == {"Hernia": ""}


def test_study_labels_average_the_images_of_a_study(write: Any) -> None:
    rows = [[f"s{s}/view{v}.png", s, min(1.0, s / 20 + v / 10)] for s in range(20) for v in range(2)]
    predictions = write("p.csv", ["path", "study_instance_uid", "Edema"], rows)
    labels = write("l.csv", ["StudyInstanceUID", "Edema"], [[s, int(s > 9)] for s in range(20)])
    found = run(predictions, labels)
    assert found.dataset.join.level == "study"
    assert len(found.dataset) == 20
    assert found.dataset.scores["Edema"][4] == pytest.approx(4 / 20 + 0.05)
    assert any("the mean over the scored images" in warning.text for warning in found.warnings)
    highest = run(predictions, labels, aggregate="max")
    assert highest.dataset.scores["Edema"][4] == pytest.approx(4 / 20 + 0.1)


def test_the_same_seed_gives_the_same_files(study: Any) -> None:
    one, two = (run(study.predictions, study.labels, in_sample=True) for _ in range(2))
    assert metrics_json(one) == metrics_json(two)
    assert metrics_csv(one) == metrics_csv(two)


def test_files_hold_the_numbers_in_full(study: Any, validation: Any) -> None:
    options = {"validation": (validation.predictions, validation.labels), "by": ("sex",), "readers": study.readers}
    found = run(study.predictions, study.labels, **options)
    record = json.loads(metrics_json(found))
    assert (record["schema"], record["schema_version"]) == ("cxrzero.metrics", 1)
    assert record["labels"][0]["ranks"]["auroc"]["value"] == found.scores[0].ranks.auroc.value
    assert record["model"] is None
    rows = list(csv.DictReader(io.StringIO(metrics_csv(found))))
    (row,) = [r for r in rows if (r["label"], r["group"], r["metric"]) == ("Edema", "", "auroc")]
    assert float(row["value"]) == found.scores[0].ranks.auroc.value
    assert {r["group"] for r in rows} == {"", "Patient Sex=F", "Patient Sex=M"}


def test_spreadsheets_get_no_formula(write: Any) -> None:
    ids = [f"{i}.png" for i in range(20)]
    predictions = write("p.csv", ["image", "=1+1"], [[i, k / 20] for k, i in enumerate(ids)])
    labels = write("l.csv", ["image", "=1+1"], [[i, k % 2] for k, i in enumerate(ids)])
    assert "\n=1" not in metrics_csv(run(predictions, labels))


def test_large_tables_use_analytic_intervals(write: Any) -> None:
    rng = np.random.default_rng(0)
    n = 20_500
    truth = rng.random(n) < 0.1
    scores = 1 / (1 + np.exp(-rng.normal(size=n) - truth))
    tables = foreign(write, n, truth.astype(int).tolist(), scores.tolist())
    found = run(*tables, threshold=0.6, n_resamples=1000)
    assert found.scores[0].ranks.auroc_bootstrap.method == "none"
    assert found.points["Edema"].mcc.method == "delta"
    assert found.points["Edema"].mcc.value == pytest.approx(sk.matthews_corrcoef(truth, scores >= 0.6), abs=1e-12)
    assert found.macro_point.specificity.method == "delta"


def test_a_calibration_for_another_model_is_refused(study: Any, tmp_path: Path) -> None:
    beside, path = Path(study.predictions).with_name("test.run.json"), tmp_path / "calibration.json"
    write_calibration(path, run(study.predictions, study.labels, in_sample=True).calibration)
    unbound = run(study.predictions, study.labels, calibration=str(path))
    assert any("Nothing says whether" in warning.text for warning in unbound.warnings)
    for fingerprint in ("one", "other"):
        beside.write_text(json.dumps({"models": [{"name": "mini", "fingerprint": fingerprint}], "prompts": []}))
        if fingerprint == "one":
            write_calibration(path, run(study.predictions, study.labels, in_sample=True).calibration)
            assert run(study.predictions, study.labels, calibration=str(path)).points
    with pytest.raises(ConfigError, match="another models"):
        run(study.predictions, study.labels, calibration=str(path))
    with pytest.raises(LabelError, match="none of the labels"):
        run(*foreign_named(study, tmp_path), calibration=str(path))


def foreign_named(study: Any, folder: Path) -> tuple[str, str]:
    """The study's tables with a label that no calibration knows."""
    tables = []
    for source, old in ((study.predictions, "Mass"), (study.labels, "MASS")):
        path = folder / f"renamed_{Path(source).name}"
        text = Path(source).read_text(encoding="utf-8").replace(old, "Hernia", 1)
        path.write_text(text.replace("Edema", "x", 1).replace("Pleural Effusion", "y", 1))
        tables.append(str(path))
    return tables[0], tables[1]


def test_the_manifest_binds_the_calibration(study: Any) -> None:
    manifest = {"models": [{"name": "mini", "fingerprint": "f"}], "prompts": [], "precision": "fp32"}
    Path(study.predictions).with_name("test.run.json").write_text(json.dumps(manifest))
    found = run(study.predictions, study.labels, in_sample=True)
    assert found.calibration.binding["models"] == [{"name": "mini", "fingerprint": "f"}]
    Path(study.predictions).with_name("test.run.json").write_text("[")
    with pytest.raises(ConfigError, match="run manifest"):
        run(study.predictions, study.labels)
