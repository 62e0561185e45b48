"""What made embeddings: model, preprocessing and decoding, which whoever asks about them must have too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cxrzero.display.counts import counted
from cxrzero.display.oneline import line
from cxrzero.errors import ConfigError

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Origin:
    """What decides the numbers.

        >>> origin = screener.embed("films/").origin
        >>> origin.names, origin.precision, origin.embed_dim
        ('cxrzero-mini', 'fp32', 384)

    Attributes:
        models: of each model in order "name", "fingerprint", which covers its preprocessing and the precision of its
            image encoder, "embed_dim" and "preprocess". An ensemble's embeddings stand side by side.
        precision: of the image encoders, as the run record has it.
        decode: the fields of `cxrzero.DecodeOptions`.
        versions: of cxrzero and what decodes films.
    """

    models: tuple[Mapping[str, Any], ...]
    precision: str
    decode: Mapping[str, Any]
    versions: Mapping[str, str]

    @property
    def embed_dim(self) -> int:
        """Numbers of a film, of all models together."""
        return sum(int(model["embed_dim"]) for model in self.models)

    @property
    def names(self) -> str:
        return ", ".join(str(model["name"]) for model in self.models)

    def __repr__(self) -> str:
        numbers = counted(self.embed_dim, "number")
        return f"{line(f'<Origin: {self.names} in {self.precision}, {numbers} a film')}>"

    def require(self, other: Origin) -> None:
        """Compare with what is asked now.

        Raises:
            ConfigError: another model, or films that are decoded in another way: their numbers do not compare.
        """
        if self.fingerprints != other.fingerprints:
            raise ConfigError(
                f"these embeddings were made by {self.names} in {self.precision} (fingerprint "
                f"{_short(self.fingerprints)}), and the model here is {other.names} in {other.precision} "
                f"({_short(other.fingerprints)}); take the model that made them, or embed the films again"
            )
        if self.decode.get("fast_side") != other.decode.get("fast_side"):
            raise ConfigError("only one of the embeddings and the question has --fast-decode; take it for both or none")

    @property
    def fingerprints(self) -> tuple[str, ...]:
        return tuple(str(model["fingerprint"]) for model in self.models)

    def as_dict(self) -> dict[str, Any]:
        """What a file has of it, JSON-serialisable."""
        return {
            "schema_version": SCHEMA_VERSION,
            "models": [dict(model) for model in self.models],
            "precision": self.precision,
            "decode": dict(self.decode),
            "versions": dict(self.versions),
        }

    @classmethod
    def from_dict(cls, data: Any) -> Origin:
        """Read what `as_dict` wrote.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(data, dict) or data.get("schema_version") != SCHEMA_VERSION:
            raise ValueError("it does not say what made its embeddings, or was written by a newer cxrzero")
        models, precision, decode, versions = (data.get(key) for key in ("models", "precision", "decode", "versions"))
        is_whole = isinstance(models, list) and models and all(map(_is_model, models)) and isinstance(precision, str)
        if not (is_whole and isinstance(decode, dict) and isinstance(versions, dict)):
            raise ValueError("it does not say what made its embeddings")
        assert isinstance(models, list)
        assert isinstance(precision, str)
        return cls(tuple(models), precision, decode, versions)


def _is_model(model: Any) -> bool:
    texts = isinstance(model, dict) and all(isinstance(model.get(key), str) for key in ("name", "fingerprint"))
    return bool(texts) and type(model.get("embed_dim")) is int and 0 < model["embed_dim"] <= 2**20


def _short(fingerprints: Sequence[str]) -> str:
    return ", ".join(f"{fingerprint[:12]}…" for fingerprint in fingerprints)
