"""--refit: the projection that is exported is fitted again, once, and it is said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
from cxrzero.errors import UsageError  # noqa: E402
from cxrzero.model.bundle import load_bundle  # noqa: E402
from cxrzero.train import finish as finish_module  # noqa: E402
from cxrzero.train import resume, train  # noqa: E402
from cxrzero.train.measure import metricslog  # noqa: E402
from cxrzero.train.refit import mirrored  # noqa: E402
from tests.support.runs import weights  # noqa: E402
from tests.train.test_alike import options  # noqa: E402, F401


def test_texts_that_differ_by_side_are_mirror_images():
    texts = [
        "left effusion",
        "no left effusion",
        "right effusion",
        "effusion",
        "leftover",
        "fluid right of the left one",
    ]
    assert mirrored([*texts, "fluid left of the right one"]).tolist() == [[0, 2], [5, 6]]
    assert mirrored(["effusion"]).shape == (0, 2)


def test_the_exported_projection_is_fitted_again_and_it_is_said(options, tmp_path):  # noqa: F811
    seen: list[Any] = []
    asked = replace(options, alike=None, refit=True)
    run = train(asked, seen.append)
    plain = train(replace(asked, out=tmp_path / "plain", refit=False))
    before = weights(plain)
    changed = {name for name, value in weights(run).items() if not torch.equal(value, before[name])}
    assert changed == {"visual.head.proj.weight", "visual.head.proj.bias"}
    provenance = load_bundle(run).card["provenance"]
    assert provenance["refit"] == {"images": 68, "texts": 2}
    assert "--refit" in provenance["command"]
    assert load_bundle(plain).card["provenance"]["refit"] is None
    said = [each.message for each in seen if each.stage == "note" and "--refit" in each.message]
    assert said[-1] == "The projection was fitted to 2 texts of 68 images (--refit)."
    last = metricslog.read(run)[-1]
    assert last["refit"] == provenance["refit"]
    assert last["validation"] == provenance["validation"]


def test_with_alike_it_comes_first_and_a_resumed_run_does_neither_again(options, monkeypatch):  # noqa: F811
    run = train(replace(options, refit=True))
    card, held = load_bundle(run).card["provenance"], weights(run)
    assert card["refit"]["images"] > 0
    assert card["alike"]["after"] < card["alike"]["before"]
    monkeypatch.setattr(finish_module, "refit", None)
    monkeypatch.setattr(finish_module, "make_alike", None)
    assert resume(run) == run
    assert all(torch.equal(value, held[name]) for name, value in weights(run).items())


def test_a_frozen_image_tower_is_refused(options):  # noqa: F811
    with pytest.raises(UsageError, match="--refit changes"):
        replace(options, alike=None, refit=True, freeze="image")
