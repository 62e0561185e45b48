"""Every published layout is told from every other, and from a CLIP, by the names and shapes of its tensors."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from cxrzero.convert.published import LAYOUTS  # noqa: E402
from tests.support.checkpoints import clip  # noqa: E402
from tests.support.published import FOLDER, Published  # noqa: E402


def recognised(state):
    return [layout.name for layout in LAYOUTS if layout.recognises(state)]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.npz")), ids=lambda path: path.stem)
def test_a_file_is_in_one_layout(path):
    model = Published(path.stem)
    state = {name: torch.empty(shape) for entries in model.tensors.values() for name, (_, shape) in entries.items()}
    (name,) = recognised(state)
    assert path.stem.startswith(name)
    assert str(model.expected["made_by"]).startswith(f"python benchmarks/published_models.py {path.stem} ")


@pytest.mark.parametrize("custom_text", [True, False])
def test_a_clip_is_in_none(custom_text):
    assert recognised(clip(custom_text=custom_text).state_dict()) == []


def test_every_layout_has_a_tiny_model():
    stems = [path.stem for path in FOLDER.glob("*.npz")]
    assert all(any(stem.startswith(layout.name) for stem in stems) for layout in LAYOUTS)
