"""Maps of one model that scores by attention: where its scorer looks when it is asked for a finding. They cost no pass
of their own: the tokens are there, as the probability comes from them."""

from __future__ import annotations

from collections.abc import Sequence

from cxrzero.heatmap.cells import Axis, patch_axes
from cxrzero.heatmap.films import Film
from cxrzero.maths import Float32s
from cxrzero.member import Member
from cxrzero.model.model_json import IMAGE_ENCODER
from cxrzero.model.token_scorer import TokenScorer


class Attention:
    """One model's attention.

    Args:
        member: whose bundle says where its scorer looks.
        scorer: of the labels.

    Attributes:
        passes: of an encoder that a film takes beside that of its probability.
    """

    passes = 0

    def __init__(self, member: Member, scorer: TokenScorer) -> None:
        self._member, self._scorer = member, scorer

    def cells(self, films: Sequence[Film], embeds: Float32s) -> Float32s:
        """(N, L, h, w) float32: how much of each place of N films the scorer looks at, from their tokens (N, F)."""
        return self._scorer.attention(embeds, self._member.encoder.attend)

    def axes(self, film: Film, grid: tuple[int, int]) -> tuple[Axis, Axis]:
        """Where the places' middles are in the upright picture, down and across."""
        bundle = self._member.bundle
        places = patch_axes(bundle.file(IMAGE_ENCODER), grid, bundle.image_size, "image_tokens")
        down, across = film.lines(self._member.preprocess.fit, bundle.image_size)
        return down.axis(places[0]), across.axis(places[1])
