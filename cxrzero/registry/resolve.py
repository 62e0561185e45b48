"""What `--model` means: a path, else the name of a known model, else hf-hub: or local-dir:. Never uses the network."""

from __future__ import annotations

import difflib
from pathlib import Path

from cxrzero.cards.card import Card, card_names, card_of_repository, load_card
from cxrzero.choices import DEFAULT_MODEL, Notify, silent
from cxrzero.display.counts import either, together
from cxrzero.errors import AmbiguousModelError, BundleError, UsageError
from cxrzero.model.bundle import Bundle, bundled_folder, list_bundled, load_bundle
from cxrzero.model.model_json import MODEL_JSON
from cxrzero.registry import sources
from cxrzero.registry.byhand import how_to_get
from cxrzero.registry.folder import bundles_in, installed, is_bundle
from cxrzero.registry.snapshot import find_snapshot
from cxrzero.registry.trainingrun import why_no_model

HUB, LOCAL = "hf-hub:", "local-dir:"


def resolve_models(spec: str = DEFAULT_MODEL, notify: Notify = silent) -> list[Bundle]:
    """Find and check the bundles that a user means: one, or the members of an ensemble in a fixed order.

    Args:
        spec: path of a bundle, of a folder of bundles, or of a checkpoint (which is imported once, by its contents,
            into the user's models folder); a registry name; `hf-hub:org/name`, a local copy of that repository;
            `local-dir:PATH`, a path whatever its name.
        notify: is told before something slow happens, such as an import.

    Raises:
        AmbiguousModelError: a bare name that is both a path here and a known model, or a checkpoint whose lineage
            its name does not tell.
        BundleError: nothing of that name, not here, or a bundle that fails its checks.
        MissingExtraError: a checkpoint that was not imported yet, and torch is not installed.
    """
    if spec.startswith(HUB):
        return _from_hub(spec.removeprefix(HUB), notify)
    if spec.startswith(LOCAL):
        return _from_path(Path(spec.removeprefix(LOCAL)), notify)
    path, known = Path(spec), spec in known_names()
    if known and path.exists():
        raise AmbiguousModelError(
            f"{spec!r} is both {'a folder' if path.is_dir() else 'a file'} here and a known model; "
            f"write ./{spec} for the one here, or run from elsewhere"
        )
    if known:
        return _from_name(spec)
    if path.exists() or why_no_model(path):
        return _from_path(path, notify)
    near = difflib.get_close_matches(spec.lower(), sorted(known_names()))
    advice = f"Did you mean {either(near)}?" if near else f"Known are {together(sorted(known_names()))}"
    raise BundleError(
        f"there is no model {spec!r}: it is neither a path here nor a known model; see cxrzero models list. {advice}"
    )


def resolve_model(spec: str = DEFAULT_MODEL, notify: Notify = silent) -> Bundle:
    """Do what `resolve_models` does, for what takes one model.

    Raises:
        UsageError: `spec` is an ensemble.
    """
    bundles = resolve_models(spec, notify)
    if len(bundles) != 1:
        names = ", ".join(bundle.path.name for bundle in bundles)
        raise UsageError(f"{spec!r} is an ensemble of {len(bundles)} models, and this takes one: {names}")
    return bundles[0]


def known_names() -> set[str]:
    """Names that the registry, this installation or the user's models folder give a meaning to."""
    return {*card_names(), *list_bundled(), *(name for name, _ in installed())}


def _from_name(name: str) -> list[Bundle]:
    if name in list_bundled():
        return [load_bundle(bundled_folder() / name)]
    here = dict(installed())
    if name in here:
        return [load_bundle(here[name])]
    card = load_card(name)
    members = [f"{name}/{Path(file.name).stem}" for file in card.files] if card.ensemble else []
    missing = [member for member in members if member not in here]
    if not members or len(missing) == len(members):
        raise BundleError(f"the model {name} is not here. {how_to_get(card)}")
    if missing:
        raise BundleError(
            f"{name} is an ensemble of {len(members)} models, and {len(members) - len(missing)} of them are here. "
            f"Missing: {', '.join(missing)}. Import them too, or name those that you want: --model "
            f"{next(member for member in members if member in here)}"
        )
    return [load_bundle(here[member]) for member in members]


def _from_path(path: Path, notify: Notify) -> list[Bundle]:
    if path.name == MODEL_JSON and path.is_file():
        return [load_bundle(path.parent)]
    if is_bundle(path):
        return [load_bundle(path)]
    if members := bundles_in(path) if path.is_dir() else []:
        return [load_bundle(member) for member in members]
    if why := why_no_model(path):
        raise BundleError(why)
    found = sources.find(path)
    if found:
        return [sources.imported(source, notify) for source in found]
    if path.is_file():
        raise BundleError(
            f"{path} is a file; --model takes a bundle (the folder that holds {MODEL_JSON}) or a checkpoint "
            f"({', '.join(sources.SUFFIXES)})"
        )
    if not path.exists():
        raise BundleError(f"there is no {path}")
    return [load_bundle(path)]  # which says what is missing


def _from_hub(repository: str, notify: Notify) -> list[Bundle]:
    card = card_of_repository(repository)
    if card is not None and _is_installed(card):
        return _from_name(card.name)
    snapshot = find_snapshot(repository)
    if snapshot is not None:
        return _from_path(snapshot, notify)
    if card is not None:
        raise BundleError(f"no local copy of {HUB}{repository} was found. {how_to_get(card)}")
    raise BundleError(
        f"no local copy of {HUB}{repository} was found in the Hugging Face cache, and it is not in the registry. "
        "Download the repository, then: cxrzero models import FOLDER --name NAME"
    )


def _is_installed(card: Card) -> bool:
    return any(name == card.name or name.startswith(f"{card.name}/") for name, _ in installed())
