"""A model that scores by attention becomes a bundle of schema 3 whose logits are the model's own."""

import json

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from cxrzero.convert import importer  # noqa: E402
from cxrzero.convert.attention_export import export_attention  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from tests.support import attention  # noqa: E402

PIXELS = torch.rand(9, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 4 - 2
IDS = torch.randint(1, 257, (3, 32), generator=torch.Generator().manual_seed(2))
IDS[:, 20:] = 0


def export(towers, folder, together=False):
    return export_attention(towers, PIXELS, IDS, folder, together=together)


def run(path, **inputs):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, inputs)


@pytest.mark.parametrize("together", [False, True])
def test_the_three_graphs_give_the_logits_of_the_modules(tmp_path, together):
    towers = attention.towers(together)
    exported = export(towers, tmp_path, together)
    films, sentences = PIXELS[:5].numpy(), IDS[:2].numpy()
    [image_tokens] = run(tmp_path / "image_encoder.onnx", pixel_values=films)
    [text_tokens] = run(tmp_path / "text_encoder.onnx", input_ids=sentences)
    logits, seen = run(tmp_path / "scorer.onnx", image_tokens=image_tokens, text_tokens=text_tokens)
    with torch.no_grad():
        expected = towers.scorer(towers.image(PIXELS[:5]), towers.text(IDS[:2]))
    np.testing.assert_allclose(logits, expected[0].numpy(), atol=1e-5)
    np.testing.assert_allclose(seen, expected[1].numpy(), atol=1e-6)
    assert (exported.tokens.image, exported.tokens.text, exported.attention) == ((17, 8), (2, 8), (4, 4))
    assert exported.deviation < 1e-3


def test_an_import_writes_a_bundle_of_schema_3(tmp_path, monkeypatch):
    monkeypatch.setattr(importer, "load_model", lambda *_: attention.loaded(attention.towers()))
    (tmp_path / "weights.pt").write_bytes(b"weights")
    report = importer.import_model(tmp_path / "weights.pt", tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert (bundle.tokens.image, bundle.attention, bundle.embed_dim) == ((17, 8), (4, 4), None)
    assert (bundle.scoring.rule, bundle.scoring.scale, bundle.scoring.together) == ("scorer", 2.0, False)
    card = json.loads((tmp_path / "bundle" / "model.json").read_text())
    assert card["schema_version"] == 3
    assert "scorer.onnx" in card["files"]
    assert any("p = σ(2·logit⁺ +0.5), the labels of a question independent" in line for line in report.lines)
