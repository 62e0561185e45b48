"""Several models, one table: each image decoded once, preprocessed once per preprocessing, embedded once per model."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from cxrzero import Screener
from cxrzero.cli import app
from cxrzero.errors import UsageError
from cxrzero.images import decode
from cxrzero.model.preprocess import Preprocess
from cxrzero.pipeline.items import RunStats
from cxrzero.pipeline.selection import Selection
from cxrzero.prompts import build_prompts
from cxrzero.sources import find_images
from tests.support.bundle import SIDE, write_bundle

Draw = Callable[..., Path]
LABELS = ["edema", "mass"]
OTHER_STEPS = [
    {"step": "resize", "height": SIDE, "width": SIDE, "interpolation": "bilinear"},
    {"step": "rescale", "factor": 1 / 255},
    {"step": "normalize", "mean": [0.4, 0.4, 0.4], "std": [0.2, 0.2, 0.2]},
]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two that differ in weights only, and one with its own preprocessing, templates and scoring rule."""
    folder = tmp_path_factory.mktemp("bundles")
    other = {
        "preprocess": OTHER_STEPS,
        "templates": {"positive": ["signs of {}"], "negative": ["healthy, not {}"]},
        "scoring": {"rule": "sigmoid", "scale": 3.0, "bias": -0.5},
    }
    return [
        write_bundle(folder / "a", 1, name="a"),
        write_bundle(folder / "b", 2, name="b"),
        write_bundle(folder / "c", 3, name="c", **other),
    ]


@pytest.fixture
def films(png: Draw, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CXRZERO_CACHE_DIR", str(tmp_path / "cache"))
    for seed in range(5):
        png(f"films/{seed}.png", seed)
    png("films/5.png", 0)  # the first again
    (tmp_path / "films/6.png").write_bytes(b"")
    return tmp_path / "films"


@pytest.fixture
def count(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often images are decoded and preprocessed."""
    done: Counter[str] = Counter()
    once = Preprocess.__call__

    def counted_decode(*args: Any) -> Any:
        done["decode"] += 1
        return decode(*args)

    def counted_call(self: Preprocess, pixels: Any) -> Any:
        done["preprocess"] += pixels.shape != (3, 2)  # the trial of a new object
        return once(self, pixels)

    monkeypatch.setattr("cxrzero.sources.reader.decode", counted_decode)
    monkeypatch.setattr(Preprocess, "__call__", counted_call)
    return done


def ask(models: Any, films: Path, **options: Any) -> tuple[list[Any], RunStats]:
    screener = Screener(models, device="cpu", **options)
    prompts, stats = screener.prompts(LABELS), RunStats()
    return list(screener.stream(find_images([str(films)]), screener.classifier(prompts), prompts, stats)), stats


def test_mean_and_standard_deviation_of_models_that_are_each_asked_in_their_way(
    bundles: list[Path], films: Path
) -> None:
    together, _ = ask(bundles, films, cache=False)
    alone = [ask(bundle, films, cache=False)[0] for bundle in bundles]
    assert [row.status for row in together] == ["ok"] * 6 + ["failed"]
    for row, *singles in list(zip(together, *alone, strict=True))[:6]:
        assert not any(single.sd for single in singles)
        for label in LABELS:
            p = np.array([single.scores[label] for single in singles])
            assert np.ptp(p) > 1e-3
            assert row.scores[label] == pytest.approx(p.sum() / 3, abs=1e-7)
            assert row.sd[label] == pytest.approx(np.sqrt(((p - p.mean()) ** 2).sum() / 2), abs=1e-7)
            for side in ("cos_pos", "cos_neg"):
                cosines = [getattr(single, side)[label] for single in singles]
                assert getattr(row, side)[label] == pytest.approx(np.mean(cosines), abs=1e-7)
    assert together[6].sd == {}


def test_an_image_is_decoded_once_and_preprocessed_once_per_preprocessing(
    bundles: list[Path], films: Path, count: Counter[str]
) -> None:
    _, stats = ask(bundles, films, cache=False)
    assert count == {"decode": 7, "preprocess": 2 * 6}
    assert (stats.embedded, stats.cached) == (3 * 6, 0)
    count.clear()
    ask(bundles[:2], films, cache=False)
    assert count == {"decode": 7, "preprocess": 6}


def test_a_model_more_embeds_for_itself_only(bundles: list[Path], films: Path, count: Counter[str]) -> None:
    expected, _ = ask(bundles, films, cache=False)
    count.clear()
    ask(bundles[0], films)
    count.clear()
    both, stats = ask(bundles[:2], films)
    assert (stats.embedded, stats.cached) == (6, 6)
    assert count == {"decode": 7, "preprocess": 6}
    count.clear()
    rows, stats = ask(bundles, films)
    assert rows == expected
    assert (stats.embedded, stats.cached) == (6, 12)
    assert count == {"decode": 7, "preprocess": 6}
    count.clear()
    assert ask(bundles[:2], films)[0] == both
    rows, stats = ask(bundles[2], films)  # one that was only ever asked among others
    assert (stats.embedded, stats.cached) == (0, 6)
    assert (count["decode"], count["preprocess"]) == (2, 0)  # the file that fails, tried again by both
    assert rows == ask(bundles[2], films, cache=False)[0]


def test_what_an_earlier_selection_left_out_is_embedded_where_it_is_missing(bundles: list[Path], films: Path) -> None:
    ask(bundles[0], films)
    few, stats = ask(bundles[:2], films, selection=Selection(frozenset({"duplicate"})))
    assert [row.status for row in few] == ["ok"] * 5 + ["skipped", "failed"]
    assert (stats.embedded, stats.cached) == (5, 5)
    rows, stats = ask(bundles[:2], films)
    assert (stats.embedded, stats.cached) == (1, 11)
    assert rows == ask(bundles[:2], films, cache=False)[0]


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 1), (4, 3)])
def test_rows_do_not_depend_on_batches(bundles: list[Path], films: Path, batch_size: int, workers: int) -> None:
    rows, _ = ask(bundles, films, cache=False, batch_size=batch_size, workers=workers)
    assert rows == ask(bundles, films, cache=False)[0]


def test_a_prompt_that_is_given_goes_to_every_model(bundles: list[Path]) -> None:
    members = Screener([bundles[0], bundles[2]], device="cpu", cache=False).members
    own = members[1].own(build_prompts(["edema"], members[0].bundle.templates))
    assert own[0].positive == ("signs of edema",)
    screener = Screener([bundles[0], bundles[2]], device="cpu", cache=False)
    normal = screener.prompts(["No Finding"])  # of the bank
    assert screener.members[1].own(normal) == normal


def test_a_folder_of_bundles_is_an_ensemble_and_twins_are_refused(bundles: list[Path], tmp_path: Path) -> None:
    screener = Screener(bundles[0].parent, device="cpu")
    assert [member.bundle.name for member in screener.members] == ["a", "b", "c"]
    assert screener.members[0].preprocess is screener.members[1].preprocess is not screener.members[2].preprocess
    twin = write_bundle(tmp_path / "twin", 1, name="twin")
    with pytest.raises(UsageError, match="are the same model"):
        Screener([bundles[0], twin], device="cpu")
    with pytest.raises(UsageError, match="no model"):
        Screener([], device="cpu")
    with pytest.raises(UsageError, match="not an ensemble of 3: a, b, c"):
        screener.embed_texts(["edema"])


def predict(films: Path, models: list[Path], out: Path, *options: str) -> Any:
    chosen = [part for model in models for part in ("--model", str(model))]
    arguments = ["predict", str(films), "--labels", ",".join(LABELS), *chosen, "--device", "cpu", "--out", str(out)]
    return CliRunner().invoke(app, [*arguments, *options])


def test_the_command_writes_sd_and_the_record_names_every_model(
    bundles: list[Path], films: Path, tmp_path: Path
) -> None:
    result = predict(films, bundles, tmp_path / "out.csv", "--scores")
    assert result.exit_code == 3, result.output
    assert "Ensemble of 3 models (a, b, c)" in result.output
    with (tmp_path / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    kinds = ("sd", "cos_pos", "cos_neg")
    assert list(rows[0])[-8:] == [*LABELS, *(f"{label}_{kind}" for kind in kinds for label in LABELS)]
    assert float(rows[0]["edema_sd"]) > 0
    assert rows[6]["edema_sd"] == ""
    record = json.loads((tmp_path / "out.run.json").read_text())
    assert [model["name"] for model in record["models"]] == ["a", "b", "c"]
    assert record["preprocess"] == record["models"][0]["preprocess"] != record["models"][2]["preprocess"]
    assert record["models"][2]["scoring"] == {"rule": "sigmoid", "scale": 3.0, "bias": -0.5}
    assert record["prompts"][0]["others"][1]["positive"] == ["signs of edema"]
    plan = predict(films, bundles, tmp_path / "plan.csv", "--dry-run")
    assert "the others are asked with templates of their own" in plan.output


def test_a_calibration_belongs_to_its_ensemble(bundles: list[Path], films: Path, tmp_path: Path) -> None:
    truth = tmp_path / "truth.csv"
    lines = [f"{index}.png,{index % 2},{(index + 1) % 2}" for index in range(6)]
    truth.write_text("\n".join([f"image,{','.join(LABELS)}", *lines]) + "\n")
    chosen = [part for model in bundles[:2] for part in ("--model", str(model))]
    arguments = ["eval", str(films), str(truth), *chosen, "--in-sample", "--out", str(tmp_path / "fit")]
    fitted = CliRunner().invoke(app, [*arguments, "--resamples", "0"])
    assert fitted.exit_code == 0, fitted.output
    calibration = ["--calibration", str(tmp_path / "fit/calibration.json")]
    good = predict(films, bundles[:2], tmp_path / "good.csv", *calibration)
    assert good.exit_code == 3, good.output
    columns = (tmp_path / "good.csv").read_text().splitlines()[0].split(",")
    assert columns[-6:] == [f"{label}_{kind}" for kind in ("calibrated", "decision", "sd") for label in LABELS]
    for models in (bundles, bundles[:1], bundles[1::-1]):
        bad = predict(films, models, tmp_path / "bad.csv", *calibration)
        assert bad.exit_code == 2
        assert "another models" in bad.output


def test_shards_of_an_ensemble_are_merged(bundles: list[Path], films: Path, tmp_path: Path) -> None:
    parts = [tmp_path / f"part{index}.csv" for index in (1, 2)]
    for index, part in enumerate(parts, start=1):
        predict(films, bundles, part, "--shard", f"{index}/2", "--scores")
    merged = CliRunner().invoke(app, ["merge", *map(str, parts), "--out", str(tmp_path / "merged.csv")])
    assert merged.exit_code == 3, merged.output
    predict(films, bundles, tmp_path / "whole.csv", "--scores")
    assert (tmp_path / "merged.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_search_takes_one_model(bundles: list[Path], films: Path) -> None:
    result = CliRunner().invoke(app, ["search", "edema", str(films), "--model", str(bundles[0].parent)])
    assert result.exit_code == 2
    assert "not an ensemble of 3" in result.output


@pytest.mark.parametrize("several", [False, True])
def test_models_of_a_configuration_file(bundles: list[Path], films: Path, tmp_path: Path, several: bool) -> None:
    names = [str(bundle) for bundle in bundles]
    (tmp_path / "run.toml").write_text(f"model = {json.dumps(names if several else names[0])}\n")
    result = predict(films, [], tmp_path / "out.csv", "--config", str(tmp_path / "run.toml"))
    assert result.exit_code == 3, result.output
    assert len(json.loads((tmp_path / "out.run.json").read_text())["models"]) == (3 if several else 1)
