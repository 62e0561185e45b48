"""Does a bundle on this machine do what it says? Files, registry, tokenizer, and its graphs on a fixed input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import tokenizers

from cxrzero.backends.onnxruntime import OnnxRuntimeEncoder
from cxrzero.calibration.bundled import check_own
from cxrzero.calibration.file import read_calibration
from cxrzero.cards.card import UNVERIFIED, iter_cards
from cxrzero.choices import Precision
from cxrzero.display.counts import counted
from cxrzero.errors import CxrzeroError
from cxrzero.model.bundle import Bundle
from cxrzero.model.model_json import CALIBRATION, TOKENIZER
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.tokenizer import Tokenizer
from cxrzero.prompts.location import read_location
from cxrzero.prompts.measured import finding_key, findings_at_chance
from cxrzero.registry.verify_scorer import check_attention, check_scorer

# float32 sums of some thousand squares; a vector that was not normalised is far off.
UNIT_TOLERANCE = 1e-3
# Sums in another order, as another size of batch may have them, change less.
LEAST_COSINE = 0.9999
FIXED_LABELS = ("pneumonia", "pleural effusion")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the result."""

    name: str
    ok: bool
    detail: str


def verify(bundle: Bundle) -> Iterator[Check]:
    """Check a bundle whose schema and hashes `load_bundle` has already found right; a check that fails ends nothing.

    Yields:
        One `Check` for each thing looked at, in a fixed order.
    """
    yield Check("files", True, f"schema and SHA-256 of {counted(len(bundle.files), 'file')} as in model.json")
    yield _against_registry(bundle)
    if bundle.card.get("at_chance") is not None:
        yield _check_at_chance(bundle)
    if (location := bundle.card.get("location")) is not None:
        yield _check_location(location)
    if CALIBRATION in bundle.files:
        yield _guarded("calibration", lambda: _check_calibration(bundle))
    try:
        encoder = OnnxRuntimeEncoder(bundle, "cpu")
    except CxrzeroError as error:
        yield Check("encoders", False, str(error))
        return
    yield _guarded("tokenizer", lambda: _check_tokenizer(bundle, encoder))
    yield _guarded("image encoder", lambda: _check_images(bundle, encoder))
    encoder.release()  # here and below, so that a large model is in memory one tower after the other
    if bundle.patch_encoder is not None:
        yield _guarded("patch encoder", lambda: _check_patches(bundle, encoder))
        encoder.release()
    yield _guarded("text encoder", lambda: _check_texts(bundle, encoder))
    if bundle.has_scorer:
        yield _guarded("scorer", lambda: check_scorer(bundle, encoder))
    if bundle.attention is not None:
        yield _guarded("attention", lambda: check_attention(bundle, encoder))
    for precision, variant in bundle.variants.items():
        if variant.image_encoder is not None:
            yield _guarded(f"image encoder, {precision}", partial(_check_variant, bundle, precision))


def _guarded(name: str, check: Any) -> Check:
    try:
        ok, detail = check()
    except CxrzeroError as error:
        return Check(name, False, str(error))
    return Check(name, ok, detail)


def _against_registry(bundle: Bundle) -> Check:
    """Compare the hashes of the files it was made from with those that the cards know."""
    provenance = bundle.card.get("provenance")
    made_from = provenance.get("source") if isinstance(provenance, dict) else None
    if not isinstance(made_from, dict):
        return Check("registry", True, f"{UNVERIFIED}: model.json does not say which files it was made from")
    known = {(file.name, file.sha256): card.name for card in iter_cards() for file in card.files if file.sha256}
    matches = sorted({known[item] for item in made_from.items() if item in known})
    if matches:
        return Check("registry", True, f"made from files whose SHA-256 the registry knows: {', '.join(matches)}")
    of_member = next((file for c in iter_cards() if c.ensemble for file in c.files if file.name in made_from), None)
    if of_member is not None:
        return Check(
            "registry",
            False,
            f"made from a {of_member.name} with another SHA-256 than the registry's {of_member.sha256} "
            f"({of_member.source}): not the published file, or the record is wrong",
        )
    return Check("registry", True, f"{UNVERIFIED}: the registry knows no hash of {', '.join(sorted(made_from)[:3])}")


def _check_location(field: Any) -> Check:
    """What is malformed says nothing, so that a map is marked; whoever wrote it should know."""
    stated, read = len(field) if isinstance(field, list) else 1, len(read_location(field))
    detail = f"{read} of {counted(stated, 'measurement')} of where maps point can be read"
    return Check("location", read == stated, detail)


def _check_at_chance(bundle: Bundle) -> Check:
    """More may be marked than the results of model.json tell, but not less."""
    marked = set(map(finding_key, bundle.at_chance))
    others = [each for each in findings_at_chance(bundle.card.get("results")) if finding_key(each) not in marked]
    if others:
        return Check("at chance", False, f"model.json does not mark {', '.join(others)}, at chance by its own results")
    return Check("at chance", True, f"marked: {', '.join(bundle.at_chance) or 'no finding'}; its results say no more")


def _check_calibration(bundle: Bundle) -> tuple[bool, str]:
    calibration = read_calibration(bundle.file(CALIBRATION))
    check_own(calibration, bundle)
    return True, f"fitted for this model and its own prompts, for {counted(len(calibration.labels), 'label')}"


def _check_tokenizer(bundle: Bundle, encoder: OnnxRuntimeEncoder) -> tuple[bool, str]:
    """Check that the largest id is a row of the text encoder's table, and that the fixed prompts fit."""
    tokenizer = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id)
    input_ids = tokenizer(_prompts(bundle))
    vocabulary = tokenizers.Tokenizer.from_file(str(bundle.file(TOKENIZER))).get_vocab(with_added_tokens=True)
    largest = max([*vocabulary.values(), bundle.pad_id])
    probe = input_ids[:1].copy()
    probe[0, -1] = largest
    encoder.encode_texts(probe)  # ONNX Runtime refuses an id beyond the table
    return True, f"{len(vocabulary):,} tokens, all known to the text encoder; a prompt may have {bundle.context_length}"


def _check_images(bundle: Bundle, encoder: OnnxRuntimeEncoder) -> tuple[bool, str]:
    return _tried(bundle, encoder.encode_images, _noise(bundle))


def _check_patches(bundle: Bundle, encoder: OnnxRuntimeEncoder) -> tuple[bool, str]:
    found = [encoder.encode_patches(_noise(bundle)) for _ in range(2)]
    grid = bundle.card.get("patch_embeds")
    if not isinstance(grid, dict) or (grid.get("height"), grid.get("width")) != found[0].shape[1:3]:
        return False, f"patches are {found[0].shape[1:3]}, not as model.json says"
    first, second = (patches.reshape(-1, patches.shape[-1]) for patches in found)
    return _judge(bundle, first, second)


def _noise(bundle: Bundle) -> npt.NDArray[np.float32]:
    """(2, 3, H, W): two pictures as the encoder sees them."""
    preprocess = Preprocess(bundle.preprocess, bundle.image_size)
    noise = np.random.default_rng(0).integers(0, 256, (2, 96, 80), dtype=np.uint8)
    return np.stack([preprocess(picture) for picture in noise])


def _check_variant(bundle: Bundle, precision: str) -> tuple[bool, str]:
    return _check_images(bundle, OnnxRuntimeEncoder(bundle, "cpu", cast(Precision, precision)))


def _check_texts(bundle: Bundle, encoder: OnnxRuntimeEncoder) -> tuple[bool, str]:
    input_ids = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id)(_prompts(bundle))
    return _tried(bundle, encoder.encode_texts, input_ids)


def _tried(bundle: Bundle, encode: Callable[..., npt.NDArray[np.float32]], rows: npt.NDArray[Any]) -> tuple[bool, str]:
    """Encode the rows twice in one batch, and then each alone."""
    together, again = encode(rows), encode(rows)
    ok, detail = _judge(bundle, together, again)
    alone = np.concatenate([encode(rows[n : n + 1]) for n in range(len(rows))])
    if ok and not _least_cosine(together, alone) >= LEAST_COSINE:
        return False, "an input gives another result alone than in a batch"
    return ok, detail


def _judge(bundle: Bundle, first: npt.NDArray[np.float32], second: npt.NDArray[np.float32]) -> tuple[bool, str]:
    """Finite values and the shape are the encoder's own checks; here length, repeatability, and an answer at all."""
    of_length_1, kind = ("", "set of tokens") if bundle.has_scorer else (", of length 1 together", "embedding")
    off = float(np.abs(np.linalg.norm(first.astype(np.float64), axis=1) - 1).max())
    if of_length_1 and off > UNIT_TOLERANCE:
        return False, f"embeddings are not of length 1 (off by {off:.2g})"
    if not np.array_equal(first, second):
        return False, "the same input gives two results"
    if np.allclose(first, first[:1]):
        return False, f"different inputs give one and the same {kind}"
    return True, f"{first.shape[1]:,} finite numbers{of_length_1}, and the same when computed again"


def _least_cosine(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    products = (a.astype(np.float64) * b).sum(axis=1)
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    # Tokens may be nothing but zeros, and have no direction then.
    cosines = np.divide(products, lengths, out=(a == b).all(axis=1).astype(np.float64), where=lengths > 0)
    return float(cosines.min())


def _prompts(bundle: Bundle) -> list[str]:
    templates = (*bundle.templates.positive, *bundle.templates.negative)
    return [template.replace("{}", label) for template in templates for label in FIXED_LABELS]
