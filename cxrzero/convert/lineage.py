"""What a file of weights cannot tell: whose preprocessing, activation and scoring rule belong to it.

CheXzero's and OpenAI's files are the same in every key and shape; one wants pictures padded to 320 pixels on the scale
0–255, the other cropped pictures on the scale 0–1. So the lineage is stated by the user or by a released file name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxrzero.cards.card import Card, card_names, card_of_file, load_card
from cxrzero.clip.steps import Steps, chexzero_steps, clip_steps
from cxrzero.errors import AmbiguousModelError

if TYPE_CHECKING:
    from cxrzero.clip.architecture import Arch


@dataclass(frozen=True)
class Lineage:
    """A family of weights.

    Attributes:
        quick_gelu: the activation, x·σ(1.702x) or GELU; None: the architecture's name says it.
        steps: image size in pixels → preprocessing.
        scale: of the rule softmax_pair, 1 for the paper's; None: the weights' own, exp(logit_scale).
        source: where these facts come from.
        card: all that is known of it; None for files of one's own.
    """

    name: str
    quick_gelu: bool | None
    steps: Callable[[int], Steps]
    scale: float | None
    source: str
    card: Card | None


# For files of one's own: open_clip's transform, and the activation of the architecture that --arch names.
OPEN_CLIP = Lineage(
    "open-clip", None, clip_steps, None, "https://github.com/mlfoundations/open_clip (transform.py)", None
)
STEPS = {"chexzero": chexzero_steps, "openai-clip": clip_steps}
ACTIVATIONS = {"quickgelu": True, "gelu": False}


def choose_lineage(stated: str | None, file_name: str, arch: Arch | None = None) -> tuple[Lineage, str]:
    """The lineage of a file of weights and how it is known.

    Args:
        stated: by `--as`.
        arch: stated by `--arch`; it tells the activation, and nothing of the preprocessing.

    Raises:
        AmbiguousModelError: nobody says it, or `stated` is unknown or wants a folder; names the choices.
    """
    if stated == OPEN_CLIP.name:
        return OPEN_CLIP, f"--as {stated}"
    if stated is not None:
        return _of_card(_known(stated)), f"--as {stated}"
    card = card_of_file(file_name)
    if card is not None:
        return _of_card(card), f"its name, one of {card.title}'s released files"
    raise AmbiguousModelError(
        f"{file_name}: the weights do not tell whose preprocessing and scoring rule belong to them; "
        f"{_what_to_say(arch)}"
    )


def _what_to_say(arch: Arch | None) -> str:
    """What is still open, beside the architecture where that was given."""
    if arch is None:
        return (
            "say it with --as chexzero (padded to 320 pixels, QuickGELU, scale 1), --as openai-clip (cropped, "
            "QuickGELU) or --as open-clip with --arch (cropped, the architecture's activation)"
        )
    if arch.get("quick_gelu"):
        return (
            f"say it beside --arch {arch['name']} with --as chexzero (padded to 320 pixels, scale 1), --as openai-clip "
            "(cropped) or --as open-clip (cropped)"
        )
    return (
        f"if they are your own, say it beside --arch {arch['name']} with --as open-clip (cropped). This architecture "
        "computes with GELU, those of chexzero and openai-clip were trained with QuickGELU: name them without --arch"
    )


def card_of_folder(stated: str | None) -> Card | None:
    """The card that `--as` names for a folder, whose own configuration has to be the authority.

    Raises:
        AmbiguousModelError: it is unknown, or its preprocessing is not the folder's.
    """
    if stated is None:
        return None
    card = _known(stated)
    if card.import_facts.preprocess in STEPS:
        raise AmbiguousModelError(f"a folder says itself what it is; leave out --as {stated}, or give its file alone")
    return card


def _known(stated: str) -> Card:
    names = [name for name in card_names() if not load_card(name).bundled]
    if stated not in names:
        raise AmbiguousModelError(f"--as {stated!r} is unknown; choose one of {', '.join([*names, OPEN_CLIP.name])}")
    return load_card(stated)


def _of_card(card: Card) -> Lineage:
    facts = card.import_facts
    if facts.preprocess not in STEPS or facts.activation not in ACTIVATIONS:
        raise AmbiguousModelError(
            f"{card.name} states its preprocessing in files beside the weights; give the folder that holds them all"
        )
    source = card.facts["preprocess"]
    return Lineage(
        card.name,
        ACTIVATIONS[facts.activation],
        STEPS[facts.preprocess],
        facts.scale,
        source.source if source else card.name,
        card,
    )
