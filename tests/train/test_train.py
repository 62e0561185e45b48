"""A whole run on drawn pictures: it learns, repeats itself, says what is wrong, and ends in a bundle."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")


from cxrzero.backends.onnxruntime import OnnxRuntimeEncoder  # noqa: E402
from cxrzero.clip.architecture import build_model, load_arch  # noqa: E402
from cxrzero.convert import onnx_export  # noqa: E402
from cxrzero.errors import OutputExistsError, TrainingError, UsageError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.model.preprocess import Preprocess  # noqa: E402
from cxrzero.model.tokenizer import Tokenizer  # noqa: E402
from cxrzero.model.weights import stored_tensors  # noqa: E402
from cxrzero.train import TrainOptions, train  # noqa: E402
from cxrzero.train.measure import metricslog  # noqa: E402
from cxrzero.train.model import checkpoint  # noqa: E402
from cxrzero.train.step import backward as step_module  # noqa: E402
from cxrzero.train.step.backward import Encoders  # noqa: E402
from cxrzero.train.step.loss import grouped_loss  # noqa: E402

SIDES, HEIGHTS, KINDS = ("left", "right"), ("upper", "middle", "lower", "basal"), ("nodule", "mass", "line", "ring")
SHADES = ("dense", "faint")


def picture(number, size=48):
    """64 pictures: a mark of one of four kinds and two shades at one of eight places, on lungs."""
    side, height, kind, shade = number % 2, number // 2 % 4, number // 8 % 4, number // 32 % 2
    y, x = np.mgrid[0 : 1 : size * 1j, 0 : 1 : size * 1j]
    lungs = 0.7 - 0.5 * (np.exp(-(((x - 0.28) / 0.15) ** 4)) + np.exp(-(((x - 0.72) / 0.15) ** 4)))
    r = np.hypot(x - (0.28, 0.72)[side], y - 0.14 - 0.24 * height)
    mark = (r < 0.05, r < 0.13, (abs(y - 0.14 - 0.24 * height) < 0.03) & (r < 0.2), (r < 0.14) & (r > 0.08))[kind]
    return (255 * np.clip(lungs + (0.6, -0.3)[shade] * mark, 0, 1)).astype(np.uint8)


def caption(number):
    return f"{HEIGHTS[number // 2 % 4]} {SIDES[number % 2]} {SHADES[number // 32 % 2]} {KINDS[number // 8 % 4]}"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    lines = ["image,text"]
    for number in range(64):
        Image.fromarray(picture(number)).save(folder / f"{number:02}.png")
        lines.append(f"{number:02}.png,{caption(number)}")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n", "utf-8")
    return folder / "pairs.csv"


@pytest.fixture
def options(pairs, tmp_path):
    return TrainOptions(pairs, tmp_path / "run", arch="cxrzero-tiny", epochs=2, batch_size=16, threads=1)


def encode(bundle, paths, texts):
    preprocess = Preprocess(bundle.preprocess, bundle.image_size)
    pixels = np.stack([preprocess(np.asarray(Image.open(path))) for path in paths])
    ids = Tokenizer(bundle.file("tokenizer.json"), bundle.context_length, bundle.pad_id)(texts)
    encoder = OnnxRuntimeEncoder(bundle, "cpu")
    return encoder.encode_images(pixels), encoder.encode_patches(pixels), encoder.encode_texts(ids)


def test_64_pairs_are_learned_by_heart_and_the_bundle_knows_them(pairs, options):
    run = train(replace(options, epochs=60, batch_size=64, lr=5e-3, ema_decay=0.8, augment=False))
    bundle = load_bundle(run)
    images, patches, texts = encode(bundle, sorted(pairs.parent.glob("*.png")), [caption(n) for n in range(64)])
    assert ((images @ texts.T).argmax(axis=1) == np.arange(64)).mean() >= 0.95
    assert ((images @ texts.T).argmax(axis=0) == np.arange(64)).mean() >= 0.95
    assert patches.shape[-1] == bundle.embed_dim
    assert bundle.card["patch_embeds"] == {"height": patches.shape[1], "width": patches.shape[2]}
    np.testing.assert_allclose(np.linalg.norm(patches, axis=-1), 1, atol=1e-5)
    losses = [record["loss"] for record in metricslog.read(run) if "loss" in record]
    assert losses[-1] < 0.2 * losses[0]


def test_the_same_seed_gives_the_same_files(options, tmp_path):
    runs = [train(replace(options, out=tmp_path / name, seed=seed)) for name, seed in (("a", 3), ("b", 3), ("c", 4))]
    a, b, c = (dict(load_bundle(run).files) for run in runs)
    assert a == b
    assert a["image_weights.bin"] != c["image_weights.bin"]


def test_model_json_states_what_is_known_and_null_for_the_rest(options, tmp_path):
    card = tmp_path / "card.json"
    card.write_text('{"labels": ["nodule"], "license": "CC0-1.0"}', "utf-8")
    bundle = load_bundle(train(replace(options, card=card, command="cxrzero train pairs.csv --out run", seed=5)))
    assert bundle.labels == ("nodule",)
    assert bundle.scoring.scale == 1  # nothing held out to fit it on: the paper's rule
    assert bundle.card["license"] == "CC0-1.0"
    assert bundle.card["intended_use"] is None
    provenance = bundle.card["provenance"]
    typed = "--arch cxrzero-tiny --epochs 2 --batch-size 16 --seed 5 --threads 1"
    assert provenance["command"] == f"cxrzero train SOURCE --out DIR {typed} --card JSON"  # no path of the user
    assert provenance["seed"] == 5
    assert provenance["recipe"]["epochs_done"] == 2
    assert len(provenance["data_fingerprint"]) == 64


def test_held_out_statements_are_measured_and_set_the_scale(tmp_path):
    lines = ["image,text,split"]
    for number in range(48):
        Image.fromarray(picture(number % 32)).save(tmp_path / f"{number}.png")
        text = "nodule" if number // 8 % 4 == 0 else "no nodule"
        lines.append(f"{number}.png,{text},{'train' if number < 24 else 'val'}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n", "utf-8")
    seen: list[Any] = []
    options = TrainOptions(
        tmp_path / "pairs.csv", tmp_path / "run", arch="cxrzero-tiny", epochs=1, batch_size=8, threads=1
    )
    bundle = load_bundle(train(options, seen.append))
    assert 0 <= [event.auroc[0] for event in seen if event.stage == "validate"][-1] <= 1
    assert bundle.card["provenance"]["recipe"]["scoring_scale"] == "fitted on held-out rows"
    assert bundle.labels == ("nodule",)
    assert {event.stage for event in seen} == {"note", "decode", "step", "validate", "export"}


def test_a_finished_run_is_replaced_only_on_request(options):
    train(replace(options, epochs=1))
    with pytest.raises(OutputExistsError):
        train(options)
    train(replace(options, epochs=1, overwrite=True))


def test_a_loss_that_is_not_finite_is_skipped_and_its_files_kept(options, monkeypatch):
    real, calls = grouped_loss, []

    def sometimes(*arguments):
        calls.append(1)
        return real(*arguments) * (math.nan if len(calls) == 2 else 1)

    monkeypatch.setattr(step_module, "grouped_loss", sometimes)
    train(options)
    kept = json.loads((options.out / "nonfinite-00000001.json").read_text("utf-8"))
    assert len(kept["images"]) == options.batch_size
    losses = [record["loss"] for record in metricslog.read(options.out) if "loss" in record]
    assert [loss is None for loss in losses] == [False, True, *[False] * 6]


def test_a_step_that_is_skipped_leaves_no_trace_in_the_model(pairs, options, monkeypatch):
    """Nor in batch normalisation's running statistics, which a forward pass changes and NaN would spoil for ever."""
    real, calls = Encoders.images, []

    def sometimes(self, pixels):
        calls.append(1)
        return real(self, pixels * (math.nan if len(calls) == 2 else 1))

    monkeypatch.setattr(Encoders, "images", sometimes)
    run = train(options)
    bundle = load_bundle(run)
    images, _, _ = encode(bundle, sorted(pairs.parent.glob("*.png"))[:2], ["left"])
    assert np.isfinite(images).all()
    last = checkpoint.load(run / "checkpoints" / "last.pt")
    assert last["skipped"] == 1
    assert all(torch.isfinite(value).all() for value in last["model"].values())
    assert last["model"]["visual.trunk.conv1.1.num_batches_tracked"] == 7  # of 8 steps


def test_losses_that_are_never_finite_stop_the_run(options, monkeypatch):
    monkeypatch.setattr(step_module, "grouped_loss", lambda *_: torch.tensor(math.nan))
    with pytest.raises(
        TrainingError, match=r"step 5 has the loss nan, and 5 steps were skipped.*nonfinite-00000005\.json"
    ):
        train(options)
    assert not (options.out / "model.json").exists()


def test_wrong_requests_are_refused_before_training(options, pairs):
    with pytest.raises(UsageError, match="larger than the data"):
        train(replace(options, batch_size=128))
    with pytest.raises(UsageError, match="did you mean cxrzero-mini"):
        train(replace(options, arch="cxrzero-mino"))
    with pytest.raises(UsageError, match="patience 2: there is nothing to validate on"):
        train(replace(options, patience=2))
    with pytest.raises(UsageError, match="--batch-size must be at least 2"):
        replace(options, batch_size=1)
    assert not options.out.exists()


def test_images_that_cannot_be_read_are_all_named(tmp_path, options):
    for name in ("one.png", "two.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n and nothing more")
    (tmp_path / "p.csv").write_text("image,text\none.png,a\ntwo.png,b\n", "utf-8")
    with pytest.raises(UsageError, match=r"2 images cannot be read") as raised:
        train(replace(options, pairs=tmp_path / "p.csv", batch_size=2))
    assert "one.png" in str(raised.value)
    assert "two.png" in str(raised.value)


def test_an_export_that_answers_differently_is_not_written(options, monkeypatch):
    monkeypatch.setattr("cxrzero.convert.onnx_export.MIN_COSINE", 1.1)
    with pytest.raises(TrainingError, match="differ from the model"):
        train(replace(options, epochs=1))
    assert not (options.out / "model.json").exists()
    assert not (options.out / "image_encoder.onnx").exists()


def test_weights_that_half_precision_would_change_too_much_are_stored_whole(options, monkeypatch):
    """The limit is met by whole weights (about 1e-7 is what two ways of adding differ by) and not by rounded ones."""
    export = onnx_export.export_onnx

    def strict(*args, storage, **others):
        monkeypatch.setattr(onnx_export, "MIN_COSINE", 1 - 1e-6 if storage == "float32" else 1.1)
        return export(*args, storage=storage, **others)

    monkeypatch.setattr("cxrzero.train.model.export.export_onnx", strict)
    notes = []
    run = train(replace(options, epochs=1), lambda progress: notes.append(progress.message or ""))
    (note,) = [note for note in notes if note.startswith("The weights are stored as float32, in twice the space")]
    assert "as float16, the embeddings of image_encoder.onnx differ from the model's own (cosine " in note
    assert load_bundle(run).card["files"]
    types = {tensor.dtype for tensor in stored_tensors(run / "image_encoder.onnx")}
    assert np.dtype(np.float16) not in types


@pytest.mark.parametrize("length", [3, 11, 32])
def test_padding_changes_no_text_embedding(options, length):
    model = build_model(load_arch("cxrzero-tiny")).eval()
    ids = torch.full((1, length), 7)
    ids[0, 0], ids[0, -1] = 1, 2
    padded = torch.nn.functional.pad(ids, (0, 32 - length))
    with torch.no_grad():
        torch.testing.assert_close(model.text(ids), model.text(padded))
