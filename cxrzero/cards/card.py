"""What is known of published models: one YAML file each in `known/`, read without torch and without the network.

Every fact is written `{value, source}`. A fact that nobody could be found to state is null and shown as "unverified";
nothing is filled in. Facts that this project decided itself (for example which prompts stand for a finding where the
authors publish none) name "chosen by cxrzero" as their source.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from cxrzero.errors import BundleError

UNVERIFIED = "unverified"
PREPROCESSES = ("chexzero", "openai-clip", "siglip", "source", "bundle", "layout")
ACTIVATIONS = ("quickgelu", "gelu", "source", "layout")

FOLDER = Path(__file__).resolve().parent / "known"

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Fact:
    """A value and where it is stated: a URL, a paper, or "third-party record, unverified"."""

    value: Any
    source: str


@dataclass(frozen=True, slots=True)
class KnownFile:
    """One published file.

    Attributes:
        name: path inside its repository or folder, with forward slashes.
        sha256: hexadecimal, or None where no hash could be sourced.
        size: bytes, or None.
        source: where name, hash and size are stated.
    """

    name: str
    sha256: str | None
    size: int | None
    source: str


@dataclass(frozen=True, slots=True)
class Licence:
    """Under which terms the weights are published.

    Attributes:
        name: e.g. "MIT"; None where the authors state none for the weights.
        url: the terms.
        commercial: whether commercial use is allowed; None is unknown.
        gated: whether the terms have to be accepted on a web page before a download.
        source: where this is stated.
    """

    name: str | None
    url: str | None
    commercial: bool | None
    gated: bool
    source: str

    @property
    def needs_consent(self) -> bool:
        """Whether a download asks for an explicit yes: commercial use is forbidden, or the terms are gated."""
        return self.commercial is False or self.gated

    def __str__(self) -> str:
        use = {True: "commercial use allowed", False: "NO commercial use", None: "commercial use: unknown"}
        return f"{self.name or UNVERIFIED} ({use[self.commercial]}{', gated' if self.gated else ''})"


@dataclass(frozen=True, slots=True)
class ImportFacts:
    """What an import cannot read from weights and has to know of where they come from.

    Attributes:
        activation: "quickgelu" or "gelu", which shapes cannot tell; "source": stated by the source's config; "layout":
            its authors' network, as cxrzero.convert.published builds it.
        preprocess: "chexzero", "openai-clip" or "siglip"; "source": the source's own config; "bundle": model.json;
            "layout": its authors' steps, which stand in cxrzero.convert.published.
        scale: a number (exponentiated), or None: exp(logit_scale) of the weights.
        positive, negative: templates; "{}" stands for the label.
    """

    activation: str
    preprocess: str
    scale: float | None
    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Card:
    """One known model.

    Attributes:
        name: what the user types.
        title: what its authors call it.
        repository: "organisation/name" on Hugging Face, or None.
        revision: the commit there that the files' hashes belong to; None where it could not be sourced.
        page: a web page for people who fetch the files by hand.
        bundled: comes with cxrzero, ready to run.
        ensemble: each file is a model of its own, and all together are the model.
        files: known files; () where none could be sourced.
        import_facts: what an import needs.
        facts: everything for `models info`: name of the fact → Fact, or None for "unverified".
        notes: sentences that a user should read.
    """

    name: str
    title: str
    repository: str | None
    revision: str | None
    page: str | None
    bundled: bool
    ensemble: bool
    licence: Licence
    files: tuple[KnownFile, ...]
    import_facts: ImportFacts
    facts: Mapping[str, Fact | None]
    notes: tuple[str, ...]

    @property
    def size(self) -> int | None:
        """Bytes of all files, or None where one of them is unknown."""
        sizes = [file.size for file in self.files]
        return sum(size for size in sizes if size is not None) if sizes and None not in sizes else None

    def file(self, name: str) -> KnownFile | None:
        return next((file for file in self.files if file.name == name), None)


def card_names() -> tuple[str, ...]:
    """Names of all known models, sorted."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.yaml")))


def iter_cards() -> Iterator[Card]:
    return map(load_card, card_names())


@functools.cache
def load_card(name: str) -> Card:
    """Read the card of a known model.

    Raises:
        BundleError: no model of that name, or a damaged installation.
    """
    if name not in card_names():
        raise BundleError(f"no known model {name!r}; cxrzero models list shows all of them")
    path = FOLDER / f"{name}.yaml"
    try:
        return _card(name, yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER))
    except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{path} is damaged ({type(error).__name__}: {error}); install cxrzero again") from error


def card_of_repository(repository: str) -> Card | None:
    """The card of "organisation/name" on Hugging Face, whatever its case."""
    return next((card for card in iter_cards() if (card.repository or "").lower() == repository.lower()), None)


def card_of_file(file_name: str) -> Card | None:
    """The card of an ensemble that lists a file of this name: CheXzero's ten names are like no others."""
    return next((card for card in iter_cards() if card.ensemble and card.file(file_name)), None)


def _card(name: str, data: Any) -> Card:
    facts = {key: None if fact is None else Fact(fact["value"], fact["source"]) for key, fact in data["facts"].items()}
    licence = Licence(**{"name": None, "url": None, "commercial": None, "gated": False, **data["licence"]})
    return Card(
        name=name,
        title=data["title"],
        repository=data.get("repository"),
        revision=data.get("revision"),
        page=data.get("page"),
        bundled=data.get("bundled", False),
        ensemble=data.get("ensemble", False),
        licence=licence,
        files=tuple(_file(file, data) for file in data.get("files", ())),
        import_facts=_import_facts(facts),
        facts=MappingProxyType({"licence": Fact(str(licence), licence.source), **facts}),
        notes=tuple(data.get("notes", ())),
    )


def _file(file: Mapping[str, Any], data: Mapping[str, Any]) -> KnownFile:
    return KnownFile(file["name"], file.get("sha256"), file.get("size"), file.get("source", data["files_source"]))


def _import_facts(facts: Mapping[str, Fact | None]) -> ImportFacts:
    def value(key: str) -> Any:
        fact = facts[key]
        return None if fact is None else fact.value

    def choice(key: str, allowed: tuple[str, ...]) -> str:
        if value(key) not in allowed:
            raise ValueError(f"{key} must be one of {', '.join(allowed)}")
        return str(value(key))

    templates, scale = value("templates"), value("scale")
    return ImportFacts(
        activation=choice("activation", ACTIVATIONS),
        preprocess=choice("preprocess", PREPROCESSES),
        scale=None if scale in (None, "source") else float(scale),
        positive=tuple(templates["positive"]),
        negative=tuple(templates["negative"]),
    )
