"""--alike: what tells the groups of films apart that a text is true of, removed from a run's kept weights.

The change is affine and stands before the projection, into which it is folded: the model stays as large and as fast.
Of a trunk that pools by the mean, the mean of the changed patches is the changed mean, so that patch embeddings stay in
the space of the picture's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from open_clip.model import CustomTextCLIP

from cxrzero.train.data.grouped import GroupedFilms
from cxrzero.train.model.erase import Floats, fit_eraser, told_apart
from cxrzero.train.model.weights import Projection
from cxrzero.train.provenance import listed_labels


def make_alike(model: CustomTextCLIP, text: str, films: GroupedFilms, features: Floats) -> dict[str, Any]:
    """Change the projection; what it brought.

    Args:
        text: what is true of the films.
        features: (N, F) what the projection is given of the films.

    Returns:
        For the bundle: how many films and groups, and the balanced accuracy of a linear classifier of the groups before
        and after; the text only if the bank lists it.
    """
    embed = Projection.of(model)
    before, after = (round(told_apart(features, films, embed, erase), 4) for erase in (False, True))
    eraser = fit_eraser(features, films.groups, films.count)
    Projection(*eraser.folded(embed.weight, embed.bias)).put_into(model)
    facts: dict[str, Any] = {"images": len(films.images), "groups": films.count, "before": before, "after": after}
    return facts | {"text": next(iter(listed_labels({text: None})), None)}


def sentence(facts: Mapping[str, Any]) -> str:
    return (
        f"A linear classifier told the {facts['groups']} groups of {facts['images']:,} films of --alike apart with "
        f"a balanced accuracy of {facts['before']:.3f}, and does with {facts['after']:.3f} now "
        f"(chance {1 / facts['groups']:.3f})."
    )
