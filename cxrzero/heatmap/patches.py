"""Maps of one model that embeds patches in the space of the texts: what speaks for a finding, patch by patch (MaskCLIP,
Zhou et al., ECCV 2022). One pass for all labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxrzero.heatmap.cells import Axis, patch_axes
from cxrzero.heatmap.films import Film
from cxrzero.maths import Float32s
from cxrzero.member import Member
from cxrzero.model.score import Classifier


class Patches:
    """One model's patches.

    Args:
        member: whose bundle has a patch encoder.
        classifier: of the labels.

    Attributes:
        passes: of an encoder that a film takes beside that of its probability.
    """

    passes = 1

    def __init__(self, member: Member, classifier: Classifier) -> None:
        self._member, self._classifier = member, classifier
        self._axes: tuple[Axis, Axis] | None = None

    def cells(self, films: Sequence[Film], embeds: Float32s) -> Float32s:
        """(N, L, h, w) float32: the evidence of each patch; the films' embeddings say nothing of places."""
        preprocess = self._member.preprocess
        embeds = self._member.encoder.encode_patches(np.stack([preprocess.values(film.fitted[0]) for film in films]))
        return np.moveaxis(self._classifier.evidence(embeds), -1, 1)

    def axes(self, film: Film, grid: tuple[int, int]) -> tuple[Axis, Axis]:
        """Where the patches' middles are in the upright picture, down and across."""
        bundle = self._member.bundle
        assert bundle.patch_encoder is not None, "only who has patches is asked for them"
        if self._axes is None:  # of the model's input: the same for every film
            self._axes = patch_axes(bundle.file(bundle.patch_encoder), grid, bundle.image_size)
        down, across = film.lines(self._member.preprocess.fit, bundle.image_size)
        return down.axis(self._axes[0]), across.axis(self._axes[1])
