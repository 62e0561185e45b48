"""What `--model` means: a path, else the name of a known model. Never uses the network."""

from __future__ import annotations

from pathlib import Path

from cxrzero.bundle import MODEL_JSON, Bundle, bundled_folder, list_bundled, load_bundle
from cxrzero.errors import AmbiguousModelError, BundleError

DEFAULT_MODEL = "cxrzero-mini"


def resolve_model(spec: str = DEFAULT_MODEL) -> Bundle:
    """Find and check the bundle that a user means.

    Args:
        spec: path of a bundle folder, or the name of a bundle that comes with the package.

    Raises:
        AmbiguousModelError: a bare name that is both a folder here and a known model.
        BundleError: nothing of that name, or a bundle that fails its checks.
    """
    path, known = Path(spec), list(list_bundled())
    is_bare_name = spec in known
    if is_bare_name and path.exists():
        raise AmbiguousModelError(
            f"{spec!r} is both a folder here and a known model; write ./{spec} for the folder, or run from elsewhere"
        )
    if is_bare_name:
        return load_bundle(bundled_folder() / spec)
    if path.is_dir():
        return load_bundle(path)
    if path.name == MODEL_JSON and path.is_file():
        return load_bundle(path.parent)
    if path.is_file():
        raise BundleError(f"{path} is a file; --model takes a bundle: the folder that holds {MODEL_JSON}")
    raise BundleError(
        f"no model {spec!r}: not a folder here, and not one of the models that come with cxrzero ({', '.join(known)})"
    )
