"""A bare file of weights → LoadedModel: a published layout, CheXzero, OpenAI's CLIP, open_clip."""

from __future__ import annotations

from pathlib import Path

from open_clip.model import convert_to_custom_text_state_dict

from cxrzero.clip.architecture import Arch, build_model, load_arch
from cxrzero.clip.tokenizer import PAD_ID, clip_tokenizer
from cxrzero.convert.contents import contents_of
from cxrzero.convert.lineage import Lineage, choose_lineage
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published import load_published
from cxrzero.convert.recognise import exponentiated_scale, fill, recognise
from cxrzero.convert.source import Source
from cxrzero.convert.towers import open_clip_towers
from cxrzero.convert.weights import StateDict, read_file, unwrap, widened
from cxrzero.errors import AmbiguousModelError, UsageError


def load_checkpoint(path: Path, card: str | None, arch_name: str | None, tokenizer: Path | None = None) -> LoadedModel:
    """Read weights and put them into their architecture.

    Args:
        card: lineage; None goes by the tensors, and for a CLIP by the file's name.
        arch_name: open_clip's name of the architecture; None recognises it by shapes.
        tokenizer: vocabulary file of a text tower, or its folder; None looks beside the weights.

    Raises:
        AmbiguousModelError: lineage, architecture or activation stays open; names the choices.
        ImportModelError: the file is not usable.
        UsageError: the architecture is unknown.
    """
    content = read_file(path)
    if arch_name is None:
        found = contents_of(content, path)
        published = load_published(found, Source(path, tokenizer, card, found.config))
        if published is not None:
            return published
    if tokenizer is not None:
        raise UsageError(f"{path} is read with CLIP's own tokenizer; leave out --tokenizer")
    weights = dict(convert_to_custom_text_state_dict(widened(unwrap(content, path))))
    given = load_arch(arch_name) if arch_name is not None else None
    lineage, how = choose_lineage(card, path.name, given)
    arch = _architecture(weights, lineage, given)
    model = build_model(arch).eval()
    fill(model, weights, arch["architecture"])
    size = int(arch["vision_cfg"]["image_size"])
    activation = "QuickGELU" if arch.get("quick_gelu") else "GELU"
    scale = exponentiated_scale(weights) if lineage.scale is None else lineage.scale
    return LoadedModel(
        model=model,
        towers=open_clip_towers(model),
        architecture=arch["architecture"],
        embed_dim=int(arch["embed_dim"]),
        image_size=(size, size),
        preprocess=lineage.steps(size),
        scoring={"rule": "softmax_pair", "scale": scale},
        tokenizer=clip_tokenizer(),
        context_length=int(arch["text_cfg"].get("context_length", 77)),
        pad_id=PAD_ID,
        activation=activation,
        lineage=lineage.name,
        card=lineage.card,
        arch=arch,
        stated=(
            f"architecture: {arch['architecture']} ({'--arch' if arch_name else 'by the shapes of its tensors'})",
            f"lineage: {lineage.name}, by {how}: its preprocessing and scoring rule apply ({lineage.source})",
            f"activation: {activation} ({'--arch' if arch_name else f'of the lineage {lineage.name}'})",
        ),
    )


def _architecture(weights: StateDict, lineage: Lineage, arch: Arch | None) -> Arch:
    if arch is None:
        if lineage.quick_gelu is None:
            raise AmbiguousModelError(
                f"weights of {lineage.name} do not tell their activation (QuickGELU or GELU): name the architecture, "
                "for example --arch ViT-B-32 or --arch ViT-B-32-quickgelu"
            )
        return recognise(weights, lineage.quick_gelu)
    if lineage.quick_gelu is not None and bool(arch.get("quick_gelu", False)) != lineage.quick_gelu:
        raise AmbiguousModelError(
            f"--arch {arch['name']} computes with GELU, and models of the lineage {lineage.name} were trained with "
            f"QuickGELU: every result would be slightly wrong. Leave --arch out, or take {arch['name']}-quickgelu"
        )
    return arch
