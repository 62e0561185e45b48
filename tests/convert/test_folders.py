"""Folders of open_clip and transformers: the bundle's embeddings are their libraries' own."""

from __future__ import annotations

import numpy as np
import pytest
import tokenizers

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
transformers = pytest.importorskip("transformers")
from safetensors.torch import save_file  # noqa: E402

from cxrzero.convert import import_model  # noqa: E402
from cxrzero.errors import ImportModelError, UsageError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from tests.support.agreement import PROMPTS, assert_same, embeds  # noqa: E402
from tests.support.checkpoints import HALF, clip, hf_folder, spread, word_tokenizer, write_json  # noqa: E402


@pytest.fixture
def openclip_folder(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    model = clip(quick_gelu=False)
    config = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 64, "layers": 2, "width": 128, "patch_size": 32},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2},
    }
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": {"mean": HALF, "std": HALF}})
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    return folder, model


def test_an_open_clip_folder(openclip_folder, tmp_path):
    folder, model = openclip_folder
    bundle, pixels, images, texts = embeds(import_model(folder, tmp_path / "b").bundle)
    assert_same(images, model.encode_image(pixels))
    assert_same(texts, model.encode_text(open_clip.tokenize(PROMPTS)))
    assert bundle.preprocess[-1]["mean"] == HALF
    assert bundle.card["activation"] == "GELU"


def test_a_biomedclip_shaped_folder(tmp_path):
    """timm ViT + BERT with a projection of two layers, the text tower's configuration known by its shapes only."""
    from open_clip.model import CustomTextCLIP

    folder, text = tmp_path / "source", tmp_path / "bert"
    folder.mkdir()
    words = word_tokenizer(folder / "tokenizer.json")
    transformers.BertConfig(
        vocab_size=words,
        hidden_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=256,
        max_position_embeddings=64,
    ).save_pretrained(text)
    vision = {
        "timm_model_name": "vit_tiny_patch16_224",
        "timm_model_pretrained": False,
        "timm_pool": "",
        "timm_proj": "linear",
        "image_size": 224,
    }
    text_cfg = {
        "hf_model_name": str(text),
        "hf_tokenizer_name": "someone/bert",
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 32,
    }
    torch.manual_seed(0)
    model = spread(CustomTextCLIP(64, vision, {**text_cfg, "hf_model_pretrained": False}), 1.5)
    write_json(
        folder / "open_clip_config.json",
        {
            "model_cfg": {
                "embed_dim": 64,
                "vision_cfg": vision,
                "text_cfg": {**text_cfg, "hf_model_name": "someone/bert"},
            }
        },
    )
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    bundle, pixels, images, texts = embeds(import_model(folder, tmp_path / "b").bundle, 224)
    assert bundle.context_length == 32
    assert_same(images, model.encode_image(pixels))
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=32)
    ids = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(PROMPTS)])
    assert_same(texts, model.encode_text(ids))


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_a_transformers_folder(tmp_path, kind):
    folder, model = hf_folder(tmp_path, kind)
    bundle, pixels, images, texts = embeds(import_model(folder, tmp_path / "b").bundle)
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_padding(length=24)
    ids = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(PROMPTS)])
    with torch.no_grad():
        out = model(input_ids=ids, pixel_values=pixels)
    assert_same(images, out.image_embeds)
    assert_same(texts, out.text_embeds)
    assert bundle.scoring.rule == {"clip": "softmax_pair", "siglip": "sigmoid"}[kind]
    # transformers' logits are the scale and bias that model.json states
    logits = bundle.scoring.scale * (texts @ images.T) + bundle.scoring.bias
    np.testing.assert_allclose(logits, out.logits_per_text.numpy(), rtol=1e-3, atol=1e-3)


def test_a_folder_says_itself_what_it_is(openclip_folder, tmp_path):
    with pytest.raises(UsageError, match="leave out --as"):
        import_model(openclip_folder[0], tmp_path / "b", card="chexzero")
    with pytest.raises(UsageError, match="leave out --arch"):
        import_model(openclip_folder[0], tmp_path / "b", arch="ViT-B-32")
    bundle = load_bundle(import_model(openclip_folder[0], tmp_path / "b", card="whyxrayclip").bundle)
    assert bundle.card["license"] == "MIT"
    assert bundle.card["provenance"]["lineage"] == "whyxrayclip"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "open_clip_model.safetensors").unlink(), "no weights"),
        (lambda f: (f / "open_clip_config.json").write_text("{"), "cannot be read as JSON"),
        (lambda f: (f / "open_clip_model.safetensors").write_bytes(b"\xff" * 8 + b"{}"), "safetensors"),
    ],
)
def test_a_spoilt_folder_is_an_error_and_leaves_nothing(openclip_folder, tmp_path, spoil, message):
    spoil(openclip_folder[0])
    with pytest.raises(ImportModelError, match=message):
        import_model(openclip_folder[0], tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_tokenizer_that_is_larger_than_the_text_tower(tmp_path):
    folder, _ = hf_folder(tmp_path, "clip")
    word_tokenizer(folder / "tokenizer.json", words=[f"word{n}" for n in range(99)])
    with pytest.raises(ImportModelError, match="do not belong together"):
        import_model(folder, tmp_path / "b")


def test_code_in_a_folder_is_neither_run_nor_asked_about(tmp_path, monkeypatch):
    """transformers' own question is one that a hurried user answers with yes."""
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "configuration_own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n", "utf-8")
    own = {"hidden_size": 8, "model_type": "own", "auto_map": {"AutoConfig": "configuration_own.A"}}
    write_json(folder / "config.json", own)
    text = {"hf_model_name": "someone/bert", "hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"}
    vision = {"image_size": 64, "layers": 1, "width": 64, "patch_size": 32}
    model = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    write_json(folder / "open_clip_config.json", {"model_cfg": model})
    save_file({"logit_scale": torch.zeros(())}, folder / "open_clip_model.safetensors")
    with pytest.raises(UsageError, match="as code of its own, which is not run"):
        import_model(folder, tmp_path / "b")
    assert not (tmp_path / "ran").exists()
