"""Bare files of open_clip's weights, as published and as its training saves them: the embeddings are its own."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
open_clip = pytest.importorskip("open_clip")
from safetensors.torch import save_file  # noqa: E402

from cxrzero.convert import import_model  # noqa: E402
from cxrzero.errors import AmbiguousModelError, ImportModelError, UsageError  # noqa: E402
from tests.support.agreement import PROMPTS, assert_same, embeds  # noqa: E402
from tests.support.checkpoints import clip, write_json  # noqa: E402

# What tests.convert.conftest.clip builds.
ARCH = {
    "architecture": "small CLIP",
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 128, "patch_size": 32},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 2},
}


@pytest.fixture
def arch(tmp_path):
    write_json(tmp_path / "small.json", ARCH)
    return str(tmp_path / "small.json")


def write(model, folder, form):
    """Returns the file; a training checkpoint as `open_clip_train` saves it, from several processes."""
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    if form == "safetensors":
        save_file(state, folder / "w.safetensors")
        return folder / "w.safetensors"
    if form == "training checkpoint":
        optimizer = torch.optim.AdamW(model.parameters()).state_dict()
        wrapped = {f"module.{name}": value for name, value in state.items()}
        state = {"epoch": 3, "name": "mine", "state_dict": wrapped, "optimizer": optimizer}
    torch.save(state, folder / "w.pt")
    return folder / "w.pt"


@pytest.mark.parametrize("custom_text", [False, True])
@pytest.mark.parametrize("form", ["state dict", "safetensors", "training checkpoint"])
def test_open_clips_own_files(tmp_path, arch, form, custom_text):
    model = clip(quick_gelu=False, custom_text=custom_text)
    report = import_model(write(model, tmp_path, form), tmp_path / "b", card="open-clip", arch=arch)
    assert any("GELU (--arch)" in line for line in report.lines)
    bundle, pixels, images, texts = embeds(report.bundle)
    assert_same(images, model.encode_image(pixels))
    assert_same(texts, model.encode_text(open_clip.tokenize(PROMPTS)))
    assert bundle.scoring.scale == pytest.approx(float(model.logit_scale.detach().exp()))


@pytest.mark.parametrize(
    ("arch", "message"),
    [
        (None, r"--as chexzero .*--as open-clip with --arch \("),
        ("ViT-B-32", r"beside --arch ViT-B-32 with --as open-clip \(cropped\)\. .*name them without --arch$"),
        ("ViT-B-32-quickgelu", r"beside --arch ViT-B-32-quickgelu with --as chexzero .*or --as open-clip \(cropped\)$"),
    ],
)
def test_what_was_said_is_not_asked_again(tmp_path, arch, message):
    with pytest.raises(AmbiguousModelError, match=message):
        import_model(write(clip(), tmp_path, "safetensors"), tmp_path / "b", arch=arch)


def test_an_unknown_architecture_is_named_before_anything_is_asked(tmp_path):
    with pytest.raises(UsageError, match="there is no architecture 'ViT-B-31'; did you mean"):
        import_model(write(clip(), tmp_path, "safetensors"), tmp_path / "b", arch="ViT-B-31")


def test_the_activation_has_to_be_said(tmp_path):
    with pytest.raises(AmbiguousModelError, match=r"--arch ViT-B-32 or --arch ViT-B-32-quickgelu"):
        import_model(write(clip(), tmp_path, "safetensors"), tmp_path / "b", card="open-clip")


def test_another_architecture_names_what_does_not_fit(tmp_path):
    with pytest.raises(ImportModelError, match=r"do not fit open_clip ViT-B-32: missing .* and \d+ more"):
        import_model(write(clip(), tmp_path, "state dict"), tmp_path / "b", card="open-clip", arch="ViT-B-32")
    assert not (tmp_path / "b").exists()
