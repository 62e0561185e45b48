"""`predict --calibration`: from a first table over `eval` to decisions, and every way in which a file does not fit."""

import csv
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from cxrzero import Screener
from cxrzero.calibration.applied import lowest_positive
from cxrzero.calibration.file import read_calibration
from cxrzero.cli import app
from cxrzero.errors import LabelError
from tests.support.bundle import write_bundle
from tests.support.needs import optional

pd = optional("pandas")

LABELS = ("edema", "mass, left")
FILMS = 24
Run = Callable[..., Result]


@pytest.fixture
def run(tiny_bundle: Path, tmp_path: Path, png: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Twenty-four films in `films`, one that cannot be read, labels.csv, and cal/calibration.json fitted on them."""
    monkeypatch.chdir(tmp_path)
    for number in range(FILMS):
        png(f"films/{number:02}.png", seed=number)
    Path("films/zz.png").write_bytes(b"not a picture")
    with Path("labels.csv").open("w", encoding="utf-8", newline="") as file:
        truth = [(f"{n:02}.png", n % 3 == 0, n % 2) for n in range(FILMS)]
        csv.writer(file).writerows([("image", *LABELS), *((name, int(a), b) for name, a, b in truth)])

    def invoke(*arguments: str, model: Path = tiny_bundle, labels: str = 'edema,"mass, left"') -> Result:
        asked = [] if "--labels" in arguments or not labels else ["--labels", labels]
        return CliRunner().invoke(app, ["predict", *arguments, *asked, "--model", str(model)], env={"COLUMNS": "200"})

    assert invoke("films", "--out", "first.csv").exit_code == 3
    fit = ["first.csv", "labels.csv", "--in-sample", "--calibrator", "isotonic", "--resamples", "0", "--out", "cal"]
    assert CliRunner().invoke(app, ["eval", *fit]).exit_code == 0
    return invoke


CALIBRATION = "cal/calibration.json"


def edited(change: Callable[[dict[str, Any]], None]) -> str:
    record = json.loads(Path(CALIBRATION).read_text(encoding="utf-8"))
    change(record)
    Path("edited.json").write_text(json.dumps(record), encoding="utf-8")
    return "edited.json"


def test_columns_hold_what_the_file_says(run: Run) -> None:
    result = run("films", "--calibration", CALIBRATION, "--scores", "--out", "second.csv")
    assert result.exit_code == 3, result.output
    first, second = (pd.read_csv(name) for name in ("first.csv", "second.csv"))
    kinds = ("calibrated", "decision", "cos_pos", "cos_neg")
    assert list(second.columns[11:]) == [*LABELS, *(f"{label}_{kind}" for kind in kinds for label in LABELS)]
    calibration = read_calibration(Path(CALIBRATION))
    for label in LABELS:
        np.testing.assert_array_equal(first[label], second[label])
        raw = second[label].to_numpy()[:FILMS]
        exact = raw.astype(np.float32).astype(np.float64)  # an isotonic map may be steep enough to see the difference
        calibrated = calibration.calibrators[label](exact).astype(np.float32)
        np.testing.assert_array_equal(second[f"{label}_calibrated"][:FILMS].astype(np.float32), calibrated)
        decisions = raw >= calibration.thresholds[label].value
        assert 0 < decisions.sum() < FILMS
        assert second[f"{label}_decision"][:FILMS].tolist() == decisions.tolist()
    failed = second.iloc[-1]
    assert failed["status"] == "failed"
    assert failed.iloc[11:].isna().all()


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_long_and_every_format(run: Run, suffix: str) -> None:
    out = f"long.{suffix}"
    assert run("films", "--calibration", CALIBRATION, "--long", "--out", out).exit_code == 3
    read = {"csv": pd.read_csv, "jsonl": lambda path: pd.read_json(path, lines=True), "parquet": pd.read_parquet}
    table = read[suffix](out)
    assert list(table.columns[11:]) == ["label", "probability", "calibrated", "decision"]
    scored = table[table["status"] == "ok"]
    assert set(scored["decision"]) == {0, 1}
    assert table[table["status"] != "ok"]["decision"].isna().all()


def test_the_record_says_what_decided(run: Run) -> None:
    assert run("films", "--calibration", CALIBRATION, "--out", "second.csv").exit_code == 3
    record = json.loads(Path("second.run.json").read_text(encoding="utf-8"))["calibration"]
    assert len(record["sha256"]) == 64
    threshold = read_calibration(Path(CALIBRATION)).thresholds["edema"].value
    assert record["labels"]["edema"]["threshold"] == threshold
    assert record["labels"]["edema"]["calibrator"]["method"] == "isotonic"
    assert json.loads(Path("first.run.json").read_text(encoding="utf-8"))["calibration"] is None


def test_from_a_configuration_file_and_in_a_dry_run(run: Run) -> None:
    Path("run.toml").write_text(f'calibration = "{CALIBRATION}"\n', encoding="utf-8")
    result = run("films", "--config", "run.toml", "--dry-run")
    assert result.exit_code == 0, result.output
    assert f"{CALIBRATION}, which was fitted for this model and these prompts" in result.output


CHANGES: dict[str, Callable[[dict[str, Any]], None]] = {
    "another models": lambda record: record["binding"]["models"][0].update(fingerprint="0"),
    "another preprocess": lambda record: record["binding"]["preprocess"].pop(),
    "another precision": lambda record: record["binding"].update(precision="int8"),
    "another scoring": lambda record: record["binding"]["scoring"].update(scale=1.0),
    "other prompts of the label 'edema'": lambda record: record["binding"]["prompts"][0].update(positive=["oedema"]),
    "unbound": lambda record: record.update(binding=None),
    "nothing for mass, left; it has edema": lambda record: record["labels"].pop("mass, left"),
}


@pytest.mark.parametrize("words", CHANGES)
def test_what_does_not_fit_is_named_before_an_image_is_read(run: Run, words: str) -> None:
    path = edited(CHANGES[words])
    result = run("films", "--calibration", path, "--out", "second.csv", "--no-cache")
    assert result.exit_code == 2
    assert words in result.output
    assert path in result.output
    assert not list(Path().glob("second.csv*"))


def test_the_calibration_of_another_model_is_refused(run: Run, tmp_path: Path) -> None:
    other = write_bundle(tmp_path / "other", scoring={"rule": "softmax_pair", "scale": 3.0})
    result = run("films", "--calibration", CALIBRATION, "--out", "second.csv", model=other)
    assert result.exit_code == 2
    assert "another models" in result.output


def test_a_label_that_hides_a_decision_is_refused(run: Run) -> None:
    result = run("films", "--calibration", CALIBRATION, "--labels", "edema,edema_decision", "--out", "second.csv")
    assert result.exit_code == 2
    assert "edema_decision" in result.output


def test_without_labels_those_of_the_file_are_asked(run: Run) -> None:
    """The README's own flow: predict, eval, predict --calibration, while the model's own labels are others."""
    result = run("films", "--calibration", CALIBRATION, "--out", "second.csv", labels="")
    assert result.exit_code == 3, result.output
    first, second = (pd.read_csv(name) for name in ("first.csv", "second.csv"))
    assert tuple(second.columns[11:13]) == LABELS
    np.testing.assert_array_equal(first[list(LABELS)], second[list(LABELS)])
    assert second["edema_decision"].notna().sum() == FILMS


def test_more_labels_than_fitted_are_refused_with_the_command_to_type(run: Run) -> None:
    typed = ["films", "--calibration", CALIBRATION, "--skip", "lateral", "--out", "second.csv"]
    result = run(*typed, "--labels", 'tuberculosis,"mass, left",pneumonia,edema')
    assert result.exit_code == 2
    assert "has nothing for tuberculosis, pneumonia; it has edema, mass, left" in result.output
    words = shlex.split(result.output.partition("type: ")[2].splitlines()[0])
    assert words[:3] == ["cxrzero", "predict", "films"]
    again = CliRunner().invoke(app, words[1:])
    assert again.exit_code == 3, again.output
    assert list(pd.read_csv("second.csv").columns[11:13]) == ["mass, left", "edema"]
    other = run("films", "--calibration", CALIBRATION, "--labels", "pulmonary oedema,Mass_Left", "--out", "third.csv")
    words = shlex.split(other.output.partition("type: ")[2].splitlines()[0])
    assert words[words.index("--labels") + 1] == 'edema,"mass, left"'
    alone = run("films", "--calibration", CALIBRATION, "--labels", "tuberculosis", "--out", "third.csv")
    assert "--labels" not in alone.output.partition("type: ")[2]


def test_the_terminal_has_the_highest_films_and_what_reached_the_threshold(run: Run) -> None:
    result = run("films", "--calibration", CALIBRATION, "--out", "second.csv")
    rows = pd.read_csv("second.csv")
    thresholds = json.loads(Path(CALIBRATION).read_text(encoding="utf-8"))["labels"]
    for label in LABELS:
        reached = int(rows[f"{label}_decision"].sum())
        threshold = thresholds[label]["threshold"]["value"]
        films = f"{reached} film{'s' * (reached != 1)} at or above the threshold {threshold:.3f}"
        assert re.search(rf"^{re.escape(label)}( \(never measured\))?: {films}", result.output, re.MULTILINE)
        for _, row in rows.nlargest(5, label).iterrows():
            numbers = f"  {row[label]:.3f}, calibrated {row[f'{label}_calibrated']:.3f}  {row['path']}"
            assert f"\n{numbers}" in result.output
    assert "Calibrated values are frequencies, as far as" in result.output
    plain = run("films", "--out", "third.csv").output
    assert "at or above" not in plain
    assert "Scores order films; they are frequencies only after calibration." in plain


def test_what_could_not_be_fitted_stays_empty_and_is_said(run: Run) -> None:
    path = edited(lambda record: record["labels"]["edema"].update(threshold=None, calibrator=None))
    result = run("films", "--calibration", path, "--out", "second.csv")
    assert result.exit_code == 3
    assert "no threshold for edema, so the decision is left empty" in result.output
    table = pd.read_csv("second.csv")
    assert table[["edema_calibrated", "edema_decision"]].isna().all(axis=None)
    assert table["mass, left_decision"].notna().sum() == FILMS


def test_decisions_survive_shards_and_merge(run: Run) -> None:
    parts = [f"part-{k}.csv" for k in (1, 2)]
    asked = ["films", "--calibration", CALIBRATION, "--scores", "--out"]
    for k, part in enumerate(parts, start=1):
        run(*asked, part, "--shard", f"{k}/2")
    run(*asked, "whole.csv")
    assert CliRunner().invoke(app, ["merge", *parts, "--out", "merged.csv"]).exit_code == 3
    assert Path("merged.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert json.loads(Path("merged.run.json").read_text(encoding="utf-8"))["calibration"]["labels"]["edema"][
        "threshold"
    ]


def test_from_python(run: Run, tiny_bundle: Path) -> None:
    rows = Screener(tiny_bundle).predict("films", LABELS, calibration=CALIBRATION)
    thresholds = read_calibration(Path(CALIBRATION)).thresholds
    for row in rows[:FILMS]:
        assert row.decision == {label: int(row.scores[label] >= thresholds[label].value) for label in LABELS}
        assert set(row.calibrated) == set(LABELS)
    assert rows[-1].decision == {}
    with pytest.raises(LabelError, match="nothing for pneumonia"):
        Screener(tiny_bundle).predict("films", ["pneumonia"], calibration=CALIBRATION)
    asked = Screener(tiny_bundle).predict("films", calibration=CALIBRATION)
    assert tuple(asked[0].scores) == LABELS


@pytest.mark.parametrize("threshold", [0.7, 0.5, 0.1, 1e-9, 0.6999999881, 1.0])
def test_a_threshold_is_compared_with_the_decimals_of_the_table(threshold: float) -> None:
    lowest = lowest_positive(threshold)
    assert float(str(lowest)) >= threshold
    assert float(str(np.nextafter(lowest, np.float32(-1)))) < threshold
