"""What is done at the end of a run to the weights that will be exported: --refit, then --alike.

Both change the projection alone, by the features of the training images as the kept weights see them: in float32 and
without augmentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.model import CustomTextCLIP

from cxrzero.maths import Ints
from cxrzero.train.alike import make_alike, sentence
from cxrzero.train.data.grouped import films_saying
from cxrzero.train.material import Material
from cxrzero.train.measure.validation import Validation
from cxrzero.train.model import checkpoint
from cxrzero.train.model.erase import Floats
from cxrzero.train.options import TrainOptions
from cxrzero.train.provenance import public_validation
from cxrzero.train.refit import refit

CHUNK = 128  # images of one forward pass


@dataclass(frozen=True)
class Finished:
    """What was done to a checkpoint.

    Attributes:
        facts: for the bundle, by what was done: "refit", "alike".
        validation: of the weights as they are now.
    """

    facts: dict[str, dict[str, Any]]
    validation: Validation

    def sentences(self) -> Iterator[str]:
        if "refit" in self.facts:
            done = self.facts["refit"]
            yield f"The projection was fitted to {done['texts']:,} texts of {done['images']:,} images (--refit)."
        if "alike" in self.facts:
            yield sentence(self.facts["alike"])

    def numbers(self) -> dict[str, dict[str, Any]]:
        """The facts without words, for the log."""
        return {
            done: {name: value for name, value in facts.items() if name != "text"} for done, facts in self.facts.items()
        }


def asked(options: TrainOptions) -> list[str]:
    """What is to be done, in this order."""
    return [*(["refit"] if options.refit else []), *(["alike"] if options.alike is not None else [])]


def finish(model: CustomTextCLIP, file: Path, material: Material, pause: Callable[[], None]) -> Finished:
    """Change a kept checkpoint, once: one that was changed before is only measured.

    Args:
        model: of the run; it gets the checkpoint's weights.
        pause: called between two batches of images; may raise to stop.
    """
    content, todo = checkpoint.load(file), asked(material.options)
    model.load_state_dict(content["model"])
    kept = {name: content["provenance"].get(name) for name in todo}
    if all(facts is not None for facts in kept.values()):
        return Finished(kept, material.validator(model))
    facts = _change(model, material, pause)
    found = material.validator(model)
    content["model"] = model.state_dict()
    content["scale"] = found.scale
    content["provenance"] |= facts | {
        "held_out_statement_auroc": found.statement_auroc,
        "validation": public_validation(found.to_dict()),
    }
    checkpoint.save(file, content)
    return Finished(facts, found)


def _change(model: CustomTextCLIP, material: Material, pause: Callable[[], None]) -> dict[str, dict[str, Any]]:
    options = material.options
    films = None if options.alike is None else films_saying(material.pairs, options.alike)
    images = np.flatnonzero(~material.pairs.validation) if options.refit or films is None else films.images
    features = _features(model, images, material, pause)
    facts: dict[str, dict[str, Any]] = {}
    if options.refit:
        facts["refit"] = refit(model, features, images, material)
    if options.alike is not None and films is not None:
        theirs = features[np.searchsorted(images, films.images)] if options.refit else features
        facts["alike"] = make_alike(model, options.alike, films, theirs)
    return facts


@torch.no_grad()
def _features(model: CustomTextCLIP, images: Ints, material: Material, pause: Callable[[], None]) -> Floats:
    """(N, F): what the projection is given of each image, in float32 and without augmentation."""
    model.eval()
    parts = []
    for start in range(0, len(images), CHUNK):
        pause()
        pixels = torch.from_numpy(material.pixels[images[start : start + CHUNK]]).to(material.world.device)
        parts.append(model.visual.trunk(material.prepare_pixels(pixels.float() / 255)).cpu().numpy())
    return np.concatenate(parts).astype(np.float64)
