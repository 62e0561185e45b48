"""From a source to a bundle on disk: load, export, compare, write; whole or not at all."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cxrzero.backends.onnxruntime import OnnxRuntimeEncoder
from cxrzero.cards.card import Card, iter_cards
from cxrzero.convert.attention_export import ExportedScorer, export_attention
from cxrzero.convert.checkpoint import load_checkpoint
from cxrzero.convert.contents import read_folder, weight_files
from cxrzero.convert.example import EXAMPLE, drawn, noted
from cxrzero.convert.huggingface_folder import CONFIG, MODELS, kind_of, load_huggingface_folder
from cxrzero.convert.labels import LABELS
from cxrzero.convert.lineage import card_of_folder
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.onnx_export import ExportedModel, example_ids, example_pixels, export_onnx
from cxrzero.convert.openclip_folder import CONFIG as OPEN_CLIP_CONFIG
from cxrzero.convert.openclip_folder import load_openclip_folder
from cxrzero.convert.published import load_published
from cxrzero.convert.shards import INDEX, files_of
from cxrzero.convert.source import Source
from cxrzero.convert.towers import AttentionTowers
from cxrzero.errors import ImportModelError, NoInputError, OutputError, OutputExistsError, UsageError
from cxrzero.files import cannot_write, sha256_of, software, whole_folder
from cxrzero.images.radiograph import GreyImage
from cxrzero.model.bundle import describe_files, load_bundle
from cxrzero.model.model_json import MODEL_JSON, SCORER_RULE, TOGETHER, TOKENIZER, schema_of
from cxrzero.model.preprocess import Preprocess
from cxrzero.outside.offline import offline
from cxrzero.phantom import draw

VERSIONS = ("torch", "open_clip_torch", "timm", "transformers", "onnx", "onnxruntime-gpu", "onnxruntime", "tokenizers")
# Files of open_clip's and transformers' folders.
MODEL_FILE = re.compile(
    r"(?:config|open_clip_config|preprocessor_config|processor_config|tokenizer|tokenizer_config|special_tokens_map"
    r"|added_tokens|vocab)\.json|(?:vocab|merges)\.txt|spiece\.model"
    r"|(?:pytorch_model|model|open_clip_pytorch_model|open_clip_model)(?:-\d+-of-\d+)?\.(?:bin|safetensors)(?:\.index\.json)?"
)
# Over which the standard deviation of a logit is taken; another number than `example_ids` gives sentences.
DRAWN_FOR_SCORER = 12
WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors", ".ckpt")


@dataclass(frozen=True)
class ImportReport:
    """What an import did.

    Attributes:
        bundle: the new folder.
        lines: what was recognised, how, and how exact the result is.
    """

    bundle: Path
    lines: tuple[str, ...]


@offline
def load_model(
    source: Path, card: str | None = None, arch: str | None = None, tokenizer: Path | None = None
) -> LoadedModel:
    """Recognise a source and load it with torch.

    Args:
        source: file of weights, folder in open_clip's format, or folder of transformers.
        card: a known model, or "open-clip": lineage of a bare file of weights, more facts for a folder.
        arch: open_clip's name of a bare file's architecture.
        tokenizer: vocabulary file of a text tower whose weights come without it, or its folder.

    Raises:
        NoInputError: there is no such path.
        AmbiguousModelError: what the source is stays open; names the choices.
        ImportModelError: it is not usable.
    """
    if source.is_file():
        return load_checkpoint(source, card, arch, tokenizer)
    if not source.is_dir():
        raise NoInputError(f"{source}: no such file or folder")
    if arch:
        raise UsageError(f"{source} is a folder, which says itself what it is; leave out --arch")
    known = card_of_folder(card)
    is_open_clip, is_hugging_face = (source / OPEN_CLIP_CONFIG).is_file(), (source / CONFIG).is_file()
    if not is_open_clip and not (is_hugging_face and kind_of(source) in MODELS):
        if published := _load_published_folder(source, card, tokenizer):
            return published
        if not is_hugging_face:
            raise ImportModelError(
                f"{source} holds neither {OPEN_CLIP_CONFIG} nor config.json; give the file of weights itself"
            )
    if tokenizer:
        raise UsageError(f"{source} is a folder that brings its tokenizer; leave out --tokenizer")
    return load_openclip_folder(source, known) if is_open_clip else load_huggingface_folder(source, known)


def _load_published_folder(folder: Path, card: str | None, tokenizer: Path | None) -> LoadedModel | None:
    """A model of a published layout whose tensors lie in one or several files; None where no layout knows them."""
    if not weight_files(folder):
        return None
    found = read_folder(folder)
    return load_published(found, Source(folder, tokenizer, card, found.config))


def import_model(
    source: Path,
    out: Path,
    *,
    name: str | None = None,
    card: str | None = None,
    arch: str | None = None,
    tokenizer: Path | None = None,
) -> ImportReport:
    """Turn a published model into a bundle.

    Args:
        source, card, arch, tokenizer: see `load_model`.
        out: folder of the bundle; must not exist.
        name: of the model; None takes the source's.

    Raises:
        OutputExistsError: `out` is there already.
        OutputError: it cannot be written; nothing stays.
        ImportModelError: the source is not usable, or the result would not equal it.
    """
    if out.exists():
        raise OutputExistsError(f"{out} exists; choose another --out or --name, or delete it")
    loaded = load_model(source, card, arch, tokenizer)
    hashes = _fingerprints(source, loaded.files)
    _check_tokenizer(loaded)
    try:
        with whole_folder(out) as folder:
            exported = _export(loaded, folder)
            (folder / TOKENIZER).write_text(loaded.tokenizer.to_str(pretty=True), encoding="utf-8", newline="\n")
            files = describe_files(folder)
            content = _describe(loaded, exported, name or _name_of(source), hashes)
            content = {"schema_version": schema_of(files)} | content | {"files": files}
            _write_card(folder, content)
            bundle = load_bundle(folder)
            if bundle.has_scorer:
                content["provenance"][EXAMPLE] = noted(bundle, OnnxRuntimeEncoder(bundle, "cpu"))
                _write_card(folder, content)
    except OSError as error:
        hint = "; free some space or choose another --out" if error.errno == errno.ENOSPC else ""
        raise OutputError(f"{cannot_write(out, error)}{hint}; nothing was left there") from error
    size = sum(file["size"] for file in files.values()) / 1e6
    return ImportReport(
        out,
        (
            *loaded.stated,
            *_hash_lines(loaded.card, hashes),
            f"scoring: {_scoring_line(loaded.scoring)}",
            *_exactness_lines(exported),
            f"size: {size:.1f} MB",
        ),
    )


def _write_card(folder: Path, content: dict[str, Any]) -> None:
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    (folder / MODEL_JSON).write_text(text, encoding="utf-8")


def _name_of(source: Path) -> str:
    """A file's name without the suffix of weights only: best_64_0.0001_original_35000_0.864.pt has other dots."""
    source = source.resolve()
    source = source.with_name(source.name.removesuffix(INDEX))
    return source.stem if source.suffix in WEIGHT_SUFFIXES else source.name


def _check_tokenizer(loaded: LoadedModel) -> None:
    vocabulary = loaded.tokenizer.get_vocab_size()
    words = [m for m in loaded.towers.text.modules() if isinstance(m, torch.nn.Embedding)]
    largest = max((m.num_embeddings for m in words), default=0)
    if vocabulary > largest:
        raise ImportModelError(
            f"the tokenizer has {vocabulary:,} tokens, the text tower {largest:,}: they do not belong together"
        )


def _export(loaded: LoadedModel, folder: Path) -> ExportedModel | ExportedScorer:
    ids = example_ids(loaded.tokenizer, loaded.context_length, loaded.pad_id)
    if isinstance(loaded.towers, AttentionTowers):
        together = loaded.scoring["labels"] == TOGETHER
        films = _seen(loaded, drawn(DRAWN_FOR_SCORER))
        return export_attention(loaded.towers, films, ids, folder, together=together)
    # Two drawn radiographs, and noise.
    films = _seen(loaded, [draw(seed).to_uint8() for seed in (0, 1)])
    pixels = torch.cat([films, example_pixels(loaded.image_size)])
    return export_onnx(loaded.towers, pixels, ids, folder, storage="float32", any_length=False)


def _seen(loaded: LoadedModel, films: Sequence[GreyImage]) -> Tensor:
    """(N, 3, H, W): films as the encoder will see them."""
    preprocess = Preprocess(loaded.preprocess, loaded.image_size)
    return torch.from_numpy(np.stack([preprocess(film) for film in films]))


def _exactness_lines(exported: ExportedModel | ExportedScorer) -> tuple[str, ...]:
    if isinstance(exported, ExportedModel):
        return (
            f"exactness: cosine with the original at least {exported.cosine:.7f} on drawn radiographs, noise and texts",
        )
    tokens = exported.tokens
    return (
        f"exactness: logits within {exported.deviation:.2g} of their standard deviation over drawn radiographs",
        f"tokens: {tokens.image[0]} × {tokens.image[1]} of a film, kept as {tokens.dtype} (float16 moves a logit by "
        f"{exported.rounding:.2g} standard deviations)",
    )


def _scoring_line(scoring: dict[str, Any]) -> str:
    if scoring["rule"] == SCORER_RULE:
        logit = "(logit⁺ − logit⁻)" if scoring["pairs"] else "logit⁺"
        bias = f" {scoring['bias']:+.4g}" if scoring["bias"] else ""
        return f"scorer, p = σ({scoring['scale']:.4g}·{logit}{bias}), the labels of a question {scoring['labels']}"
    if scoring["rule"] == "sigmoid":
        return f"sigmoid, p = σ({scoring['scale']:.4g}·cos⁺ {scoring['bias']:+.4g})"
    return f"softmax_pair, p = σ({scoring['scale']:.4g}·(cos⁺ − cos⁻))"


def _describe(
    loaded: LoadedModel, exported: ExportedModel | ExportedScorer, name: str, hashes: dict[str, str]
) -> dict[str, Any]:
    """The content of model.json but for its schema and files. What the source does not say is null."""
    card = loaded.card
    return {
        "name": name,
        "architecture": loaded.architecture,
        "activation": loaded.activation,
        "embed_dim": loaded.embed_dim,
        "image_size": list(loaded.image_size),
        "context_length": loaded.context_length,
        "pad_id": loaded.pad_id,
        "preprocess": loaded.preprocess,
        "scoring": loaded.scoring,
        "templates": _templates(loaded),
        **({"book": dict(loaded.book)} if loaded.book else {}),
        **({"sentences": loaded.sentences} if loaded.sentences > 1 else {}),
        "labels": LABELS,
        "license": card.licence.name if card else None,
        "intended_use": None,
        "training_data": _fact(card, "training_data"),
        "results": [],
        "provenance": {
            "source": hashes,
            "lineage": loaded.lineage,
            "recognised": list(loaded.stated),
            "parity": _parity(exported),
            "versions": software(VERSIONS),
        },
        **_shapes(exported),
    }


def _parity(exported: ExportedModel | ExportedScorer) -> dict[str, float | None]:
    if isinstance(exported, ExportedModel):
        return {"least_cosine": exported.cosine}
    rounding = exported.rounding if math.isfinite(exported.rounding) else None
    return {"max_abs_logit_over_sd": exported.deviation, "float16_tokens_over_sd": rounding}


def _shapes(exported: ExportedModel | ExportedScorer) -> dict[str, Any]:
    if isinstance(exported, ExportedModel):
        return {"patch_embeds": _grid(exported.patch_grid)}
    return {"tokens": dataclasses.asdict(exported.tokens), "attention": _grid(exported.attention)}


def _grid(sides: tuple[int, int] | None) -> dict[str, int] | None:
    return {"height": sides[0], "width": sides[1]} if sides else None


def _templates(loaded: LoadedModel) -> dict[str, list[str]]:
    """The card's, else the pair of the CheXzero paper."""
    if loaded.card is None:
        return {"positive": ["{}"], "negative": ["no {}"]}
    return {"positive": list(loaded.card.import_facts.positive), "negative": list(loaded.card.import_facts.negative)}


def _fact(card: Card | None, key: str) -> Any:
    fact = card.facts.get(key) if card else None
    return fact.value if fact else None


def _fingerprints(source: Path, read: tuple[Path, ...] = ()) -> dict[str, str]:
    """Name → SHA-256 of the file, or of a folder's files that such models have; what else lies there is not told."""
    own = {*files_of(source)} if source.is_file() else set(filter(_is_of_a_model, source.iterdir()))
    return {path.name: sha256_of(path) for path in sorted({*own, *read})}


def _hash_lines(card: Card | None, hashes: dict[str, str]) -> list[str]:
    """What was read, and whether it is what the card knows as published."""
    lines = []
    for name, seen in hashes.items():
        known = card.file(name) if card else None
        published = known.sha256 if known else None
        verdict = "unverified: no published hash is known"
        if published:
            verdict = "as published" if seen == published else f"NOT the published file, which has {published}"
        lines.append(f"sha256 of {name}: {seen} ({verdict})")
    return lines


def _is_of_a_model(path: Path) -> bool:
    published = {file.name for card in iter_cards() for file in card.files}
    return path.is_file() and (path.name in published or bool(MODEL_FILE.fullmatch(path.name)))
