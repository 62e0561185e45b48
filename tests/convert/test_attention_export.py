"""A model that scores by attention becomes a bundle of schema 3 whose logits are the model's own."""

import json
import re
from dataclasses import replace

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from cxrzero.convert import attention_export, importer  # noqa: E402
from cxrzero.convert.attention_export import export_attention  # noqa: E402
from cxrzero.convert.variants import add_unmeasured, add_variants  # noqa: E402
from cxrzero.errors import ConfigError, ImportModelError, InexactExportError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.registry.verify import verify  # noqa: E402
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
    checks = {check.name: check for check in verify(bundle)}
    assert all(check.ok for check in checks.values())
    assert "logits of 4 films × 3 sentences as the import noted them" in checks["scorer"].detail
    for add in (lambda: add_variants(bundle.path, ["bf16"]), lambda: add_unmeasured(bundle.path, "int8")):
        with pytest.raises(ConfigError, match="scores by attention, and other precisions are measured on cosines"):
            add()


class Changed(nn.Module):
    """A module whose outputs are changed before anybody sees them."""

    def __init__(self, module, change):
        super().__init__()
        self.module, self.change = module, change

    def forward(self, *inputs):
        return self.change(self.module(*inputs))


def changed(part, change, **given):
    towers = attention.towers(**given)
    return replace(towers, **{part: Changed(getattr(towers, part), change)})


@pytest.mark.parametrize(
    ("towers", "error", "said"),
    [
        (
            changed("scorer", lambda logits: logits - logits.mean(dim=0), has_attention=False),
            InexactExportError,
            "those of the same film beside others",
        ),
        (attention.towers(together=True), InexactExportError, "those of the same sentence beside others"),
        (
            changed("scorer", lambda logits: 0 * logits, has_attention=False),
            InexactExportError,
            "gives all drawn films the same logits",
        ),
        (changed("image", lambda tokens: tokens[:, 0]), ImportModelError, "of shape (9, 8), not float32 (N, T, D)"),
        (changed("text", lambda tokens: tokens.double()), ImportModelError, "gives torch.float64 of shape (3, 2, 8)"),
        (
            changed("scorer", lambda logits: logits.transpose(0, 1), has_attention=False),
            ImportModelError,
            "gives logits of shape (3, 9)",
        ),
        (changed("scorer", lambda logits: logits / 0, has_attention=False), ImportModelError, "or not all finite"),
        (changed("scorer", lambda both: (both[0], both[1][0])), ImportModelError, "attention of shape (3, 4, 4), not"),
    ],
)
def test_what_would_not_answer_as_itself_is_not_written(tmp_path, towers, error, said):
    with pytest.raises(error, match=re.escape(said)):
        export(towers, tmp_path)


def test_an_export_that_answers_differently_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(attention_export, "MAX_DEVIATION", -1.0)
    with pytest.raises(InexactExportError, match=r"scorer\.onnx differ from the model's own by .* of their standard"):
        export(attention.towers(), tmp_path)


@pytest.mark.parametrize(
    ("change", "dtype"),
    [
        (lambda tokens: 4 * torch.round(tokens), "float16"),  # whole numbers, which float16 has
        (lambda tokens: tokens + 100, "float32"),  # float16 has every sixteenth there
        (lambda tokens: tokens * 1e6, "float32"),  # beyond its range
    ],
)
def test_tokens_are_kept_in_half_where_that_moves_no_logit(tmp_path, change, dtype):
    class Sums(nn.Module):
        def forward(self, image_tokens, text_tokens):
            films = image_tokens - image_tokens.mean(dim=(1, 2), keepdim=True)
            return torch.matmul(films[:, 1:].amax(dim=(1, 2))[:, None], text_tokens.mean(dim=(1, 2))[None])

    towers = replace(changed("image", change, has_attention=False), scorer=Sums())
    exported = export(towers, tmp_path)
    assert exported.tokens.dtype == dtype
    assert (exported.rounding < 0.0002) == (dtype == "float16")
    assert exported.deviation < 0.0002
