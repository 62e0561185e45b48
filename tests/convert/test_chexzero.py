"""CheXzero's checkpoints: predict equals the paper's computation, and the comparison has teeth."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.convert.conftest import clip, save, spread

torch = pytest.importorskip("torch")

from cxrzero import Screener  # noqa: E402
from cxrzero.bundle import load_bundle  # noqa: E402
from cxrzero.convert import import_model  # noqa: E402
from cxrzero.errors import AmbiguousModelError  # noqa: E402
from cxrzero.phantom import draw  # noqa: E402
from tests.convert.reference import FAULTS, probabilities  # noqa: E402

LABELS = ["pneumonia", "pleural effusion", "cardiomegaly", "enlarged cardiac silhouette"]
RELEASED = "best_64_5e-05_original_22000_0.864.pt"


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Square, tall, wide, small, and not a multiple of anything."""
    folder = tmp_path_factory.mktemp("films")
    for seed, size in enumerate([(400, 400), (512, 384), (300, 477), (64, 64), (351, 349)]):
        Image.fromarray(draw(seed, size).to_uint8()).save(folder / f"{seed}.png")
    return folder


def state_of(model):
    return {name: value.float() for name, value in model.state_dict().items()}


def answers(bundle, films):
    """(p, d) float64 of predict."""
    rows = Screener(bundle, device="cpu", cache=False).predict(films, LABELS)
    p = np.array([[row.scores[label] for label in LABELS] for row in rows], float)
    d = np.array([[row.cos_pos[label] - row.cos_neg[label] for label in LABELS] for row in rows], float)
    return p, d


def agrees(ours, theirs):
    return bool(np.abs(ours[0] - theirs[0]).max() <= 1e-5 and np.abs(ours[1] - theirs[1]).max() <= 2e-5)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(bundle, state dict) of a small model in CheXzero's layout."""
    folder = tmp_path_factory.mktemp("small")
    model = clip(image_size=224)
    save(model, folder / RELEASED)
    return import_model(folder / RELEASED, folder / "bundle").bundle, state_of(model)


def test_predict_equals_the_papers_computation(small, films):
    bundle, state = small
    paths = sorted(films.iterdir())
    ours = answers(bundle, films)
    assert agrees(ours, probabilities(state, paths, LABELS, 224))
    assert np.ptp(ours[1], axis=0).min() > 1e-3, "the films must differ for the comparison to mean anything"


def test_an_ensemble_of_three_is_the_mean_of_the_papers_computation(films, tmp_path):
    """Three of the ten names, one in half precision, given as the folder that they are downloaded into."""
    names = [RELEASED, "best_64_5e-05_original_16000_0.858.pt", "best_64_0.0001_original_35000_0.864.pt"]
    states = []
    for seed, name in enumerate(names):
        model, half = clip(image_size=224, seed=10 + seed), seed == 1
        save(model, tmp_path / name, half=half)
        state = state_of(model)
        states.append({key: v.half().float() if half and v.ndim >= 2 else v for key, v in state.items()})
    bundles = [import_model(tmp_path / name, tmp_path / "bundles" / name).bundle for name in names]
    paths = sorted(films.iterdir())
    alone = [probabilities(state, paths, LABELS, 224) for state in states]
    mean = tuple(np.mean([each[part] for each in alone], axis=0) for part in (0, 1))
    ours = answers(bundles, films)
    assert agrees(ours, mean)
    assert not agrees(ours, alone[0]), "one member must not pass for the ensemble"
    rows = Screener(bundles, device="cpu", cache=False).predict(films, LABELS)
    sd = np.array([[row.sd[label] for label in LABELS] for row in rows])
    np.testing.assert_allclose(sd, np.std([each[0] for each in alone], axis=0, ddof=1), atol=1e-5)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_notices(small, films, fault):
    bundle, state = small
    assert not agrees(answers(bundle, films), probabilities(state, sorted(films.iterdir()), LABELS, 224, fault))


def test_half_precision_in_the_file_is_widened_and_stays_small(films, tmp_path):
    model = clip(image_size=224, seed=1)
    save(model, tmp_path / RELEASED, half=True)
    bundle = import_model(tmp_path / RELEASED, tmp_path / "half").bundle
    state = {name: (v.half().float() if v.ndim >= 2 else v) for name, v in state_of(model).items()}
    assert agrees(answers(bundle, films), probabilities(state, sorted(films.iterdir()), LABELS, 224))
    exact = import_model(save(model, tmp_path / "full.pt"), tmp_path / "full", card="chexzero").bundle
    sizes = [(folder / "text_encoder.onnx").stat().st_size for folder in (bundle, exact)]
    assert sizes[0] < 0.6 * sizes[1]


def test_the_random_init_variant_takes_320_pixels_without_a_second_resize(films, tmp_path):
    model = clip(image_size=320, patch=16, seed=2)
    bundle = import_model(save(model, tmp_path / "mine.pt"), tmp_path / "b", card="chexzero").bundle
    assert load_bundle(bundle).image_size == (320, 320)
    assert agrees(answers(bundle, films), probabilities(state_of(model), sorted(films.iterdir()), LABELS, 320))


def test_the_full_size_layout(films, tmp_path):
    """ViT-B/32 with its 302 tensors, mixed half precision, as the ten files are."""
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(0)
    model = spread(open_clip.model.CLIP(**open_clip.get_model_config("ViT-B-32-quickgelu")), 1.5)
    assert len(model.state_dict()) == 302
    save(model, tmp_path / RELEASED, half=True)
    report = import_model(tmp_path / RELEASED, tmp_path / "bundle")
    assert any("ViT-B-32-quickgelu" in line for line in report.lines)
    assert any("QuickGELU" in line for line in report.lines)
    state = {name: (v.half().float() if v.ndim >= 2 else v) for name, v in state_of(model).items()}
    with torch.no_grad():
        expected = probabilities(state, sorted(films.iterdir()), LABELS, 224)
    assert agrees(answers(report.bundle, films), expected)
    card = load_bundle(report.bundle).card
    assert card["patch_embeds"] == {"height": 7, "width": 7}
    assert card["scoring"] == {"rule": "softmax_pair", "scale": 1.0}


def test_openais_weights_take_openais_preprocessing_and_scale(tmp_path):
    model = clip()
    bundle = load_bundle(import_model(save(model, tmp_path / "x.pt"), tmp_path / "b", card="openai-clip").bundle)
    assert [step["step"] for step in bundle.preprocess] == ["resize_shortest", "center_crop", "rescale", "normalize"]
    assert bundle.scoring.scale == pytest.approx(float(model.logit_scale.detach().exp()))


def test_a_file_of_that_shape_under_another_name_is_not_guessed(tmp_path):
    with pytest.raises(AmbiguousModelError, match=r"--as chexzero.*--as openai-clip"):
        import_model(save(clip(), tmp_path / "mine.pt"), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_the_wrong_activation_is_refused(tmp_path):
    with pytest.raises(AmbiguousModelError, match="QuickGELU"):
        import_model(save(clip(), tmp_path / RELEASED), tmp_path / "b", arch="ViT-B-32")


@pytest.mark.parametrize(("wrap", "prefix"), [("state_dict", "module."), ("state_dict", ""), (None, "module.")])
def test_wrappers_and_prefixes_change_nothing(tmp_path, wrap, prefix):
    model = clip()
    plain = import_model(save(model, tmp_path / "p.pt"), tmp_path / "plain", card="chexzero").bundle
    wrapped = import_model(
        save(model, tmp_path / "w.pt", wrap=wrap, prefix=prefix), tmp_path / "wrapped", card="chexzero"
    ).bundle
    assert load_bundle(plain).files == load_bundle(wrapped).files
