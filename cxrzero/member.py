"""One model, ready to run: its bundle, tokenizer, preprocessing and encoder, and the caches that are its own."""

from __future__ import annotations

import dataclasses
import json
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
from cxrzero.errors import UsageError
from cxrzero.files import installed_versions
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.model.bundle import Bundle
from cxrzero.model.model_json import CALIBRATION, TEXT_ENCODER, TOKENIZER
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.score import Classifier, build_classifier
from cxrzero.model.tokenizer import Tokenizer
from cxrzero.model.values import ValueSteps
from cxrzero.pipeline import films
from cxrzero.pipeline.decode_file import DIGEST
from cxrzero.pipeline.embedder import Embedder
from cxrzero.pipeline.items import Preprocessing
from cxrzero.prompts import LabelPrompts, own_prompts

TEXT_BATCH = 64
TEXT_PRECISION = "fp32"
# What stands between a file and its embedding besides this package: another version may give other pixels.
DECODING_PACKAGES = ("numpy", "pillow", "pydicom", "imagecodecs", "tifffile")


@dataclass(frozen=True, slots=True)
class Member:
    """A model of a `cxrzero.screener.Screener`, alone or in an ensemble.

    Attributes:
        preprocess: shared between members whose bundles state the same steps.
        store: where embeddings are kept; None keeps none.
    """

    bundle: Bundle
    tokenizer: Tokenizer
    preprocess: Preprocess
    encoder: Encoder
    store: Store | None

    @property
    def fingerprint(self) -> str:
        return self.bundle.fingerprint_at(self.encoder.precision)

    def own(self, prompts: Sequence[LabelPrompts]) -> tuple[LabelPrompts, ...]:
        """The prompts as this model is asked: what came from a model's own words is asked in this one's."""
        return tuple(own_prompts(p.label, self.bundle) if p.is_from_model else p for p in prompts)

    def classifier(self, prompts: Sequence[LabelPrompts]) -> Classifier:
        """Encode prompts, each distinct sentence once."""
        sentences = list(dict.fromkeys(text for p in prompts for text in (*p.positive, *p.negative)))
        row = {sentence: index for index, sentence in enumerate(sentences)}
        text_embeds = self.embed_texts(sentences)
        groups = [
            (text_embeds[[row[text] for text in p.positive]], text_embeds[[row[text] for text in p.negative]])
            for p in prompts
        ]
        return build_classifier(groups, self.bundle.scoring)

    def embed_texts(self, sentences: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode T sentences: (T, D) float32, rows of length 1; only those that the cache does not know.

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
        return Embedder(self.encoder, self._image_cache(decode_options), self._value_steps, geometry)

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
        if self.store is None:
            return None
        graph, *weights = (self.bundle.files[name] for name in self.bundle.image_encoder_files(self.encoder.precision))
        decisive = {
            **self._engine(self.encoder.precision),
            "encoder": graph,
            **({"weights": weights} if weights else {}),  # not in the keys of older bundles, which stay as they were
            "preprocess": [dict(step) for step in self.bundle.preprocess],
            "decode": dataclasses.asdict(decode_options),
            "digest": DIGEST,
            "versions": [__version__, *installed_versions(DECODING_PACKAGES).values()],
        }
        entries = Entries(self.store, IMAGE, self.bundle.name, decisive)
        return ImageCache(entries, self.bundle.embed_dim, Contents(self.store))

    def _text_cache(self) -> TextCache | None:
        if self.store is None:
            return None
        decisive = {
            **self._engine(TEXT_PRECISION),
            "encoder": self.bundle.files[TEXT_ENCODER],
            "tokenizer": self.bundle.files[TOKENIZER],
            "context": [self.bundle.context_length, self.bundle.pad_id],
        }
        return TextCache(Entries(self.store, TEXT, self.bundle.name, decisive), self.bundle.embed_dim)

    def _engine(self, precision: str) -> dict[str, Any]:
        return {"backend": self.encoder.backend, "device": self.encoder.device, "precision": precision}


def members_of(bundles: Sequence[Bundle], encoders: Sequence[Encoder], store: Store | None) -> tuple[Member, ...]:
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
        member = Member(bundle, tokenizer, shared[alike], encoder, store)
        twin = members.setdefault(member.fingerprint, member)
        if twin is not member:
            raise UsageError(
                f"{twin.bundle.path} and {bundle.path} are the same model; an ensemble has each model once"
            )
    return tuple(members.values())
