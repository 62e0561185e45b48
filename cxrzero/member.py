"""One model, ready to run: its bundle, tokenizer, preprocessing and encoder, and the caches that are its own."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrzero._version import __version__
from cxrzero.backends import Encoder
from cxrzero.cache.contents import Contents
from cxrzero.cache.entries import Entries
from cxrzero.cache.images import ImageCache
from cxrzero.cache.store import IMAGE, TEXT, Store
from cxrzero.cache.texts import TextCache
from cxrzero.display.counts import in_bytes
from cxrzero.errors import UsageError
from cxrzero.files import installed_versions
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.model.bundle import Bundle
from cxrzero.model.model_json import CALIBRATION, TOKENIZER
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.score import Classifier, build_classifier
from cxrzero.model.token_scorer import TokenScorer, distinct_sentences
from cxrzero.model.tokenizer import Tokenizer
from cxrzero.model.values import ValueSteps
from cxrzero.pipeline import films
from cxrzero.pipeline.decode_file import DIGEST
from cxrzero.pipeline.embedder import Embedder
from cxrzero.pipeline.items import Preprocessing
from cxrzero.prompts import LabelPrompts, own_prompts
from cxrzero.prompts.ask import as_asked

TEXT_BATCH = 64
TEXT_PRECISION = "fp32"
# Bytes of a film that are kept unasked: of a hundred thousand films 100 GB.
MOST_KEPT = 2**20
# What stands between a file and its embedding besides this package: another version may give other pixels.
DECODING_PACKAGES = ("numpy", "pillow", "pydicom", "imagecodecs", "tifffile")


@dataclass(frozen=True, slots=True)
class Member:
    """A model of a `cxrzero.screener.Screener`, alone or in an ensemble.

    Attributes:
        preprocess: shared between members whose bundles state the same steps.
        store: where embeddings are kept; None keeps none.
        keeps_large: also films of which more than MOST_KEPT bytes are to be kept.
    """

    bundle: Bundle
    tokenizer: Tokenizer
    preprocess: Preprocess
    encoder: Encoder
    store: Store | None
    keeps_large: bool = False

    @property
    def keeps_films(self) -> bool:
        """Whether what its encoder gives of a film is kept, if anything is."""
        return self.keeps_large or self.bundle.film_bytes <= MOST_KEPT

    @property
    def fingerprint(self) -> str:
        return self.bundle.fingerprint_at(self.encoder.precision)

    def own(self, prompts: Sequence[LabelPrompts]) -> tuple[LabelPrompts, ...]:
        """The prompts as this model is asked: what came from a model's own words is asked in this one's, and only a
        model that compares with them is asked negative sentences.
        """
        asked = (own_prompts(p.label, self.bundle) if p.is_from_model else p for p in prompts)
        return as_asked(asked, self.bundle.scoring)

    def notes(self, *, on_keeping: bool = True) -> list[str]:
        """What to know of a model that scores by attention before it is asked; `on_keeping` also of its films."""
        notes, bundle = [], self.bundle
        if bundle.scoring.together:
            notes.append(
                f"{bundle.name} is asked all labels of a question together, as its authors do: a label that is asked "
                "beside others gets another number"
            )
        if on_keeping and self.store is not None and not self.keeps_films:
            notes.append(
                f"{bundle.name} makes {in_bytes(bundle.film_bytes)} of each film, more than is kept unasked: a new "
                "question will read the films again, unless --cache-large keeps them"
            )
        return notes

    def require_embeddings(self) -> None:
        """Raises UsageError where the model has none to compare."""
        if self.bundle.has_scorer:
            raise UsageError(
                f"the model {self.bundle.name} scores by attention and has no embeddings that could be compared; "
                "this takes a model of two encoders"
            )

    def classifier(self, prompts: Sequence[LabelPrompts]) -> Classifier | TokenScorer:
        """Encode prompts, each distinct sentence once."""
        if self.bundle.has_scorer:
            return self._token_scorer(prompts)
        sentences = list(dict.fromkeys(text for p in prompts for text in (*p.positive, *p.negative)))
        row = {sentence: index for index, sentence in enumerate(sentences)}
        text_embeds = self.embed_texts(sentences)
        groups = [
            (text_embeds[[row[text] for text in p.positive]], text_embeds[[row[text] for text in p.negative]])
            for p in prompts
        ]
        return build_classifier(groups, self.bundle.scoring)

    def _token_scorer(self, prompts: Sequence[LabelPrompts]) -> TokenScorer:
        scoring, asked = self.bundle.scoring, [(prompt.positive, prompt.negative) for prompt in prompts]
        sentences, positive, negative = distinct_sentences(asked, scoring)
        width = math.prod(self.bundle.image_shape)
        return TokenScorer(self.embed_texts(sentences), positive, negative, scoring, width, self.encoder.score)

    def embed_texts(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode T sentences, only those that the cache does not know: (T, G) float32, see `cxrzero.backends.Encoder`.

        Raises:
            TokenizerError: one is too long for the model.
        """
        input_ids = self.tokenizer(sentences)  # also of known ones: it refuses what is too long
        cache = self._text_cache()
        known = cache.lookup(sentences) if cache else {}
        new = [row for row, sentence in enumerate(sentences) if sentence not in known]
        for start in range(0, len(new), TEXT_BATCH):
            rows = new[start : start + TEXT_BATCH]
            encoded = dict(zip((sentences[i] for i in rows), self.encoder.encode_texts(input_ids[rows]), strict=True))
            if cache:
                cache.keep(encoded)
            known.update(encoded)
        return np.stack([known[sentence] for sentence in sentences])

    def embedder(self, decode_options: DecodeOptions) -> Embedder:
        """The model's part in the pipeline after preprocessing."""
        geometry = self.preprocess.fit if self.is_given_films else None
        cache = self._image_cache(decode_options)
        return Embedder(self.encoder, cache, self._value_steps, geometry, self.bundle.image_dtype)

    @property
    def is_fitted(self) -> bool:
        """Whether its encoder is given fitted pictures, one byte for each pixel, and does what follows itself."""
        return self._value_steps is not None

    @property
    def is_given_films(self) -> bool:
        """Whether its encoder also fits them."""
        return self.is_fitted and films.takes_films(self.encoder, self.preprocess.fit)

    @property
    def decoders_part(self) -> Preprocessing:
        """What of preprocessing is done where a film is decoded."""
        if self.is_given_films:
            return films.Films(self.preprocess.fit, films.MOST_BYTES)
        return self.preprocess.fit if self.is_fitted else self.preprocess

    @property
    def _value_steps(self) -> ValueSteps | None:
        return self.preprocess.value_steps if self.encoder.takes_fitted else None

    def record(self) -> dict[str, Any]:
        """What names it in the run record."""
        # Its calibration is named where it is used; a run without it does not depend on whether there is one.
        files = {name: sha256 for name, sha256 in self.bundle.files.items() if name != CALIBRATION}
        return {"name": self.bundle.name, "fingerprint": self.fingerprint, "files": files}

    def _image_cache(self, decode_options: DecodeOptions) -> ImageCache | None:
        if self.store is None or not self.keeps_films:
            return None
        graph, *weights = (self.bundle.files[name] for name in self.bundle.image_encoder_files(self.encoder.precision))
        decisive = {
            **self._engine(self.encoder.precision),
            "encoder": graph,
            **({"weights": weights} if weights else {}),  # not in the keys of older bundles, which stay as they were
            **({"tokens": dataclasses.asdict(tokens)} if (tokens := self.bundle.tokens) else {}),
            "preprocess": [dict(step) for step in self.bundle.preprocess],
            "decode": dataclasses.asdict(decode_options),
            "digest": DIGEST,
            "versions": [__version__, *installed_versions(DECODING_PACKAGES).values()],
        }
        entries = Entries(self.store, IMAGE, self.bundle.name, decisive)
        return ImageCache(entries, self.bundle.film_bytes, Contents(self.store))

    def _text_cache(self) -> TextCache | None:
        if self.store is None:
            return None
        graph, *weights = (self.bundle.files[name] for name in self.bundle.text_encoder_files())
        decisive = {
            **self._engine(TEXT_PRECISION),
            "encoder": graph,
            **({"weights": weights} if weights else {}),
            "tokenizer": self.bundle.files[TOKENIZER],
            "context": [self.bundle.context_length, self.bundle.pad_id],
        }
        return TextCache(Entries(self.store, TEXT, self.bundle.name, decisive), math.prod(self.bundle.text_shape))

    def _engine(self, precision: str) -> dict[str, Any]:
        return {"backend": self.encoder.backend, "device": self.encoder.device, "precision": precision}


def members_of(
    bundles: Sequence[Bundle], encoders: Sequence[Encoder], store: Store | None, *, keeps_large: bool = False
) -> tuple[Member, ...]:
    """Put models together, those that preprocess alike with one object for it."""
    if not bundles:
        raise UsageError("no model is given; name at least one")
    shared: dict[str, Preprocess] = {}
    members: dict[str, Member] = {}
    for bundle, encoder in zip(bundles, encoders, strict=True):
        alike = json.dumps([[dict(step) for step in bundle.preprocess], bundle.image_size], sort_keys=True)
        if alike not in shared:
            shared[alike] = Preprocess(bundle.preprocess, bundle.image_size)
        tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id, bundle.sentences)
        member = Member(bundle, tokenizer, shared[alike], encoder, store, keeps_large)
        twin = members.setdefault(member.fingerprint, member)
        if twin is not member:
            raise UsageError(
                f"{twin.bundle.path} and {bundle.path} are the same model; an ensemble has each model once"
            )
    return tuple(members.values())


def preprocessings_of(members: Sequence[Member]) -> list[Preprocessing]:
    """What the decoders do for each model; models whose pictures are fitted alike share one, and so its result."""
    fits: dict[tuple[str, bool], Preprocessing] = {}
    return [
        fits.setdefault((member.preprocess.geometry, member.is_given_films), member.decoders_part)
        if member.is_fitted
        else member.preprocess
        for member in members
    ]
