"""location.json → `location` of a model's own model.json, where overlays and `heatmap --method auto` read it.

The fingerprint of a model does not cover it: with it or without it, the model is the same one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxrzero.errors import ConfigError, NoInputError
from cxrzero.evaluate.boxes.outputs import SCHEMA, SCHEMA_VERSION
from cxrzero.files import write_json
from cxrzero.model.bundle import Bundle, load_bundle
from cxrzero.model.model_json import MODEL_JSON
from cxrzero.model.own import check_is_own
from cxrzero.prompts.location import Located, read_location
from cxrzero.prompts.measured import finding_key

MAX_BYTES = 16 * 2**20  # of a location.json, which has some kilobytes
LOCATION = "location"

# Of an entry → of a label in location.json.
ESTIMATES = {
    "hit_rate": "hit_rate",
    "fixed_point": "fixed_point_hit_rate",
    "centre": "centre_hit_rate",
    "gain": "gain",
    "miou": "miou",
    "mean_box_miou": "mean_box_miou",
    "box_share": "box_share",
}


def put_into(bundle: Bundle, sources: Sequence[Path], dataset: str | None = None) -> list[Located]:
    """State in a bundle's model.json where its maps were measured to point.

    Entries of the same finding, method and data set are replaced, others stay.

    Args:
        sources: files of `cxrzero eval --boxes`, such as one for each method.
        dataset: what the boxed films are called; None takes the name of the table of boxes.

    Returns:
        What is now there.

    Raises:
        NoInputError: there is no such file.
        ConfigError: it is no such file, or of another model, or nobody said whether its films were trained on.
        UsageError: the bundle is not the user's own to change.
        WriteError: it cannot be written; model.json is then as it was.
    """
    made = [entry for source in sources for entry in entries(_read(source), source, bundle, dataset)]
    check_is_own(bundle, (MODEL_JSON,), f"copy {bundle.path}, and put it into the copy", "put it into the copy")
    there = bundle.card.get(LOCATION)
    new = {_key(entry) for entry in made}
    kept = [each for each in (there if isinstance(there, list) else ()) if _key(each) not in new]
    write_json(bundle.file(MODEL_JSON), dict(bundle.card) | {LOCATION: [*kept, *made]})
    return read_location(load_bundle(bundle.path).card[LOCATION])


def entries(record: Mapping[str, Any], source: Path, bundle: Bundle, dataset: str | None) -> list[dict[str, Any]]:
    """What model.json says of an evaluation: its findings on films that the model was not trained on.

    Raises:
        ConfigError: it is of another model, malformed, or has no such films.
    """
    try:
        fingerprint, labels = record["model"]["fingerprint"], record["labels"]
        unseen = [label for label in labels if label["training"] == "not seen"]
        is_unknown = any(label["training"] == "unknown" for label in labels)
        common = {
            "method": str(record["method"]),
            "dataset": dataset or str(record["dataset"]),
            "unit": str(record["unit"]),
            "seen_in_training": False,
        }
        made = [_entry(label, common) for label in unseen]
    except (KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"{source} is not a whole file of cxrzero eval --boxes ({type(error).__name__})") from None
    if fingerprint != bundle.fingerprint:
        raise ConfigError(
            f"{source} is of the model {str(fingerprint)[:12]}…, and {bundle.path} is {bundle.fingerprint[:12]}…: "
            "evaluate maps of this model"
        )
    if is_unknown or not made:
        raise ConfigError(
            f"{source}: a model is judged only on films that it was not trained on; evaluate with --seen or --unseen"
        )
    return made


def _entry(label: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    numbers = {
        name: {key: label[metric][key] for key in ("value", "low", "high")} for name, metric in ESTIMATES.items()
    }
    counts = {"films": label["n_films"], "units": label["n_units"]}
    return {"label": str(label["label"]), **common, **counts, **numbers, "best_point": label["best_point_hit_rate"]}


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path} is too large for a file of cxrzero eval --boxes")
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoInputError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise ConfigError(f"{path} is not the location.json of cxrzero eval --boxes")
    if record.get("schema_version") != SCHEMA_VERSION:
        raise ConfigError(f"{path} has schema version {record.get('schema_version')}, and this cxrzero reads 1")
    return record


def _key(entry: Any) -> tuple[str, Any, Any] | None:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("label"), str):
        return None
    return finding_key(entry["label"]), entry.get("method"), entry.get("dataset")
