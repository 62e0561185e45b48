"""Published models of other kinds than CLIP, each rebuilt in its own module; `LAYOUTS` is how a file's is found.

layout.py holds what a layout is. clear.py and others are one family of models each. bert.py and others are the parts
that several of them are built from: networks whose sizes come from the shapes of their tensors, never fetched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from cxrzero.convert.contents import Contents
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.biovil import BIOVIL, BIOVIL_T
from cxrzero.convert.published.carzero import CARZERO
from cxrzero.convert.published.chexficient import CHEXFICIENT
from cxrzero.convert.published.clear import CLEAR
from cxrzero.convert.published.cxr_clip import CXR_CLIP_RESNET, CXR_CLIP_SWIN
from cxrzero.convert.published.kad import KAD
from cxrzero.convert.published.layout import Layout, Source, part
from cxrzero.convert.published.mavl import MAVL
from cxrzero.convert.published.medclip import MEDCLIP_RESNET, MEDCLIP_VIT
from cxrzero.convert.published.medimageinsight import MEDIMAGEINSIGHT
from cxrzero.convert.published.medklip import MEDKLIP
from cxrzero.convert.published.radzero import RADZERO
from cxrzero.convert.published.unimed_clip import UNIMED_CLIP
from cxrzero.convert.recognise import shortened
from cxrzero.convert.weights import WRAPPERS, widened
from cxrzero.errors import AmbiguousModelError

__all__ = ["LAYOUTS", "Layout", "Source", "find_layout", "load_published"]

# One line a layout, by name.
LAYOUTS: tuple[Layout, ...] = (
    BIOVIL,
    BIOVIL_T,
    CARZERO,
    CHEXFICIENT,
    CLEAR,
    CXR_CLIP_RESNET,
    CXR_CLIP_SWIN,
    KAD,
    MAVL,
    MEDCLIP_RESNET,
    MEDCLIP_VIT,
    MEDIMAGEINSIGHT,
    MEDKLIP,
    RADZERO,
    UNIMED_CLIP,
)


def find_layout(weights: Mapping[str, Tensor]) -> Layout | None:
    """The layout that these tensors are in, by their names and shapes."""
    return next((layout for layout in LAYOUTS if layout.recognises(weights)), None)


def load_published(contents: Contents, source: Source) -> LoadedModel | None:
    """The model in these weights, or None where no layout knows them.

    Raises:
        AmbiguousModelError: --as names another model than the tensors.
        ImportModelError: the layout is known, and something of it is missing or wrong.
    """
    weights, ignored = contents.weights, list(contents.ignored)
    layout = find_layout(weights)
    for wrapper in WRAPPERS if layout is None else ():  # beside other dicts of tensors, such as a loss's
        inner = part(weights, f"{wrapper}.")
        if layout := find_layout(inner):
            ignored += sorted({name.split(".")[0] for name in weights} - {wrapper})
            weights = inner
            break
    if layout is None:
        if source.card in [each.name for each in LAYOUTS]:
            raise AmbiguousModelError(f"{source.path} does not have the tensors of {source.card}; leave out --as")
        return None
    if source.card not in (None, layout.name):
        raise AmbiguousModelError(f"{source.path} has the tensors of {layout.name}, and --as says {source.card}")
    loaded = layout.load(widened(weights), source)
    stated = [f"layout: {layout.name}, by its tensors", *loaded.stated]
    if ignored:
        stated.append(f"ignored beside the weights: {shortened(ignored)}")
    return replace(loaded, files=(*contents.files, *loaded.files), stated=tuple(stated))
