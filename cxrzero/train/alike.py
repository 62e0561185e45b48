"""--alike: what tells the groups of films apart that a text is true of, removed from a run's kept weights.

The change is affine and stands before the projection, into which it is folded: the model stays as large and as fast.
Of a trunk that pools by the mean, the mean of the changed patches is the changed mean, so that patch embeddings stay in
the space of the picture's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.model import CustomTextCLIP

from cxrzero.train.data.grouped import GroupedFilms, films_saying
from cxrzero.train.material import Material
from cxrzero.train.measure.validation import Validation
from cxrzero.train.model import checkpoint
from cxrzero.train.model.erase import Floats, fit_eraser, told_apart
from cxrzero.train.model.weights import linear_projection
from cxrzero.train.provenance import listed_labels, public_validation

CHUNK = 128  # images of one forward pass


@dataclass(frozen=True)
class Erased:
    """What was done to a checkpoint.

    Attributes:
        facts: for the bundle: how many films and groups, and the balanced accuracy of a linear classifier of the groups
            before and after; the text only if the bank lists it.
        validation: of the weights as they are now.
    """

    facts: dict[str, Any]
    validation: Validation

    def sentence(self) -> str:
        facts = self.facts
        return (
            f"A linear classifier told the {facts['groups']} groups of {facts['images']:,} films of --alike apart with "
            f"a balanced accuracy of {facts['before']:.3f}, and does with {facts['after']:.3f} now "
            f"(chance {1 / facts['groups']:.3f})."
        )


def make_alike(model: CustomTextCLIP, file: Path, material: Material, pause: Callable[[], None]) -> Erased:
    """Change a kept checkpoint, once: one that was changed before is only measured.

    Args:
        model: of the run; it gets the checkpoint's weights.
        pause: called between two batches of films; may raise to stop.
    """
    content = checkpoint.load(file)
    model.load_state_dict(content["model"])
    facts = content["provenance"].get("alike")
    if facts is not None:
        return Erased(facts, material.validator(model))
    assert material.options.alike is not None
    films = films_saying(material.pairs, material.options.alike)
    facts = _erase(model, films, _features(model, films, material, pause))
    facts["text"] = next(iter(listed_labels({material.options.alike: None})), None)
    found = material.validator(model)
    content["model"] = model.state_dict()
    content["scale"] = found.scale
    content["provenance"] |= {
        "alike": facts,
        "held_out_statement_auroc": found.statement_auroc,
        "validation": public_validation(found.to_dict()),
    }
    checkpoint.save(file, content)
    return Erased(facts, found)


@torch.no_grad()
def _features(model: CustomTextCLIP, films: GroupedFilms, material: Material, pause: Callable[[], None]) -> Floats:
    """(N, F): what the projection is given of each film, in float32 and without augmentation."""
    model.eval()
    parts = []
    for start in range(0, len(films.images), CHUNK):
        pause()
        pixels = torch.from_numpy(material.pixels[films.images[start : start + CHUNK]]).to(material.world.device)
        parts.append(model.visual.trunk(material.prepare_pixels(pixels.float() / 255)).cpu().numpy())
    return np.concatenate(parts).astype(np.float64)


@torch.no_grad()
def _erase(model: CustomTextCLIP, films: GroupedFilms, features: Floats) -> dict[str, Any]:
    """Change the projection; what it brought."""
    projection = linear_projection(model)
    weight, bias = (each.detach().cpu().double().numpy() for each in (projection.weight, projection.bias))

    def embed(changed: Floats) -> Floats:
        embeds = changed @ weight.T + bias
        return np.asarray(embeds / np.linalg.norm(embeds, axis=1, keepdims=True).clip(1e-12))

    before, after = (round(told_apart(features, films, embed, erase), 4) for erase in (False, True))
    eraser = fit_eraser(features, films.groups, films.count)
    for parameter, value in zip((projection.weight, projection.bias), eraser.folded(weight, bias), strict=True):
        parameter.copy_(torch.from_numpy(value))
    return {"images": len(films.images), "groups": films.count, "before": before, "after": after}
