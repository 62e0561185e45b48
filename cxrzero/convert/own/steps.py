"""How a user's encoder wants its pictures: steps of a bundle, from a JSON file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrzero.errors import BundleError, ConfigError, NoInputError
from cxrzero.model.model_json import MAX_MODEL_JSON_BYTES
from cxrzero.model.preprocess import Preprocess

# What a CLIP of 224 pixels takes; the form of the file, for messages and the docs.
EXAMPLE = """[
  {"step": "resize_shortest", "size": 224, "interpolation": "bicubic"},
  {"step": "center_crop", "height": 224, "width": 224},
  {"step": "rescale", "factor": 0.00392156862745098},
  {"step": "normalize", "mean": [0.4815, 0.4578, 0.4082], "std": [0.2686, 0.2613, 0.2758]}
]"""


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps as model.json has them, and ready to use."""

    listed: list[dict[str, Any]]
    preprocess: Preprocess


def read_steps(path: Path) -> Steps:
    """Read and check the steps: a list, or an object with the key `preprocess`, such as a model.json.

    Raises:
        NoInputError: there is no such file.
        ConfigError: it is no list of steps, or they cannot be carried out, or they leave the image size open.
    """
    try:
        if path.stat().st_size > MAX_MODEL_JSON_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_MODEL_JSON_BYTES} bytes: these are no steps")
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NoInputError(f"{path}: no such file") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise _wrong(path, f"it is not valid JSON ({error})") from error
    steps = found.get("preprocess") if isinstance(found, dict) else found
    if not isinstance(steps, list) or not all(
        isinstance(each, dict) and isinstance(each.get("step"), str) for each in steps
    ):
        raise _wrong(path, 'it must be a list of objects like {"step": "resize", …}')
    try:
        return Steps(steps, Preprocess(steps, None))
    except BundleError as error:
        raise _wrong(path, str(error)) from error


def _wrong(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"{path}: {why}. docs/models.md lists the steps; for a CLIP of 224 pixels the file is:\n{EXAMPLE}"
    )
