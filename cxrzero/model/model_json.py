"""model.json: what a bundle states, read with a complaint that names the file and the key where it is malformed."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn, TypeGuard

from cxrzero.errors import BundleError, BundleVersionError
from cxrzero.model.weights import IMAGE_WEIGHTS, TEXT_GRAPH, TEXT_WEIGHTS

SCHEMA_VERSION = 3  # the highest that is read, see `schema_of`
MODEL_JSON = "model.json"
IMAGE_ENCODER = "image_encoder.onnx"
PATCH_ENCODER = "patch_encoder.onnx"
TEXT_ENCODER = TEXT_GRAPH
SCORER = "scorer.onnx"
TOKENIZER = "tokenizer.json"
CALIBRATION = "calibration.json"  # of any schema, where there is one (`cxrzero.calibration.bundled`)
FILES = (IMAGE_ENCODER, TEXT_ENCODER, TOKENIZER)  # of every bundle
FILES_OF_SCHEMA_2 = (IMAGE_ENCODER, IMAGE_WEIGHTS, PATCH_ENCODER, TEXT_ENCODER, TOKENIZER)
ONLY_OF_SCHEMA_3 = (TEXT_WEIGHTS, SCORER)
FILES_OF_SCHEMA_3 = (*FILES_OF_SCHEMA_2, *ONLY_OF_SCHEMA_3)
SCORING_RULES = ("softmax_pair", "sigmoid")
SCORER_RULE = "scorer"  # of a bundle with SCORER, and of no other
TOGETHER, INDEPENDENT = "together", "independent"
TOKEN_DTYPES = ("float32", "float16")
VARIANTS = ("fp16", "bf16", "int8")
# A card is a few kilobytes; the limit only keeps a hostile file out of memory.
MAX_MODEL_JSON_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Scoring:
    """How what the encoders give becomes a probability p (design: a closed set of rules).

    Attributes:
        rule: "softmax_pair": p = σ(scale·(cos⁺ − cos⁻)), the paper's rule with scale 1;
            "sigmoid": p = σ(scale·cos⁺ + bias), SigLIP's;
            "scorer": p = σ(scale·logit + bias) of what scorer.onnx returns for the positive sentence, or with `pairs`
            p = σ(scale·(logit⁺ − logit⁻)).
        scale: exponentiated, so larger than 0; no unit.
        bias: added to the logit; 0 where the rule compares a pair.
        pairs: of a scorer, whether the negative sentences are asked, too.
        together: whether a scorer's sentences look at each other, so that all of a question are one call.
        companions: sentences that a scorer is always asked along, first; their logits are read by nobody.
    """

    rule: str
    scale: float
    bias: float = 0.0
    pairs: bool = False
    together: bool = False
    companions: tuple[str, ...] = ()

    @property
    def asks_pairs(self) -> bool:
        """Whether negative sentences are encoded; SigLIP's rule reads none, and their cosines are told all the same."""
        return self.rule != SCORER_RULE or self.pairs

    def as_dict(self) -> dict[str, Any]:
        """As model.json states it."""
        stated: dict[str, Any] = {"rule": self.rule, "scale": self.scale, "bias": self.bias}
        if self.rule == SCORER_RULE:
            stated |= {"pairs": self.pairs, "labels": TOGETHER if self.together else INDEPENDENT}
        return stated | ({"companions": list(self.companions)} if self.companions else {})


@dataclass(frozen=True, slots=True)
class Tokens:
    """What the encoders of a bundle with a scorer give.

    Attributes:
        image: (T, D) of a film.
        text: (S', E) of a sentence.
        dtype: "float32" or "float16", to which a film's tokens are rounded before they are scored and kept.
    """

    image: tuple[int, int]
    text: tuple[int, int]
    dtype: str


@dataclass(frozen=True, slots=True)
class Templates:
    """Sentences around a label; "{}" stands for the label."""

    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MeasuredOn:
    """Where a measurement was made, without a machine's name.

    Attributes:
        backend: what computed, e.g. "openvino 2026.1.0".
        processor: its architecture, then the instruction sets that decide how products are computed.
    """

    backend: str
    processor: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Deviation:
    """How far a faster precision was measured to be from fp32, on d = cos⁺ − cos⁻, each of the worst label.

    Attributes:
        max_abs_d_over_sd: max |Δd| in standard deviations of d over the films; no unit.
        spearman: rank correlation of d.
        n: films.
        command: that measured it.
        measured_on: None where the card does not say.
    """

    max_abs_d_over_sd: float
    spearman: float
    n: int
    command: str | None = None
    measured_on: MeasuredOn | None = None


@dataclass(frozen=True, slots=True)
class Variant:
    """The image encoder in another precision.

    Attributes:
        image_encoder: its file; None where a backend computes in that precision from the fp32 file.
        deviation: None where it was not measured.
    """

    image_encoder: str | None
    deviation: Deviation | None


class ModelJson:
    """Typed access to model.json; every complaint names the file and the key."""

    def __init__(self, data: dict[str, Any], path: Path) -> None:
        self.data = data
        self.path = path

    def version(self) -> int:
        version = self.integer("schema_version")
        if version > SCHEMA_VERSION:
            raise BundleVersionError(
                f"{self.path} has schema version {version}, this cxrzero reads up to {SCHEMA_VERSION}; update cxrzero"
            )
        return version

    def string(self, key: str) -> str:
        value = self._get(key)
        if not isinstance(value, str) or not value:
            self._fail(key, "must be a text that is not empty")
        return str(value)

    def integer(self, key: str, minimum: int = 1) -> int:
        value = self._get(key)
        if type(value) is not int or value < minimum:
            self._fail(key, f"must be a whole number of at least {minimum}")
        return int(value)

    def strings(self, key: str, may_be_empty: bool = False) -> tuple[str, ...]:
        value = self._get(key)
        return () if may_be_empty and value == [] else self._strings(value, key)

    def at_chance(self) -> tuple[str, ...]:
        """Findings that the model finds no better than chance; none where nothing is stated."""
        value = self.data.get("at_chance")
        findings = () if value in (None, []) else self._strings(value, "at_chance")
        if len(set(findings)) < len(findings):
            self._fail("at_chance", "must name each finding once")
        return findings

    def embed_dim(self) -> int | None:
        """None with a scorer: its encoders give tokens, which have no space in common."""
        return None if self.has_scorer else self.integer("embed_dim")

    @property
    def has_scorer(self) -> bool:
        return self.version() >= 3 and SCORER in self._object("files")

    def tokens(self) -> Tokens | None:
        """Of a bundle with a scorer."""
        if not self.has_scorer:
            return None
        value = self._object("tokens")
        image, text = (
            self._pair(value.get(side), f"tokens.{side}", "[tokens, width of each]") for side in ("image", "text")
        )
        if value.get("dtype") not in TOKEN_DTYPES:
            self._fail("tokens.dtype", f"must be one of {', '.join(TOKEN_DTYPES)}")
        return Tokens(image, text, value["dtype"])

    def attention(self) -> tuple[int, int] | None:
        """(height, width) of the places that a scorer says it looks at; None where it does not say."""
        value = self.data.get("attention") if self.has_scorer else None
        if value is None:
            return None
        sides = [value.get("height"), value.get("width")] if isinstance(value, dict) else None
        return self._pair(sides, "attention", "{height, width}")

    def book(self) -> Mapping[str, str]:
        """Label → the prompt that the model's authors ask for it; empty where nothing is stated."""
        value = self._object("book") if self.data.get("book") is not None else {}
        if any(not isinstance(prompt, str) or not name.strip() or not prompt.strip() for name, prompt in value.items()):
            self._fail("book", "must give each label a text that is not empty")
        return MappingProxyType(value)

    def sentences(self) -> int:
        """How many a prompt has, with "[SEP]" between them; 1 where nothing is stated."""
        return self.integer("sentences") if "sentences" in self.data else 1

    def image_size(self) -> tuple[int, int]:
        value = self._get("image_size")
        if not isinstance(value, list) or len(value) != 2 or any(type(n) is not int or n < 1 for n in value):
            self._fail("image_size", "must be [height, width] in pixels")
        return (value[0], value[1])

    def preprocess(self) -> tuple[Mapping[str, Any], ...]:
        steps = self._get("preprocess")
        if not isinstance(steps, list) or not steps:
            self._fail("preprocess", "must be a list of steps")
        for step in steps:
            if not isinstance(step, dict) or not isinstance(step.get("step"), str):
                self._fail("preprocess", 'must hold objects like {"step": "resize", …}')
        return tuple(MappingProxyType(step) for step in steps)

    def scoring(self) -> Scoring:
        value = self._object("scoring")
        if self.has_scorer and value.get("rule") != SCORER_RULE:
            self._fail("scoring.rule", f"must be {SCORER_RULE}, because the bundle has {SCORER}")
        if not self.has_scorer and value.get("rule") not in SCORING_RULES:
            self._fail("scoring.rule", f"must be one of {', '.join(SCORING_RULES)}")
        scale, bias = value.get("scale"), value.get("bias", 0.0)
        if not (_is_finite(scale) and scale > 0):
            self._fail("scoring.scale", "must be a number above 0")
        if not _is_finite(bias):
            self._fail("scoring.bias", "must be a finite number")
        if not self.has_scorer:
            return Scoring(value["rule"], scale, bias)
        pairs, labels, companions = value.get("pairs"), value.get("labels"), value.get("companions", [])
        if not isinstance(pairs, bool):
            self._fail("scoring.pairs", "must be true or false")
        if pairs and bias:
            self._fail("scoring.bias", "must be 0 where pairs are compared")
        if labels not in (TOGETHER, INDEPENDENT):
            self._fail("scoring.labels", f"must be {INDEPENDENT} or {TOGETHER}")
        if companions and labels == INDEPENDENT:
            self._fail("scoring.companions", f"are asked along only where labels are {TOGETHER}")
        asked_along = self._strings(companions, "scoring.companions") if companions else ()
        return Scoring(value["rule"], scale, bias, pairs, labels == TOGETHER, asked_along)

    def templates(self) -> Templates:
        value = self._object("templates")
        if self.has_scorer and not self.scoring().asks_pairs and value.get("negative") == []:
            sides = [self._strings(value.get("positive"), "templates.positive"), ()]
        else:
            sides = [self._strings(value.get(side), f"templates.{side}") for side in ("positive", "negative")]
        for template in (*sides[0], *sides[1]):
            if "{}" not in template:
                self._fail("templates", "must each contain {}, the place of the label")
        return Templates(*sides)

    def variants(self) -> Mapping[str, Variant]:
        value = self._object("variants") if "variants" in self.data else {}
        variants = {}
        for precision, entry in value.items():
            key = f"variants.{precision}"
            if precision not in VARIANTS or not isinstance(entry, dict):
                self._fail(key, f"must be an object, its precision one of {', '.join(VARIANTS)}")
            name = entry.get("image_encoder")
            if name is not None and (not isinstance(name, str) or not name or Path(name).name != name):
                self._fail(f"{key}.image_encoder", "must be the name of a file of the bundle")
            variants[precision] = Variant(name, self._deviation(entry.get("deviation"), f"{key}.deviation"))
        return MappingProxyType(variants)

    def _deviation(self, value: Any, key: str) -> Deviation | None:
        if value is None:
            return None
        if not isinstance(value, dict):
            self._fail(key, "must be an object")
        largest, spearman, n = (value.get(name) for name in ("max_abs_d_over_sd", "spearman", "n"))
        if not (_is_finite(largest) and _is_finite(spearman) and type(n) is int):
            self._fail(key, "must state max_abs_d_over_sd and spearman as numbers and n as a whole number")
        measured_on = self._measured_on(value.get("measured_on"), f"{key}.measured_on")
        return Deviation(largest, spearman, n, value.get("command"), measured_on)

    def _measured_on(self, value: Any, key: str) -> MeasuredOn | None:
        if value is None:
            return None
        if not isinstance(value, dict) or not isinstance(value.get("backend"), str):
            self._fail(key, "must be an object that names the backend and the processor's instruction sets")
        return MeasuredOn(value["backend"], self._strings(value.get("processor"), f"{key}.processor"))

    def files(self, version: int, more: Iterable[str]) -> Mapping[str, str]:
        value = self._object("files")
        hashes = {}
        of_version = (IMAGE_WEIGHTS, *({PATCH_ENCODER} & set(value))) if version >= 2 else ()
        of_version += tuple(name for name in ONLY_OF_SCHEMA_3 if version >= 3 and name in value)
        for name in (*FILES, *of_version, *more, *({CALIBRATION} & set(value))):
            entry = value.get(name)
            sha256 = entry.get("sha256") if isinstance(entry, dict) else None
            if not isinstance(sha256, str) or len(sha256) != 64:
                self._fail(f"files.{name}.sha256", "must be 64 hexadecimal digits")
            hashes[name] = str(sha256).lower()
        return MappingProxyType(hashes)

    def _pair(self, value: Any, key: str, what: str) -> tuple[int, int]:
        if not isinstance(value, list) or len(value) != 2 or any(type(n) is not int or n < 1 for n in value):
            self._fail(key, f"must be {what}, whole numbers of at least 1")
        return (value[0], value[1])

    def _get(self, key: str) -> Any:
        if key not in self.data:
            self._fail(key, "is missing")
        return self.data[key]

    def _object(self, key: str) -> dict[str, Any]:
        value = self._get(key)
        if not isinstance(value, dict):
            self._fail(key, "must be an object")
        return dict(value)

    def _strings(self, value: Any, key: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or any(not isinstance(s, str) or not s.strip() for s in value):
            self._fail(key, "must be a list of texts that are not empty")
        return tuple(value)

    def _fail(self, key: str, problem: str) -> NoReturn:
        raise BundleError(f"{self.path}: {key} {problem}")


def schema_of(files: Collection[str]) -> int:
    """The schema that a bundle of these files is written in."""
    return 3 if set(ONLY_OF_SCHEMA_3) & set(files) else 2


def read_json(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_MODEL_JSON_BYTES:
            raise BundleError(f"{path} is larger than {MAX_MODEL_JSON_BYTES} bytes; this is not a model card")
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{path.parent} is not a model bundle: it has no {MODEL_JSON}") from None
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BundleError(f"{path} is not valid JSON ({type(error).__name__}); fetch the bundle again") from error
    if not isinstance(data, dict):
        raise BundleError(f"{path} must hold a JSON object")
    return data


def _is_finite(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
