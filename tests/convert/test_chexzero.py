"""CheXzero's checkpoints: predict equals the paper's computation, and the comparison has teeth."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cxrzero import Screener  # noqa: E402
from cxrzero.convert import import_model  # noqa: E402
from cxrzero.errors import AmbiguousModelError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from tests.support import chexzero as reference  # noqa: E402
from tests.support.checkpoints import clip, save, spread  # noqa: E402
from tests.support.chexzero import FAULTS, LABELS, RELEASED, probabilities  # noqa: E402

THREE = (RELEASED, "best_64_5e-05_original_16000_0.858.pt", "best_64_0.0001_original_35000_0.864.pt")


def state_of(model, half=False):
    """float32, as read back from a file that holds matrices in half precision, or not."""
    state = {name: value.float() for name, value in model.state_dict().items()}
    return {name: value.half().float() if half and value.ndim >= 2 else value for name, value in state.items()}


def answers(bundle, films):
    """(p, d) float64 of predict."""
    rows = Screener(bundle, device="cpu", cache=False).predict(films, LABELS)
    p = np.array([[row.scores[label] for label in LABELS] for row in rows], float)
    d = np.array([[row.cos_pos[label] - row.cos_neg[label] for label in LABELS] for row in rows], float)
    return p, d


def agrees(ours, theirs):
    return bool(np.abs(ours[0] - theirs[0]).max() <= 1e-5 and np.abs(ours[1] - theirs[1]).max() <= 2e-5)


def mean_probabilities(states, films, size, fault=None):
    """(p, d) of the ensemble of `states`; of one, its own."""
    with torch.no_grad():
        alone = [probabilities(state, sorted(films.iterdir()), LABELS, size, fault) for state in states]
    return tuple(np.mean([each[part] for each in alone], axis=0) for part in (0, 1))


ENSEMBLE = "three, one of them mixed"


@pytest.fixture(scope="module", params=["fp32", "mixed fp16", ENSEMBLE])
def asked(request, films, tmp_path_factory):
    """(answers of predict, bundles, state dicts) of small models in CheXzero's layout."""
    folder = tmp_path_factory.mktemp("small")
    halves = {"fp32": [False], "mixed fp16": [True]}.get(request.param, [False, True, False])
    bundles, states = [], []
    for seed, (name, half) in enumerate(zip(THREE, halves, strict=False)):
        model = clip(image_size=224, seed=seed)
        save(model, folder / name, half=half)
        bundles.append(import_model(folder / name, folder / "bundles" / name).bundle)
        states.append(state_of(model, half))
    return answers(bundles, films), bundles, states


def test_predict_equals_the_papers_computation(asked, films):
    ours, _, states = asked
    assert agrees(ours, mean_probabilities(states, films, 224))
    assert np.ptp(ours[1], axis=0).min() > 1e-3, "the films must differ for the comparison to mean anything"


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_notices(asked, films, fault):
    ours, _, states = asked
    assert not agrees(ours, mean_probabilities(states, films, 224, fault))


@pytest.mark.parametrize("asked", [ENSEMBLE], indirect=True)
def test_an_ensemble_is_none_of_its_members_and_states_their_deviation(asked, films):
    ours, bundles, states = asked
    assert not any(agrees(ours, mean_probabilities([state], films, 224)) for state in states)
    alone = [probabilities(state, sorted(films.iterdir()), LABELS, 224)[0] for state in states]
    rows = Screener(bundles, device="cpu", cache=False).predict(films, LABELS)
    sd = np.array([[row.sd[label] for label in LABELS] for row in rows])
    np.testing.assert_allclose(sd, np.std(alone, axis=0, ddof=1), atol=1e-5)


def test_the_reference_imports_nothing_of_ours():
    tree = ast.parse(Path(reference.__file__).read_text("utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} <= {
        "__future__",
        "html",
        "numpy",
        "torch",
        "torchvision",
        "PIL",
        "open_clip",  # its tokenizer: CLIP's own byte-pair encoding
    }


def test_half_precision_in_the_file_is_widened_and_stays_small(films, tmp_path):
    model = clip(image_size=224, seed=1)
    save(model, tmp_path / RELEASED, half=True)
    bundle = import_model(tmp_path / RELEASED, tmp_path / "half").bundle
    assert agrees(answers(bundle, films), mean_probabilities([state_of(model, half=True)], films, 224))
    exact = import_model(save(model, tmp_path / "full.pt"), tmp_path / "full", card="chexzero").bundle
    sizes = [(folder / "text_encoder.onnx").stat().st_size for folder in (bundle, exact)]
    assert sizes[0] < 0.6 * sizes[1]


def test_the_random_init_variant_takes_320_pixels_without_a_second_resize(films, tmp_path):
    model = clip(image_size=320, patch=16, seed=2)
    bundle = import_model(save(model, tmp_path / "mine.pt"), tmp_path / "b", card="chexzero").bundle
    assert load_bundle(bundle).image_size == (320, 320)
    assert agrees(answers(bundle, films), mean_probabilities([state_of(model)], films, 320))


@pytest.mark.parametrize("half", [False, True], ids=["fp32", "mixed fp16"])
def test_the_full_size_layout(films, tmp_path, half):
    """ViT-B/32 with its 302 tensors, as the ten files are; and the comparison has teeth at this size too."""
    open_clip = pytest.importorskip("open_clip")
    torch.manual_seed(0)
    model = spread(open_clip.model.CLIP(**open_clip.get_model_config("ViT-B-32-quickgelu")), 1.5)
    assert len(model.state_dict()) == 302
    save(model, tmp_path / RELEASED, half=half)
    report = import_model(tmp_path / RELEASED, tmp_path / "bundle")
    (tmp_path / RELEASED).unlink()
    assert any("ViT-B-32-quickgelu" in line for line in report.lines)
    assert any("QuickGELU" in line for line in report.lines)
    ours, states = answers(report.bundle, films), [state_of(model, half)]
    assert agrees(ours, mean_probabilities(states, films, 224))
    for fault in () if half else FAULTS:  # the reference is the same for both
        assert not agrees(ours, mean_probabilities(states, films, 224, fault)), fault
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


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plain")
    return import_model(save(clip(), folder / "p.pt"), folder / "plain", card="chexzero").bundle


@pytest.mark.parametrize(("wrap", "prefix"), [("state_dict", "module."), ("state_dict", ""), (None, "module.")])
def test_wrappers_and_prefixes_change_nothing(plain, tmp_path, wrap, prefix):
    wrapped = import_model(
        save(clip(), tmp_path / "w.pt", wrap=wrap, prefix=prefix), tmp_path / "wrapped", card="chexzero"
    ).bundle
    assert load_bundle(plain).files == load_bundle(wrapped).files
