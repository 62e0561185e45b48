"""A run before it starts: everything that can be checked before a film is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cxrzero.errors import NoInputError, UsageError
from cxrzero.heatmap.folder import check_folder
from cxrzero.heatmap.methods import Method, choose_method, validated
from cxrzero.heatmap.options import HeatmapOptions
from cxrzero.heatmap.overlay import UNVALIDATED
from cxrzero.heatmap.table import Listed, highest
from cxrzero.heatmap.thresholds import thresholds_of
from cxrzero.prompts import LabelPrompts
from cxrzero.sources import check_paths

if TYPE_CHECKING:
    from cxrzero.archive.archives import Archives
    from cxrzero.screener import Screener
    from cxrzero.sources.objects import Objects


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked before a model is there.

    Attributes:
        labels: None asks those of the model.
        listed: films of a table; None reads the paths.
    """

    options: HeatmapOptions
    labels: tuple[str, ...] | None
    listed: list[Listed] | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is asked, with its model; see `prepare`.

    Attributes:
        thresholds: label → probability below which it is not found.
        remarks: what there is to say before the run.
    """

    asked: Asked
    screener: Screener
    prompts: tuple[LabelPrompts, ...]
    method: Method
    thresholds: dict[str, float]
    remarks: tuple[str, ...]


def check(options: HeatmapOptions, archives: Archives | None = None, objects: Objects | None = None) -> Asked:
    """Check all that can be checked before a model is opened; with --top the table is read.

    Args:
        archives, objects: from which addresses are read.

    Raises:
        UsageError: paths, table or options are not usable.
        OutputError: the folder cannot be written.
    """
    if options.pseudonym_key and not options.pseudonymise:
        raise UsageError("--pseudonym-key without --pseudonymise would write real paths and UIDs; give both")
    check_folder(options.out, overwrite=options.overwrite)
    if options.top is None:
        _check_paths(options.paths, archives, objects, is_hidden=options.pseudonymise)
        return Asked(options, options.labels)
    if len(options.paths) != 1:
        raise UsageError("--top takes one table of cxrzero predict, and nothing beside it")
    labels, listed = highest(Path(options.paths[0]), options.labels, options.top)
    if not listed:
        raise NoInputError(f"{options.paths[0]} has no scored film of {', '.join(labels)}")
    return Asked(options, labels, listed)


def prepare(asked: Asked, screener: Screener) -> Plan:
    """Choose the method, and say what must be known before a film is read.

    Raises:
        ConfigError: patches or attention are asked of a model that has none.
        LabelError: labels are not usable.
    """
    options = asked.options
    bundles = [member.bundle for member in screener.members]
    method, why = choose_method(options.method, bundles)
    prompts = screener.prompts(asked.labels, options.prompts)
    thresholds, source = thresholds_of(screener, prompts, options.found_above)
    remarks = [f"maps by {method}: {why}", source, *screener.notes(on_keeping=False)]
    doubtful = [prompt.label for prompt in prompts if not validated(bundles, prompt.label, method)]
    if doubtful:
        remarks.append(f"{UNVALIDATED} for {', '.join(doubtful)}: see docs/heatmap.md")
    return Plan(asked, screener, prompts, method, thresholds, tuple(remarks))


def _check_paths(paths: Sequence[str], archives: Archives | None, objects: Objects | None, *, is_hidden: bool) -> None:
    """Do what `check_paths` does; where names are hidden, name a path by its place, for it may be a patient's."""
    for number, path in enumerate(paths if is_hidden else (), start=1):
        try:
            check_paths([path], archives, objects)
        except NoInputError:
            hidden = "its name is not shown under --pseudonymise"
            raise NoInputError(f"PATH number {number} does not exist, or is no list of paths ({hidden})") from None
    check_paths(paths, archives, objects)
