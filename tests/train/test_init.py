"""Starting from published weights: their preprocessing and tokenizer come along, or an error says why not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
from open_clip.model import CLIP  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from cxrzero.clip.steps import chexzero_steps, clip_steps  # noqa: E402
from cxrzero.convert import import_model  # noqa: E402
from cxrzero.errors import AmbiguousModelError, ImportModelError, NoInputError, UsageError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.train import TrainOptions, resume, train  # noqa: E402
from cxrzero.train.model.start import make_start  # noqa: E402
from tests.support import attention  # noqa: E402
from tests.support.checkpoints import (  # noqa: E402
    clip,
    hf_folder,
    save,
)
from tests.support.pairs import TINY_CLIP, draw, tiny_clip  # noqa: E402
from tests.support.runs import weights  # noqa: E402

SIZES = {key: TINY_CLIP[key] for key in ("embed_dim", "vision_cfg", "text_cfg", "quick_gelu")}


@pytest.fixture
def options(tmp_path):
    """For weights of TINY_CLIP in a file."""
    pairs = draw(tmp_path / "films", 20, held_out=4)
    return TrainOptions(
        pairs, tmp_path / "run", arch=tiny_clip(tmp_path), lineage="open-clip", init=tmp_path / "weights.pt",
        epochs=1, batch_size=8, threads=1,
    )  # fmt: skip


@pytest.fixture
def openai_layout():
    """Weights as CLIP lays them out: text tower without the prefix `text.`."""
    torch.manual_seed(3)
    return CLIP(**SIZES).state_dict()


def untold(options, init, **more):
    """The same run, with a start that says itself what it is."""
    return replace(options, init=init, arch=None, lineage=None, **more)


def test_weights_of_a_file_and_lit(options, tmp_path, openai_layout):
    """Saved as in CheXzero, wrapped as by open_clip's training, and as safetensors; the image tower stays as it was."""
    torch.save(openai_layout, tmp_path / "plain.pt")
    wrapped = {"state_dict": {f"module.{k}": v for k, v in openai_layout.items()}, "epoch": 3}
    torch.save(wrapped, tmp_path / "wrapped.pt")
    save_file({k: v.contiguous() for k, v in openai_layout.items()}, tmp_path / "safe.safetensors")
    for name in ("plain.pt", "wrapped.pt", "safe.safetensors"):
        run = train(replace(options, init=tmp_path / name, out=tmp_path / f"from-{name}", freeze="image", lr=1e-2))
        found = weights(run)
        for key, value in openai_layout.items():
            if key.startswith("visual."):
                assert torch.equal(found[key], value), key
        assert not torch.equal(found["text.token_embedding.weight"], openai_layout["token_embedding.weight"])


def test_weights_that_do_not_fit_are_named(options, tmp_path, openai_layout):
    del openai_layout["visual.conv1.weight"]
    openai_layout["text_projection"] = openai_layout["text_projection"][:, :8]
    torch.save(openai_layout, tmp_path / "other.pt")
    with pytest.raises(
        ImportModelError, match=r"do not fit .* missing visual\.conv1\.weight, text\.text_projection has"
    ):
        train(replace(options, init=tmp_path / "other.pt"))
    (tmp_path / "broken.pt").write_bytes(b"not weights")
    with pytest.raises(ImportModelError, match=r"broken\.pt holds more than weights, or is damaged"):
        train(replace(options, init=tmp_path / "broken.pt"))
    with pytest.raises(UsageError, match="neither a run folder"):
        train(replace(options, init=tmp_path / "absent"))
    assert not options.out.exists()


def test_an_open_clip_folder_brings_preprocessing_and_tokenizer(options, tmp_path, openai_layout):
    folder = tmp_path / "published"
    folder.mkdir()
    given = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bicubic", "resize_mode": "shortest"}
    text = json.dumps({"model_cfg": SIZES, "preprocess_cfg": given})
    (folder / "open_clip_config.json").write_text(text, "utf-8")
    save_file({k: v.contiguous() for k, v in openai_layout.items()}, folder / "open_clip_model.safetensors")

    def stop(progress):
        if progress.stage == "step" and progress.done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(untold(options, folder, freeze="image", lr=1e-2, ema_decay=0.0), stop)
    bundle = load_bundle(resume(options.out))
    assert bundle.preprocess[-1] == {"step": "normalize", "mean": given["mean"], "std": given["std"]}
    for key, value in openai_layout.items():
        if key.startswith("visual."):
            assert torch.equal(weights(options.out)[key], value), key
    again = make_start(untold(options, options.out, out=tmp_path / "next"))
    assert again.steps == list(map(dict, bundle.preprocess))


def test_a_released_file_name_tells_preprocessing_and_activation(options, tmp_path):
    file = save(clip(), tmp_path / "best_64_0.0001_original_35000_0.864.pt")
    start = make_start(untold(options, file))
    assert start.steps == chexzero_steps(64)
    assert start.arch["quick_gelu"] is True
    with pytest.raises(UsageError, match="leave --image-size out"):
        make_start(untold(options, file, image_size=96))


def test_any_other_file_has_to_be_told(options, tmp_path):
    file = save(clip(), tmp_path / "mine.pt")
    with pytest.raises(AmbiguousModelError, match=r"--as chexzero .* --as openai-clip"):
        make_start(untold(options, file))
    with pytest.raises(AmbiguousModelError, match="'nobody' is unknown"):
        make_start(replace(untold(options, file), lineage="nobody"))
    with pytest.raises(AmbiguousModelError, match="name the architecture"):
        make_start(replace(untold(options, file), lineage="open-clip"))
    assert make_start(replace(untold(options, file), lineage="chexzero")).steps == chexzero_steps(64)
    assert make_start(replace(untold(options, file), lineage="openai-clip")).steps == clip_steps(64)
    with pytest.raises(UsageError, match="give --init too"):
        replace(options, init=None)


def test_a_recipe_that_states_all_leaves_nothing_to_be_told(options, tmp_path, openai_layout):
    torch.save(openai_layout, options.init)
    assert make_start(replace(options, lineage=None, preprocess="chexzero")).steps == chexzero_steps(32)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_transformers_folder_is_trained(options, tmp_path, kind):
    folder, model = hf_folder(tmp_path, kind)
    run = train(untold(options, folder, freeze="image", lr=1e-2, ema_decay=0.0))
    bundle = load_bundle(run)
    assert bundle.context_length == 24
    assert bundle.preprocess[-1]["mean"] == [0.5, 0.5, 0.5]
    assert bundle.scoring.rule == "softmax_pair"
    assert (bundle.card["patch_embeds"] is not None) == (kind == "clip")
    trained, given = weights(run), model.state_dict()
    for name, value in trained.items():
        if name.startswith("visual.model."):
            assert torch.equal(value, given[name.replace("visual.model.", "vision_model.")]), name
    embedding = "embeddings.token_embedding.weight"
    assert not torch.equal(trained[f"text.model.{embedding}"], given[f"text_model.{embedding}"])
    with pytest.raises(UsageError, match="leave out --arch"):
        make_start(replace(options, init=folder, lineage=None))
    with pytest.raises(UsageError, match="began with a model folder"):
        make_start(untold(options, run, out=tmp_path / "next"))


def test_a_bundle_leads_to_the_weights_that_it_was_made_from(options, tmp_path):
    file = save(clip(), tmp_path / "mine.pt")
    bundle = import_model(file, tmp_path / "bundle", card="chexzero").bundle
    start = make_start(untold(options, bundle))
    assert start.steps == list(map(dict, load_bundle(bundle).preprocess)) == chexzero_steps(64)
    assert torch.equal(start.model.logit_scale, clip().logit_scale)
    with pytest.raises(UsageError, match="leave out --as"):
        make_start(replace(untold(options, bundle), lineage="openai-clip"))
    save(clip(seed=1), file)
    with pytest.raises(NoInputError, match=r"was made from mine\.pt \(sha256 [0-9a-f]{16}…\)"):
        make_start(untold(options, bundle))


def test_a_bundle_without_source_cannot_be_trained_on(options, tiny_bundle):
    with pytest.raises(NoInputError, match="states no source; start from the run folder"):
        make_start(untold(options, tiny_bundle))


def test_a_model_that_scores_by_attention_is_not_trained(options, tmp_path, monkeypatch):
    loaded = attention.loaded(attention.towers())
    monkeypatch.setattr("cxrzero.train.model.start.load_model", lambda *_: loaded)
    (tmp_path / "carzero.pt").write_bytes(b"weights")
    with pytest.raises(UsageError, match="scores by attention, and what is trained here are two encoders"):
        make_start(untold(options, tmp_path / "carzero.pt"))
