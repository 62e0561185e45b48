"""A calibration in a model's bundle: `models calibrate` puts it there, `predict --calibration model` uses it."""

import csv
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cxrzero import Screener
from cxrzero.calibration import bundled
from cxrzero.calibration.bundled import check_own, put_into
from cxrzero.calibration.file import read_calibration
from cxrzero.cli import app
from cxrzero.errors import BundleError, ConfigError, UsageError, WriteError
from cxrzero.files import sha256_of
from cxrzero.model import own
from cxrzero.model.bundle import bundled_folder, load_bundle
from cxrzero.registry.verify import verify
from tests.support.bundle import write_bundle

LABELS = ("edema", "mass, left")
FILMS = 20
FITTED = Path("results/calibration.json")
NOTE = "drawn pictures; nobody's films."
WORTH = (
    "fitted on 20 films of 10 patients; drawn pictures; nobody's films. For other hospitals and another share of sick "
    "patients its thresholds and probabilities are not valid"
)


def cxrzero(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "300"})


def done(result: Result) -> Result:
    assert result.exit_code == 0, result.output
    return result


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle `model-folder`, films in `val` and `test` of twenty each, and what `eval` fitted on the first."""
    from PIL import Image

    from tests.support.pictures import picture

    folder = tmp_path_factory.mktemp("calibrated")
    write_bundle(folder / "mine", labels=["pneumonia"])
    for part, first in (("val", 0), ("test", 100)):
        (folder / part).mkdir()
        for number in range(first, first + FILMS):
            Image.fromarray(picture(number, (40, 32))).save(folder / part / f"{number}.png")
        rows = [(f"{n}.png", n // 2, int(n % 3 == 0), n // 2 % 2) for n in range(first, first + FILMS)]
        with (folder / f"{part}_labels.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("image", "patient", *LABELS), *rows])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for part in ("val", "test"):
            asked = ["--labels", 'edema,"mass, left"', "--model", "mine", "--out", f"{part}.csv"]
            done(cxrzero("predict", part, *asked))
        tables = ["test.csv", "test_labels.csv", "--validation", "val.csv", "val_labels.csv"]
        done(cxrzero("eval", *tables, "--patient", "patient", "--resamples", "0", "--out", "results"))
    return folder


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, where the test runs."""
    folder = Path(shutil.copytree(made, tmp_path / "place"))
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def calibrated(place: Path) -> Path:
    """The same with the calibration in the bundle."""
    put_into(load_bundle(Path("mine")), FITTED, NOTE)
    return place


def edited(change: Callable[[dict[str, Any]], None]) -> Path:
    record = json.loads(FITTED.read_text(encoding="utf-8"))
    change(record)
    Path("edited.json").write_text(json.dumps(record), encoding="utf-8")
    return Path("edited.json")


def test_eval_says_what_it_fitted_on_and_what_that_reached_elsewhere(place: Path) -> None:
    record = json.loads(FITTED.read_text(encoding="utf-8"))
    assert record["fitted_on"] == {"n_rows": 20, "row": "film", "n_units": 10, "unit": "patient"}
    with open("test.csv", encoding="utf-8") as file:
        scores = {Path(row["path"]).stem: float(row["edema"]) for row in csv.DictReader(file)}
    truth = {str(n): n % 3 == 0 for n in range(100, 100 + FILMS)}
    called = {name for name, score in scores.items() if score >= record["labels"]["edema"]["threshold"]["value"]}
    positive = {name for name, is_positive in truth.items() if is_positive}
    assert record["labels"]["edema"]["tested"] == {
        "sensitivity": pytest.approx(len(called & positive) / len(positive)),
        "specificity": pytest.approx(1 - len(called - positive) / (FILMS - len(positive))),
        "n_positive": len(positive),
        "n_negative": FILMS - len(positive),
    }


def test_nothing_is_said_to_be_tested_where_the_patients_are_the_same(place: Path) -> None:
    tables = ["val.csv", "val_labels.csv", "--validation", "copy.csv", "val_labels.csv"]
    shutil.copy("val.csv", "copy.csv")
    shutil.copy("val.run.json", "copy.run.json")
    for how in (tables, [*tables[:2], "--in-sample"]):
        done(cxrzero("eval", *how, "--patient", "patient", "--resamples", "0", "--out", "same", "--overwrite"))
        labels = json.loads(Path("same/calibration.json").read_text(encoding="utf-8"))["labels"]
        assert [each["tested"] for each in labels.values()] == [None, None]


def test_it_changes_no_fingerprint_no_score_and_no_record(place: Path) -> None:
    before = load_bundle(Path("mine"))
    shown = done(cxrzero("models", "calibrate", "mine", FITTED, "--note", NOTE)).output
    assert WORTH in shown
    after = load_bundle(Path("mine"))
    assert after.fingerprint == before.fingerprint
    assert dict(after.files) == dict(before.files) | {"calibration.json": sha256_of(Path("mine/calibration.json"))}
    assert after.card["files"]["calibration.json"]["size"] == Path("mine/calibration.json").stat().st_size
    assert read_calibration(Path("mine/calibration.json")).labels == read_calibration(FITTED).labels
    asked = ["--labels", 'edema,"mass, left"', "--model", "mine", "--out", "again.csv"]
    done(cxrzero("predict", "test", *asked))
    assert Path("again.csv").read_bytes() == Path("test.csv").read_bytes()
    records = [json.loads(Path(f"{name}.run.json").read_text(encoding="utf-8")) for name in ("test", "again")]
    assert records[0]["models"] == records[1]["models"]
    assert records[1]["calibration"] is None


def test_it_gives_what_the_file_gives(calibrated: Path) -> None:
    done(cxrzero("predict", "test", "--model", "mine", "--calibration", FITTED, "--out", "file.csv"))
    shown = done(cxrzero("predict", "test", "--model", "mine", "--calibration", "model", "--out", "own.csv")).output
    assert Path("own.csv").read_bytes() == Path("file.csv").read_bytes()
    assert shown.count(f"Note: the model's own calibration: {WORTH}") == shown.count("own calibration") == 1
    own, file = (json.loads(Path(f"{n}.run.json").read_text(encoding="utf-8"))["calibration"] for n in ("own", "file"))
    assert (own["source"], file["source"]) == ("model", "file")
    assert own["worth"] == WORTH
    assert own["sha256"] == sha256_of(Path("mine/calibration.json"))
    assert own["labels"] == file["labels"]
    command = json.loads(Path("own.run.json").read_text(encoding="utf-8"))["command"]
    assert shlex.split(command)[2:] == ["test", "--calibration", "model", "--out", "own.csv", "--model", "mine"]


def test_labels_configuration_dry_run_shards_and_pseudonyms(calibrated: Path) -> None:
    asked = ["test", "--model", "mine", "--calibration", "model"]
    other = cxrzero("predict", *asked, "--labels", "edema,goiter", "--out", "a.csv")
    assert other.exit_code == 2
    assert "--calibration model has nothing for goiter; it has edema, mass, left" in other.output
    assert "--calibration model --out a.csv --model mine" in other.output.partition("type: ")[2]
    Path("run.toml").write_text('calibration = "model"\n', encoding="utf-8")
    dry = done(cxrzero("predict", "test", "--model", "mine", "--config", "run.toml", "--dry-run")).output
    assert "the calibration in the bundle, which was fitted for this model and these prompts" in dry
    assert WORTH in dry
    done(cxrzero("predict", *asked, "--out", "whole.csv"))
    for k in (1, 2):
        done(cxrzero("predict", *asked, "--out", f"{k}.csv", "--shard", f"{k}/2"))
    done(cxrzero("merge", "1.csv", "2.csv", "--out", "merged.csv"))
    assert Path("merged.csv").read_bytes() == Path("whole.csv").read_bytes()
    merged = json.loads(Path("merged.run.json").read_text(encoding="utf-8"))
    assert merged["calibration"]["source"] == "model"
    key = ["--pseudonymise", "--pseudonym-key", "key", "--out", "b.csv"]
    done(cxrzero("predict", *asked, *key))
    assert "--calibration model" in json.loads(Path("b.run.json").read_text(encoding="utf-8"))["command"]


def test_another_wording_is_refused(calibrated: Path) -> None:
    Path("prompts.yaml").write_text("templates:\n  positive: ['seen {}']\n  negative: ['no {}']\n", encoding="utf-8")
    other = cxrzero("predict", "test", "--model", "mine", "--calibration", "model", "--prompts", "prompts.yaml")
    assert other.exit_code == 2
    assert "--calibration model: the calibration was fitted for other prompts of the label 'edema'" in other.output


def test_from_python(calibrated: Path) -> None:
    heard: list[str] = []
    screener = Screener("mine", device="cpu", notify=heard.append)
    rows = screener.predict("test", calibration="model")
    thresholds = read_calibration(FITTED).thresholds
    for row in rows:
        assert row.decision == {label: int(row.scores[label] >= thresholds[label].value) for label in LABELS}
    assert heard.count(f"the model's own calibration: {WORTH}") == 1


def test_a_file_of_that_name_is_reached_by_its_path(calibrated: Path) -> None:
    shutil.copy(FITTED, "model")
    for given in ("./model", Path("model")):
        film, screener = "test/100.png", Screener("mine", device="cpu")
        assert screener.predict(film, calibration=given)[0].decision
        assert screener.calibration(given, screener.prompts(LABELS)).source == "file"
    own = screener.calibration("model", screener.prompts(LABELS))
    assert (own.source, own.sha256) == ("model", sha256_of(Path("mine/calibration.json")))
    help_text = " ".join(cxrzero("predict", "--help").output.split())
    assert "model takes the one in the model's bundle (a file of that name is ./model)" in help_text


def test_a_model_without_one_and_an_ensemble_say_what_to_do(calibrated: Path) -> None:
    write_bundle(Path("other"), seed=1)
    without = cxrzero("predict", "test", "--model", "other", "--calibration", "model")
    assert without.exit_code == 2
    assert "the model tiny in other holds no calibration. Fit one with cxrzero eval" in without.output
    ensemble = cxrzero("predict", "test", "--model", "mine", "--model", "other", "--calibration", "model")
    assert ensemble.exit_code == 2
    assert "--calibration model takes one model, and 2 are asked" in ensemble.output
    shutil.copy("mine/calibration.json", "other/calibration.json")  # not in `files`: no part of the bundle
    assert cxrzero("predict", "test", "--model", "other", "--calibration", "model").exit_code == 2


REFUSED: dict[str, Callable[[dict[str, Any]], None]] = {
    "fitted on the table on which it was then tested": lambda record: record.update(in_sample=True),
    "unbound": lambda record: record.update(binding=None),
    "another models": lambda record: record["binding"]["models"][0].update(fingerprint="0"),
    "another precision": lambda record: record["binding"].update(precision="fp16"),
    "another preprocess": lambda record: record["binding"]["preprocess"].insert(0, {"step": "fast_decode"}),
    "other prompts of the label 'edema'": lambda record: record["binding"]["prompts"][0].update(positive=["oedema"]),
    "incomplete": lambda record: record["labels"]["edema"]["threshold"].update(value="0.5"),
    "no labels given": lambda record: record["labels"].clear(),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_was_not_fitted_for_the_model_and_its_own_wording_stays_out(place: Path, words: str) -> None:
    before = Path("mine/model.json").read_bytes()
    result = cxrzero("models", "calibrate", "mine", edited(REFUSED[words]))
    assert result.exit_code == 2, result.output
    assert words in result.output
    assert "edited.json: " in result.output
    assert Path("mine/model.json").read_bytes() == before
    assert not Path("mine/calibration.json").exists()


def test_what_is_not_the_users_own_is_not_changed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert bundled_folder().is_dir()
    with monkeypatch.context() as patch:
        patch.setattr(own, "bundled_folder", lambda: place)
        with pytest.raises(UsageError, match="comes with cxrzero"):
            put_into(load_bundle(Path("mine")), FITTED)
    Path("mine/model.json").rename("blob")
    Path("mine/model.json").symlink_to(place / "blob")
    with pytest.raises(UsageError, match=r"mine/model\.json is a link"):
        put_into(load_bundle(Path("mine")), FITTED)
    assert not Path("mine/calibration.json").exists()


def test_it_is_replaced_and_an_interruption_leaves_a_bundle(calibrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise WriteError("no space")

    with monkeypatch.context() as patch:
        patch.setattr(bundled, "write_calibration", full)
        with pytest.raises(WriteError):
            put_into(load_bundle(Path("mine")), FITTED)
    assert "calibration.json" not in load_bundle(Path("mine")).files
    done(cxrzero("models", "calibrate", "mine", FITTED, "--note", "another note"))
    done(cxrzero("models", "calibrate", "mine", "mine/calibration.json"))  # keeps the note
    assert read_calibration(load_bundle(Path("mine")).file("calibration.json")).note == "another note"


def test_info_list_and_verify_know_it(calibrated: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXRZERO_MODELS_DIR", str(calibrated))
    monkeypatch.chdir("test")
    lines = done(cxrzero("models", "info", "mine")).output.splitlines()
    assert f"  calibration: {WORTH}" in lines
    (mass,) = (line for line in lines if line.startswith("  calibration of mass, left: "))
    fitted = read_calibration(calibrated / FITTED).labels["mass, left"]
    assert f"threshold {fitted.threshold.value:.4g} (max_mcc); probability by platt; fitted on 10 with and 10 " in mass
    assert f"sensitivity {fitted.tested.sensitivity:.2f} and specificity {fitted.tested.specificity:.2f}" in mass
    size = sum(path.stat().st_size for path in (calibrated / "mine").iterdir() if path.name != "model.json")
    (row,) = (line for line in done(cxrzero("models", "list")).output.splitlines() if line.startswith("mine\t"))
    assert row.endswith(f"\t{size / 1e6:,.1f} MB")
    checks = {check.name: check for check in verify(load_bundle(calibrated / "mine"))}
    assert checks["calibration"].ok
    assert checks["calibration"].detail == "fitted for this model and its own prompts, for 2 labels"


def test_it_is_not_carried_over_to_another_precision(calibrated: Path) -> None:
    pytest.importorskip("onnx")
    from tests.support.variants import with_int8

    before = load_bundle(Path("mine"))
    after = load_bundle(with_int8(Path("mine")))
    assert after.files["calibration.json"] == before.files["calibration.json"]
    check_own(read_calibration(after.file("calibration.json")), after)
    asked = [
        "--model",
        "mine",
        "--calibration",
        "model",
        "--device",
        "cpu",
        "--backend",
        "onnxruntime",
        "--out",
        "a.csv",
    ]
    other = cxrzero("predict", "test", *asked, "--precision", "int8")
    assert other.exit_code == 2
    assert 'fitted for another precision: "fp32", this run has "int8"' in other.output
    done(cxrzero("predict", "test", *asked))


def rehashed(folder: Path, **changes: Any) -> None:
    card = json.loads((folder / "model.json").read_text(encoding="utf-8")) | changes
    card["files"]["calibration.json"]["sha256"] = sha256_of(folder / "calibration.json")
    (folder / "model.json").write_text(json.dumps(card), encoding="utf-8")


def test_verify_finds_one_of_another_model_and_info_one_that_is_damaged(calibrated: Path) -> None:
    rehashed(Path("mine"), scoring={"rule": "softmax_pair", "scale": 3.0})
    check = next(check for check in verify(load_bundle(Path("mine"))) if check.name == "calibration")
    assert not check.ok
    assert "another models" in check.detail
    Path("mine/calibration.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(BundleError, match=r"calibration\.json is not the file"):
        load_bundle(Path("mine"))
    rehashed(Path("mine"))
    assert "  calibration: damaged: " in done(cxrzero("models", "info", "mine")).output
    with pytest.raises(ConfigError, match="not readable as JSON"):
        Screener("mine", device="cpu").predict("test", calibration="model")


def test_heatmaps_take_its_thresholds_for_not_found(calibrated: Path) -> None:
    asked = [
        "heatmap",
        "test/100.png",
        "--labels",
        'edema,"mass, left",pneumonia',
        "--model",
        "mine",
        "--device",
        "cpu",
    ]
    result = done(cxrzero(*asked))
    said = "below the threshold of the model's own calibration, below 0.5 for pneumonia, for which it has none"
    assert said in result.output
    fitted = read_calibration(FITTED).labels
    with Path("heatmaps/heatmaps.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            each = fitted.get(row["label"])
            threshold = each.threshold.value if each and each.threshold else 0.5
            assert row["found"] == str(int(float(row["p"]) >= threshold)), row["label"]
