"""A model on disk: a folder with `model.json`, ONNX encoders and a tokenizer.

Preprocessing and scoring rule travel with the weights, because right weights behind a wrong preprocessor are the
field's most common silent error. `load_bundle` checks everything before any image is read: the schema, that each file
is there, its SHA-256, and that no graph takes numbers from anywhere but the bundle's own file of weights.

    schema 1  image_encoder.onnx, perhaps with patches as a second output; text_encoder.onnx, tokenizer.json
    schema 2  image_encoder.onnx and perhaps patch_encoder.onnx over one image_weights.bin, and the other two
    schema 3  as schema 2, with one of two or both: text_weights.bin, of a text encoder that is too large to hold them
              itself; scorer.onnx: the encoders then give tokens, and it gives logits
    any       perhaps calibration.json, see `cxrzero.calibration.bundled`
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cxrzero.errors import BundleError
from cxrzero.files import sha256_of
from cxrzero.model.graph_shapes import declared_shapes
from cxrzero.model.model_json import (
    CALIBRATION,
    FILES,
    FILES_OF_SCHEMA_3,
    IMAGE_ENCODER,
    MODEL_JSON,
    PATCH_ENCODER,
    SCORER,
    TEXT_ENCODER,
    TOKENIZER,
    ModelJson,
    Scoring,
    Templates,
    Tokens,
    Variant,
    read_json,
)
from cxrzero.model.weights import IMAGE_WEIGHTS, TEXT_WEIGHTS, stored_tensors, weights_of


@dataclass(frozen=True, slots=True)
class Bundle:
    """A validated model folder.

    Attributes:
        path: the folder.
        image_size: (height, width) in pixels of the encoder's input.
        preprocess: steps with their parameters, see `cxrzero.model.preprocess`.
        embed_dim: D of the space that both encoders share; None with a scorer, whose encoders share none.
        context_length: tokens that the text encoder reads; pad_id fills the rest.
        labels: what `predict` asks when the user names no label; may be empty from schema 2 on.
        files: file name → SHA-256, hexadecimal.
        card: the whole of model.json.
        at_chance: findings that it states to be found no better than chance.
        variants: precision → what the bundle has or states for it, besides fp32.
        tokens: what the encoders of a bundle with a scorer give; None without one.
        attention: (height, width) of the places that the scorer says it looks at; None where it does not say.
        book: label → the prompt that the model's authors ask for it; other labels are put into templates.
        sentences: of a prompt, with "[SEP]" between them.
    """

    path: Path
    name: str
    architecture: str
    embed_dim: int | None
    image_size: tuple[int, int]
    preprocess: tuple[Mapping[str, Any], ...]
    context_length: int
    pad_id: int
    scoring: Scoring
    templates: Templates
    labels: tuple[str, ...]
    files: Mapping[str, str]
    card: Mapping[str, Any]
    variants: Mapping[str, Variant] = field(default_factory=dict)
    at_chance: tuple[str, ...] = ()
    tokens: Tokens | None = None
    attention: tuple[int, int] | None = None
    book: Mapping[str, str] = field(default_factory=dict)
    sentences: int = 1

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what decides a score: encoders' and tokenizer's hashes, preprocessing, text settings, scoring.

        A calibration decides none, and is bound to this, so its file is not covered.
        """
        return self.fingerprint_at("fp32")

    def fingerprint_at(self, precision: str) -> str:
        """The fingerprint with the image encoder of that precision in the place of the fp32 one."""
        graph, *weights = self.image_encoder_files(precision)
        scorer = (SCORER,) if self.has_scorer else ()
        hashes = {name: self.files[name] for name in (*FILES, *weights, *self.text_encoder_files(), *scorer)}
        hashes[IMAGE_ENCODER] = self.files[graph]
        decisive = {
            "files": hashes,
            "preprocess": [dict(step) for step in self.preprocess],
            "context_length": self.context_length,
            "pad_id": self.pad_id,
            "scoring": [self.scoring.rule, self.scoring.scale, self.scoring.bias],
        }
        if self.tokens is not None:
            decisive["scoring"] = self.scoring.as_dict()
            decisive["tokens"] = dataclasses.asdict(self.tokens)
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()

    def image_encoder_files(self, precision: str) -> tuple[str, ...]:
        """What runs in a precision: a graph of its own, or the fp32 graph and, from schema 2 on, its weights."""
        variant = self.variants.get(precision)
        if variant is not None and variant.image_encoder is not None:
            return (variant.image_encoder,)
        return (IMAGE_ENCODER, IMAGE_WEIGHTS) if IMAGE_WEIGHTS in self.files else (IMAGE_ENCODER,)

    def text_encoder_files(self) -> tuple[str, ...]:
        """The graph that encodes texts, and its weights where it does not hold them itself."""
        return (TEXT_ENCODER, TEXT_WEIGHTS) if TEXT_WEIGHTS in self.files else (TEXT_ENCODER,)

    def rules(self) -> dict[str, Any]:
        """Preprocessing and scoring rule, as the run record has them."""
        return {
            "preprocess": [dict(step) for step in self.preprocess],
            "scoring": self.scoring.as_dict(),
        }

    @property
    def has_scorer(self) -> bool:
        """Whether it scores by scorer.onnx, so that there are tokens and no cosines."""
        return self.tokens is not None

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Of what the image encoder gives for a film: (D,), or (T, D) tokens."""
        return self.tokens.image if self.tokens else (self.embed_dim or 0,)

    @property
    def text_shape(self) -> tuple[int, ...]:
        """Of what the text encoder gives for a sentence: (D,), or (S', E) tokens."""
        return self.tokens.text if self.tokens else (self.embed_dim or 0,)

    @property
    def image_dtype(self) -> str:
        """Of the numbers that are scored and kept of a film, as numpy writes it, little-endian."""
        return "<f2" if self.tokens is not None and self.tokens.dtype == "float16" else "<f4"

    @property
    def film_bytes(self) -> int:
        """Bytes of these numbers."""
        return math.prod(self.image_shape) * int(self.image_dtype[-1])

    @property
    def patch_encoder(self) -> str | None:
        """The file with the output patch_embeds; None where the architecture has no patches in the texts' space."""
        if self.has_scorer:
            return None
        if IMAGE_WEIGHTS in self.files:
            return PATCH_ENCODER if PATCH_ENCODER in self.files else None
        return IMAGE_ENCODER if self.card.get("patch_embeds") else None

    def file(self, name: str) -> Path:
        return self.path / name


def load_bundle(path: Path) -> Bundle:
    """Read and check a bundle.

    Raises:
        BundleVersionError: model.json was written for a newer cxrzero.
        BundleError: anything else that is missing, malformed or not what its hash says.
    """
    stated = ModelJson(read_json(path / MODEL_JSON), path / MODEL_JSON)
    version = stated.version()
    variants = stated.variants()
    of_variants = [each.image_encoder for each in variants.values() if each.image_encoder]
    bundle = Bundle(
        path=path,
        name=stated.string("name"),
        architecture=stated.string("architecture"),
        embed_dim=stated.embed_dim(),
        image_size=stated.image_size(),
        preprocess=stated.preprocess(),
        context_length=stated.integer("context_length"),
        pad_id=stated.integer("pad_id", minimum=0),
        scoring=stated.scoring(),
        templates=stated.templates(),
        labels=stated.strings("labels", may_be_empty=version >= 2),
        files=stated.files(version, of_variants),
        card=MappingProxyType(stated.data),
        variants=variants,
        at_chance=stated.at_chance(),
        tokens=stated.tokens(),
        attention=stated.attention(),
        book=stated.book(),
        sentences=stated.sentences(),
    )
    for name, sha256 in bundle.files.items():
        _check_file(path / name, sha256)
    on_weights = {IMAGE_ENCODER, PATCH_ENCODER} if version >= 2 else set()
    on_weights |= {TEXT_ENCODER} if TEXT_WEIGHTS in bundle.files else set()
    for name in bundle.files:
        if name in of_variants or name not in (TOKENIZER, IMAGE_WEIGHTS, TEXT_WEIGHTS, CALIBRATION):
            _check_graph(path / name, name in on_weights - {*of_variants})
    if bundle.tokens is not None:
        _check_tokens(bundle, bundle.tokens)
    return bundle


def describe_files(folder: Path) -> dict[str, dict[str, Any]]:
    """What `files` of model.json says of a folder of schema 2 or 3."""
    found = (folder / name for name in FILES_OF_SCHEMA_3 if (folder / name).exists())
    return {path.name: {"sha256": sha256_of(path), "size": path.stat().st_size} for path in found}


def _check_file(path: Path, sha256: str) -> None:
    try:
        found = sha256_of(path)
    except FileNotFoundError:
        raise BundleError(f"{path} is missing from the model bundle; fetch the bundle again") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    if found != sha256:
        raise BundleError(
            f"{path} is not the file that {MODEL_JSON} describes (sha256 {found[:12]}…, expected {sha256[:12]}…); "
            "it is damaged or was changed: fetch the bundle again"
        )


def _check_graph(path: Path, may_use_weights: bool) -> None:
    """Raises BundleError if it takes numbers from where it must not, before a library follows it there."""
    if stored_tensors(path) and not may_use_weights:
        raise BundleError(f"{path} must hold all its numbers itself; it takes some from {weights_of(path).name}")


def _check_tokens(bundle: Bundle, tokens: Tokens) -> None:
    """Raises BundleError where a graph says that it has tokens of other shapes: it belongs to other graphs."""
    sides = {"image_tokens": tokens.image, "text_tokens": tokens.text}
    for name, sizes in sides.items():
        for file in (IMAGE_ENCODER if name == "image_tokens" else TEXT_ENCODER, SCORER):
            shape = declared_shapes(bundle.file(file)).get(name)
            expected = (None, *sizes)
            if shape is None:
                raise BundleError(f"{bundle.file(file)} has no {name}, as a model that scores by attention must")
            if len(shape) != 3 or any(None not in (n, m) and n != m for n, m in zip(shape, expected, strict=True)):
                found, stated = (", ".join("N" if n is None else str(n) for n in each) for each in (shape, expected))
                raise BundleError(
                    f"{bundle.file(file)} has {name} of shape ({found}), {MODEL_JSON} states ({stated}): {SCORER} and "
                    "the encoders do not belong together; fetch or import the model again"
                )


def list_bundled() -> Iterator[str]:
    """Names of the bundles that come with the package."""
    for folder in sorted(bundled_folder().glob("*/" + MODEL_JSON)):
        yield folder.parent.name


def bundled_folder() -> Path:
    """The folder of this installation's bundles: inside the wheel, else beside the package in a source checkout."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "models"
    return installed if installed.is_dir() else package.parent / "models"
