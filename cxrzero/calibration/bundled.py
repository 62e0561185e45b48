"""calibration.json in a bundle: how it gets there, and how it is found by `predict --calibration model`.

It is bound to the model's fingerprint. The fingerprint covers what decides a score (both encoders, the tokenizer,
preprocessing, text settings, the scoring rule), and so never the calibration: with it in the bundle or without it, the
model is the same one. It holds for fp32, which every machine computes, and for the model's own prompts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cxrzero.calibration.file import Calibration, check_binding, read_calibration, write_calibration
from cxrzero.choices import OWN_CALIBRATION
from cxrzero.errors import ConfigError, UsageError
from cxrzero.files import sha256_of, write_json
from cxrzero.model.bundle import Bundle, load_bundle
from cxrzero.model.model_json import CALIBRATION, MODEL_JSON
from cxrzero.model.own import check_is_own
from cxrzero.prompts import resolve_prompts
from cxrzero.prompts.ask import as_asked, entries_of

PRECISION = "fp32"


def own_calibration(bundles: Sequence[Bundle]) -> Path:
    """The calibration in the bundle of the one model that is asked.

    Raises:
        UsageError: an ensemble is asked.
        ConfigError: the bundle holds none.
    """
    if len(bundles) > 1:
        raise UsageError(
            f"--calibration {OWN_CALIBRATION} takes one model, and {len(bundles)} are asked: what was fitted for each "
            "of them is not true of their mean. Fit one for the ensemble with cxrzero eval, and give its file"
        )
    (bundle,) = bundles
    if CALIBRATION not in bundle.files:
        raise ConfigError(
            f"--calibration {OWN_CALIBRATION}: the model {bundle.name} in {bundle.path} holds no calibration. Fit one "
            "with cxrzero eval, and give its file; or put it into a model of your own with cxrzero models calibrate. "
            f"(A file called {OWN_CALIBRATION!r} is ./{OWN_CALIBRATION}.)"
        )
    return bundle.file(CALIBRATION)


def check_own(calibration: Calibration, bundle: Bundle) -> None:
    """Check that a calibration was fitted for this model, as it is asked where nobody gives another wording.

    Raises:
        ConfigError: it was fitted for something else, or on the table on which it was then tested.
        LabelError: its labels cannot be asked.
    """
    if calibration.in_sample:
        raise ConfigError(
            "it was fitted on the table on which it was then tested (--in-sample), so nothing says what it is worth; "
            "give cxrzero eval two pairs of tables, one of them as --validation"
        )
    prompts = as_asked(resolve_prompts(bundle, list(calibration.labels)), bundle.scoring)
    decisive: dict[str, Any] = {
        "models": [{"name": bundle.name, "fingerprint": bundle.fingerprint_at(PRECISION)}],
        "precision": PRECISION,
        **bundle.rules(),
        "prompts": entries_of([prompts], [bundle.scoring]),
    }
    check_binding(calibration, decisive)


def put_into(bundle: Bundle, source: Path, note: str | None = None) -> Calibration:
    """Put a calibration into a bundle, in the place of one that is there.

    Args:
        note: what is to be said of it; None keeps what the file says.

    Returns:
        What is now in the bundle.

    Raises:
        NoInputError: there is no such file.
        ConfigError: it is no calibration, or none for this model (see `check_own`).
        UsageError: the bundle is not the user's own to change.
        WriteError: it cannot be written; what is then there is a whole bundle, perhaps without calibration.
    """
    calibration = read_calibration(source)
    try:
        check_own(calibration, bundle)
    except UsageError as error:
        raise type(error)(f"{source}: {error}") from None
    check_is_own(
        bundle,
        (MODEL_JSON, CALIBRATION),
        f"give --calibration the file instead, or copy {bundle.path} and calibrate the copy",
        "calibrate the copy",
    )
    calibration = replace(calibration, note=note if note is not None else calibration.note)
    path, card = bundle.file(CALIBRATION), dict(bundle.card)
    files = {name: entry for name, entry in card["files"].items() if name != CALIBRATION}
    if CALIBRATION in card["files"]:  # a bundle whose hashes do not fit would be no bundle, so it is without one first
        write_json(bundle.file(MODEL_JSON), card | {"files": files})
    write_calibration(path, calibration)
    files[CALIBRATION] = {"sha256": sha256_of(path), "size": path.stat().st_size}
    write_json(bundle.file(MODEL_JSON), card | {"files": files})
    load_bundle(bundle.path)
    return calibration
