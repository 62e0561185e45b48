"""From films to maps: one object that has models, labels and a method."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cxrzero.heatmap.arrays import FilmMaps
from cxrzero.heatmap.attention import Attention
from cxrzero.heatmap.cells import Axis
from cxrzero.heatmap.films import Film
from cxrzero.heatmap.methods import Method
from cxrzero.heatmap.occlusion import Occlusion
from cxrzero.heatmap.patches import Patches
from cxrzero.heatmap.places import onto_frame, seen_by
from cxrzero.maths import Float32s
from cxrzero.member import Member
from cxrzero.model.score import Classifier, Ensemble, Part
from cxrzero.model.token_scorer import TokenScorer
from cxrzero.prediction import printable_path
from cxrzero.prompts import LabelPrompts

# Films whose patches are in memory together: of a ViT-L/14 at 336 pixels those of one have 1.8 MB.
AT_ONCE = 32


class Mapper:
    """Makes maps of films. An embedding that is kept is of a whole film and of no use here: each film is encoded.

    Args:
        members: the models, asked together.
        prompts: of the labels.
        method: see `cxrzero.heatmap.methods.choose_method`.
        batch_size: images in one call of an encoder; the maps do not depend on it.

    Attributes:
        labels: the L that are asked.
        fingerprint: of the model; those of an ensemble's members are joined by "+".
        at_once: films that are best given together.
        passes: images that each model has encoded so far.
    """

    def __init__(
        self, members: Sequence[Member], prompts: Sequence[LabelPrompts], method: Method, batch_size: int
    ) -> None:
        self._members, self._batch_size, self.method = members, batch_size, method
        self.labels = tuple(prompt.label for prompt in prompts)
        classifiers = [member.classifier(member.own(prompts)) for member in members]
        self._scorer: Part | Ensemble = classifiers[0] if len(members) == 1 else Ensemble(tuple(classifiers))
        self._patches = _patches_of(members[0], classifiers[0], method)
        self.fingerprint = "+".join(member.fingerprint for member in members)
        self.at_once = min(batch_size, AT_ONCE) if self._patches else 1
        self.passes = 0

    def __call__(self, films: Sequence[Film]) -> list[FilmMaps]:
        """The maps of each film, in order."""
        embeds = np.concatenate([self._embedded(index, films) for index in range(len(self._members))], axis=1)
        probabilities = self._scorer(embeds).probability
        self.passes += len(films)
        if self._patches:
            cells = self._patches.cells(films, embeds)
            grid = (cells.shape[2], cells.shape[3])
            self.passes += len(films) * self._patches.passes
            drawn = [(each, self._patches.axes(film, grid)) for film, each in zip(films, cells, strict=True)]
        else:
            evidence = self._scorer.evidence(embeds)
            drawn = [self._occluded(film, whole) for film, whole in zip(films, evidence, strict=True)]
        return [
            self._maps(film, each, axes, found)
            for film, (each, axes), found in zip(films, drawn, probabilities, strict=True)
        ]

    def _embedded(self, index: int, films: Sequence[Film]) -> Float32s:
        member = self._members[index]
        return member.encoder.encode_images(np.stack([member.preprocess.values(film.fitted[index]) for film in films]))

    def _occluded(self, film: Film, whole: Float32s) -> tuple[Float32s, tuple[Axis, Axis]]:
        occlusion = Occlusion(film, self._members, self._scorer.evidence, self._batch_size)
        cells = occlusion.cells(whole)
        self.passes += occlusion.passes
        return cells, occlusion.axes

    def _maps(self, film: Film, cells: Float32s, axes: tuple[Axis, Axis], probabilities: Float32s) -> FilmMaps:
        maps, seen = onto_frame(cells, axes, film.size, film.stored, self._seen(film))
        return FilmMaps(
            path=printable_path(film.ref.path),
            frame=film.frame,
            labels=self.labels,
            maps=maps,
            probabilities=probabilities,
            rows=film.stored.rows,
            columns=film.stored.columns,
            method=self.method,
            fingerprint=self.fingerprint,
            orientation=film.stored.orientation,
            seen=seen,
        )

    def _seen(self, film: Film) -> tuple[float, float, float, float]:
        """What any of the models sees of the upright film: left, upper, right, lower."""
        parts = [
            seen_by(film.lines(member.preprocess.fit, member.bundle.image_size), member.bundle.image_size, film.size)
            for member in self._members
        ]
        left, upper, right, lower = zip(*parts, strict=True)
        return min(left), min(upper), max(right), max(lower)


def _patches_of(member: Member, scorer: Part, method: Method) -> Patches | Attention | None:
    """What makes maps of one model without covering anything; None where a method does."""
    if method == "attention":
        assert isinstance(scorer, TokenScorer), "only who scores by attention is asked for it"
        return Attention(member, scorer)
    if method == "patch":
        assert isinstance(scorer, Classifier), "only who has patches is asked for them"
        return Patches(member, scorer)
    return None
