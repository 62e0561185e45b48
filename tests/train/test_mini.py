"""The model in the box: its card, its files, its data and the command that made it belong together."""

from __future__ import annotations

import argparse
import importlib
import shlex
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.files import sha256_of
from cxrzero.model.bundle import Bundle, load_bundle
from cxrzero.prompts.measured import findings_at_chance
from cxrzero.train.options import TrainOptions
from recipes import mini_films
from tests.support import REPO
from tests.support.needs import optional

sk = optional("sklearn.metrics")

MODEL = REPO / "models" / "cxrzero-mini"
MAX_BYTES = 40_000_000  # what a package may weigh


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(MODEL)


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    return importlib.import_module("recipes.mini_pairs")


def test_files_are_those_of_the_card_and_small(bundle):
    total = 0
    for name, entry in bundle.card["files"].items():
        path = MODEL / name
        assert sha256_of(path) == entry["sha256"]
        assert path.stat().st_size == entry["size"]
        total += entry["size"]
    assert total <= MAX_BYTES


def test_the_card_marks_what_its_results_say_is_at_chance(bundle):
    assert list(bundle.at_chance) == findings_at_chance(bundle.card["results"])
    assert set(bundle.at_chance) <= set(bundle.labels)


def test_the_command_says_what_the_card_and_seed_say(bundle):
    provenance = bundle.card["provenance"]
    program, subcommand, *options = shlex.split(provenance["command"])
    assert (program, subcommand) == ("cxrzero", "train")
    recipe = provenance["recipe"]
    names = (
        "epochs",
        "batch_size",
        "texts_per_image",
        "lr",
        "mixup",
        "loss",
        "freeze",
        "layer_decay",
        "first_size",
        "first_share",
    )
    parser = argparse.ArgumentParser()
    parser.add_argument("pairs")
    for name in names:
        parser.add_argument(f"--{name.replace('_', '-')}", dest=name, type=type(recipe[name]))
    parser.add_argument("--seed", type=int, default=0)  # left out where it is the default
    parser.add_argument("--image-root")
    given, _ = parser.parse_known_args(options)
    assert {name: getattr(given, name) for name in names} == {name: recipe[name] for name in names}
    assert given.seed == provenance["seed"]
    assert given.image_root == "DIR"  # paths of the machine are left out
    assert not any(part.startswith("/") for part in options)
    assert recipe["epochs_done"] == recipe["epochs"]


def test_make_model_asks_for_the_training_that_made_the_model(bundle, monkeypatch):
    """The command of the Makefile is read as it would be run: options, ranges, and what excludes what."""
    trained: list[TrainOptions] = []

    def train(options: TrainOptions, _: object) -> Path:
        trained.append(options)
        return MODEL

    monkeypatch.setattr("cxrzero.train.train", train)
    makefile = (REPO / "Makefile").read_text("utf-8").replace("\\\n", " ")
    common = next(line for line in makefile.splitlines() if line.startswith("STUDENTS := ")).partition(" := ")[2]
    line = next(line for line in makefile.splitlines() if " -m cxrzero train " in line and "--refit" in line)
    for name, value in (("STUDENTS", common), ("MINI", "runs/mini"), ("DATA", "../shared/data")):
        line = line.replace(f"$({name})", value)
    monkeypatch.setattr("cxrzero.cli.train._next", lambda folder: "")
    result = CliRunner().invoke(app, shlex.split(line.partition(" -m cxrzero ")[2]))
    assert result.exit_code == 0, result.output
    (options,) = trained
    recipe = bundle.card["provenance"]["recipe"]
    names = set(recipe) & {field.name for field in fields(options)} - {"precision", "arch", "image_size"}
    assert len(names) > 15
    assert {name: getattr(options, name) for name in names} == {name: recipe[name] for name in names}
    assert options.refit
    assert bundle.card["provenance"]["refit"]
    assert options.alike == bundle.card["provenance"]["alike"]["text"]
    assert options.card is not None
    assert (REPO / options.card).is_file()


def test_no_validation_film_is_trained_on(recipe, shared_data):
    said = {said.image for said in recipe.images(shared_data, recipe.Options())}
    trained = {film.name for film in mini_films.films(shared_data) if film.path in said}
    assert len(trained) == len(said)
    benchmark = importlib.import_module("benchmarks.mini_auroc")
    for films in benchmark.subsets(shared_data, "val"):
        assert not trained & {film.name for film in films.films}


def test_the_card_shows_what_was_measured_beside_trivial_baselines(bundle):
    results = {(r["dataset"], r["label"]): r for r in bundle.card["results"]}
    assert results["kermany val", "pneumonia"]["value"] >= 0.93
    assert results["kermany val, sick", "bacterial pneumonia"]["value"] >= 0.8
    assert results["shenzhen val", "tuberculosis"]["value"] >= 0.85
    common = results["nih128 val", "macro, 20 positives or more"]
    for beside in ("first_model", "frozen_probe", "hand_made"):
        assert common["value"] > common["baselines"][beside]
    for result in results.values():
        assert result["low"] <= result["value"] <= result["high"]
        assert {"mean_brightness", "sharpness", "first_model", "frozen_probe", "teacher", "hand_made"} <= set(
            result["baselines"]
        )
        assert result["command"].startswith("python benchmarks/mini_auroc.py")
    readme = (MODEL / "README.md").read_text("utf-8")
    for result in results.values():
        assert f"{result['value']:.3f}" in readme
