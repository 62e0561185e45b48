"""What is measured while training, what is kept for it, and what is shown of it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cxrzero.clip.tokenizer import clip_tokenizer  # noqa: E402
from cxrzero.errors import UsageError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.train import TrainOptions, recipe_options, resume, train  # noqa: E402
from cxrzero.train.data.batches import Batches, TextEncoder  # noqa: E402
from cxrzero.train.data.pairs import read_pairs  # noqa: E402
from cxrzero.train.data.truth import text_classes, truth_matrix  # noqa: E402
from cxrzero.train.distributed import World  # noqa: E402
from cxrzero.train.measure import metricslog  # noqa: E402
from cxrzero.train.measure.labelled import read_films, score_labelled  # noqa: E402
from cxrzero.train.measure.retrieval import find_held_out, recall  # noqa: E402
from cxrzero.train.state import Best, TrainingState  # noqa: E402
from tests.support.needs import optional  # noqa: E402
from tests.support.pairs import draw, tiny_clip  # noqa: E402

sk = optional("sklearn.metrics")


@pytest.fixture
def films(tmp_path):
    return draw(tmp_path / "films", 32, held_out=12).parent


@pytest.fixture
def options(films, tmp_path):
    return TrainOptions(films / "pairs.csv", tmp_path / "run", arch="cxrzero-tiny", epochs=3, batch_size=10, threads=1)


def labelled(films, rows="", header="image,patient_id,spot,effusion,view"):
    rows = rows or "".join(f"{n:02}.png,p{n // 2},{n % 2},{(n // 2) % 2 if n % 5 else ''},1\n" for n in range(20, 32))
    path = films / "labelled.csv"
    path.write_text(f"{header}\n{rows}", "utf-8")
    return path


def test_labels_are_asked_in_the_words_of_the_training(films):
    table = read_films(labelled(films), None, ["no spot", "pleural effusion"])
    assert table.labels == ("spot", "pleural effusion")
    assert "pleural effusion ← effusion (built-in synonym of NIH)" in table.synonyms
    assert read_films(labelled(films), None, ["effusion", "pleural effusion"]).labels == ("spot", "effusion")


def test_texts_that_say_the_same_are_one_class():
    texts = [
        "No acute disease.",
        "no  acute disease",
        "acute disease",
        "3.5 cm mass",
        "35 cm mass",
        "X-ray",
        "X ray",
        ".",
    ]
    assert text_classes(texts).tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    true_texts = [np.array([0]), np.array([1]), np.array([2])]
    truths = [np.array([p], np.float32) for p in (1, 0.5, 1)]
    truth = truth_matrix(np.arange(3), np.arange(3), true_texts, truths, text_classes(texts))
    assert truth.tolist() == [[1, 1, 0], [0.5, 0.5, 0], [0, 0, 1]]


def test_truth_of_many_texts_in_any_order():
    classes = np.arange(6)
    true_texts, truths = [np.array([5, 0, 3])], [np.array([0.2, 1, 0.7], np.float32)]
    truth = truth_matrix(np.array([0, 0]), np.array([3, 4, 5, 0]), true_texts, truths, classes)
    np.testing.assert_array_equal(truth, np.array([[0.7, 0, 0.2, 1]] * 2, np.float32))


@pytest.fixture
def doubted(films):
    rows = "".join(f"{n:02}.png,spot,{0.9 if n % 2 else 0.2},{n % 3}\n" for n in range(12))
    rows += "".join(f"{n:02}.png,no spot,{0.1 if n % 2 else 0.8},{n % 3}\n" for n in range(12))
    (films / "doubted.csv").write_text("image,text,truth,group\n" + rows, "utf-8")
    return read_pairs(films / "doubted.csv")


def test_a_doubted_text_is_as_true_as_its_source_says(doubted, options):
    pixels = np.zeros((12, 4, 4), np.uint8)
    world = World(0, 1, torch.device("cpu"))
    encode = TextEncoder(clip_tokenizer(), 77, False)
    batch = next(Batches(doubted, pixels, encode, replace(options, texts_per_image=2), world).starting_at(0))
    for row, image in enumerate(batch.images):
        assert batch.truth[row].tolist() == pytest.approx([0.9, 0.1] if image % 2 else [0.2, 0.8])
    assert [doubted.true_of(image).tolist() for image in (0, 1)] == [[1], [0]]
    held_out = find_held_out(replace(doubted, validation=np.ones(12, bool)))
    assert held_out.texts.tolist() == [0, 1]
    np.testing.assert_array_equal(held_out.truth, [[False, True], [True, False]] * 6)


def test_mixup_blends_images_of_a_group_and_what_is_true_of_them(doubted, options):
    pixels = np.repeat(np.arange(12, dtype=np.uint8), 16).reshape(12, 4, 4) * 20
    world = World(0, 1, torch.device("cpu"))
    mixed = replace(options, texts_per_image=2, mixup=1.0, augment=False, seed=1)
    batches = [
        next(Batches(doubted, pixels, TextEncoder(clip_tokenizer(), 77, False), each, world).starting_at(0))
        for each in (replace(mixed, mixup=0.0), mixed)
    ]
    plain, blended = batches
    mine, found = plain.pixels[:, 0, 0], blended.pixels[:, 0, 0]
    assert (mine - found).abs().max() > 0.01
    share = mix_share(mixed, torch.bincount(plain.groups).tolist())
    for row in range(len(mine)):
        partner = torch.argmin((share * mine[row] + (1 - share) * mine - found[row]).abs())
        assert plain.groups[partner] == plain.groups[row]
        torch.testing.assert_close(blended.pixels[row], share * plain.pixels[row] + (1 - share) * plain.pixels[partner])
        torch.testing.assert_close(blended.truth[row], share * plain.truth[row] + (1 - share) * plain.truth[partner])


def mix_share(options, group_sizes):
    """The share of the first batch, drawn after the partners of its groups."""
    rng = np.random.default_rng((options.seed, 0))
    for size in group_sizes:
        rng.permutation(size)
    share = rng.beta(options.mixup, options.mixup)
    return max(share, 1 - share)


def test_the_first_steps_see_smaller_images(films, options):
    pairs = read_pairs(films / "pairs.csv")
    pixels = np.zeros((len(pairs.images), 64, 64), np.uint8)
    world = World(0, 1, torch.device("cpu"))
    first = replace(options, epochs=2, first_size=32, first_share=0.5)
    batches = list(Batches(pairs, pixels, TextEncoder(clip_tokenizer(), 77, False), first, world).starting_at(0))
    sides = [batch.pixels.shape[-1] for batch in batches]
    assert sides == [32] * (len(sides) // 2) + [64] * (len(sides) // 2)


def test_near_identical_reports_of_a_batch_are_no_negatives(films, options):
    """Eight images with one report in four spellings, and two with another: two blocks of the truth, nothing else."""
    spellings = ("no acute process", "No acute process.", "NO ACUTE  PROCESS", "no acute process;")
    rows = "".join(f"{n:02}.png,{spellings[n % 4]}\n" for n in range(8)) + "08.png,effusion\n09.png,Effusion.\n"
    (films / "same.csv").write_text("image,text\n" + rows, "utf-8")
    pairs = read_pairs(films / "same.csv")
    pixels = np.zeros((10, 4, 4), np.uint8)
    world = World(0, 1, torch.device("cpu"))
    batch = next(Batches(pairs, pixels, TextEncoder(clip_tokenizer(), 77, False), options, world).starting_at(0))
    assert batch.shown.shape == batch.truth.shape == (10, 6)
    assert batch.shown.sum() == 10
    for row, image in enumerate(batch.images):
        assert batch.truth[row].sum() == (4 if image < 8 else 2)


def test_labelled_images_are_asked_with_eval_s_intervals(films, options):
    table = read_films(labelled(films), None)
    assert table.labels == ("spot", "effusion")  # every film has view 1: no AUROC
    rng = np.random.default_rng(0)
    d = rng.normal(size=(12, 2))
    single, mean = score_labelled(table, d)
    for column, label in enumerate(table.labels):
        known = ~np.isnan(table.truth[:, column])
        expected = sk.roc_auc_score(table.truth[known, column], d[known, column])
        assert single[label].value == pytest.approx(expected)
        assert single[label].low < expected < single[label].high
    assert mean.value == pytest.approx(np.mean([each.value for each in single.values()]))
    seen: list[Any] = []
    run = train(replace(options, val_labels=table_path(films)), seen.append)
    measured = [record["validation"] for record in metricslog.read(run) if "validation" in record]
    assert len(measured) == 4  # before the first step, and after each epoch
    assert set(measured[0]["labels"]) == {"spot", "effusion"}
    assert [event.auroc[0] for event in seen if event.stage == "validate"] == [each["auroc"][0] for each in measured]
    card = load_bundle(run).card
    best = max(measured[1:], key=lambda each: each["auroc"][0])
    assert card["provenance"]["validation"]["auroc"] == best["auroc"]
    assert card["provenance"]["recipe"]["scoring_scale"] == "fitted on held-out rows"


def table_path(films):
    return films / "labelled.csv"


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ("", "picture,spot", "no column names the image"),
        ("20.png,0\n21.png,some\n", "image,spot", "column 'spot': data row 2 is no label"),
        ("20.png,1\n21.png,1\n", "image,spot", "no label column has both"),
        ("not.png,1\n21.png,0\n", "image,spot", "1 image that does not exist"),
    ],
)
def test_wrong_label_tables_are_refused(films, rows, header, message):
    with pytest.raises(UsageError, match=message):
        read_films(labelled(films, rows, header), None)


def test_images_that_are_trained_on_do_not_validate(films, options):
    path = labelled(films, "00.png,1\n21.png,0\n", "image,spot")
    with pytest.raises(UsageError, match="1 of its images is trained on, too"):
        train(replace(options, val_labels=path))


def test_recall_in_both_directions():
    cosines = np.array([[0.9, 0.1, 0.2], [0.8, 0.5, 0.1], [0.0, 0.1, 0.3]])
    found = recall(cosines, np.eye(3, dtype=bool))
    assert found["image_to_text_r1"] == pytest.approx(2 / 3)
    assert found["text_to_image_r1"] == 1
    assert found["image_to_text_r5"] == found["text_to_image_r5"] == 1


def test_held_out_texts_are_searched_once_each(films):
    held = find_held_out(read_pairs(films / "pairs.csv"))
    assert held.truth.shape == (12, 12)
    assert held.truth.sum() == 12


def test_the_best_are_kept_and_exported_as_an_ensemble(films, options):
    labelled(films)
    run = train(replace(options, epochs=5, keep=1, ensemble=3, val_labels=table_path(films)))
    measured = {r["step"]: r["validation"]["auroc"][0] for r in metricslog.read(run) if "validation" in r and r["step"]}
    best = sorted(measured, key=lambda step: -measured[step])[:3]
    members = sorted((run / "ensemble").iterdir())
    assert [member.name for member in members] == [f"{i:02}-step-{step}" for i, step in enumerate(best, 1)]
    assert load_bundle(members[0]).files == load_bundle(run).files
    assert len({load_bundle(member).files["image_weights.bin"] for member in members}) == 3
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == sorted(
        ["last.pt", *(f"best-{step:08}.pt" for step in best)]
    )


def test_patience_ends_a_run_that_stays_ended(films, options, monkeypatch):
    labelled(films)
    monkeypatch.setattr("cxrzero.train.measure.validation.Validation.score", 0.5)
    seen: list[Any] = []
    run = train(replace(options, epochs=9, patience=2, val_labels=table_path(films)), seen.append)
    steps = [record["step"] for record in metricslog.read(run) if "loss" in record]
    assert steps == [1, 2, 3, 4, 5, 6]  # the first validation is the best, two more are no better
    assert any("Stopped early" in (event.message or "") for event in seen)
    resume(run)
    assert [record["step"] for record in metricslog.read(run) if "loss" in record] == steps


def test_ties_go_to_the_earlier_checkpoint():
    state = TrainingState(torch.nn.Linear(1, 1), None, None)
    entries = [Best(step, str(step), score, {}) for step, score in ((1, 0.5), (2, 0.7), (3, 0.7), (4, 0.6))]
    assert [state.note(entry, 2) for entry in entries] == [True, True, True, False]
    assert [best.step for best in state.best] == [2, 3]
    assert state.stale == 2


def test_validation_between_epochs(options):
    run = train(replace(options, val_every=1))
    assert [record["step"] for record in metricslog.read(run) if "validation" in record] == [0, 1, 2, 3, 4, 5, 6]


def test_the_curves_are_one_page_that_loads_nothing(films, options):
    labelled(films)
    page = (train(replace(options, val_labels=table_path(films))) / "curves.html").read_text("utf-8")
    assert page.count("<svg") == 6
    assert "Zero-shot AUROC" in page
    assert not re.search(r"(src|href)\s*=|url\(|@import", page)


def test_the_paper_s_recipe_runs(films, tmp_path):
    run = train(
        recipe_options(
            "chexzero", pairs=films / "pairs.csv", out=tmp_path / "paper", arch=tiny_clip(tmp_path), epochs=1, threads=1
        )
    )
    bundle = load_bundle(run)
    assert [step["step"] for step in bundle.preprocess] == [
        "resize_longest",
        "pad_to_square",
        "rescale",
        "normalize",
        "resize_tensor",
    ]
    assert np.load(next((run / "store").glob("*/pixels.npy")), mmap_mode="r").shape == (32, 320, 320)
    recipe = bundle.card["provenance"]["recipe"]
    assert (recipe["recipe"], recipe["batch_size"], recipe["lr"], recipe["loss"]) == ("chexzero", 16, 1e-4, "clip")
    rates = {record["lr"] for record in metricslog.read(run) if "lr" in record}
    assert rates == {1e-4}
