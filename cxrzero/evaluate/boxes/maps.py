"""Where the maps come from: a folder of `cxrzero heatmap --format npz`, or films that are mapped when needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cxrzero.errors import ConfigError, NoInputError
from cxrzero.heatmap.arrays import FilmMaps, read_npz

HEATMAPS_CSV = "heatmaps.csv"


@dataclass(frozen=True, slots=True)
class MapSource:
    """Maps of films.

    Attributes:
        paths: of the films, each once.
        labels: that are mapped.
        of: path → the maps of each of its frames. Raises ImageError where the film cannot be read.
        trained_on: what the model's card names as its training data; "" where it is not at hand or says nothing.
    """

    paths: tuple[str, ...]
    labels: tuple[str, ...]
    of: Callable[[str], Iterable[FilmMaps]]
    trained_on: str = ""


def holds_maps(folder: Path) -> bool:
    """Whether a folder is one of maps, and not one of films.

    Raises:
        NoInputError: it is no folder.
        ConfigError: it holds the pictures and the table of `cxrzero heatmap`, and no maps.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "no such folder"
        raise NoInputError(f"{folder}: {what}; give --boxes a folder of cxrzero heatmap --format npz, or of films")
    if any(folder.glob("*.npz")):
        return True
    if (folder / HEATMAPS_CSV).exists():
        raise ConfigError(f"{folder} holds pictures of maps, and no maps; run cxrzero heatmap with --format npz")
    return False


def map_folder(folder: Path) -> MapSource:
    """The maps in a folder of .npz files, all of one model and method.

    Raises:
        ConfigError: a file is damaged, two are of the same frame, or of different models or methods.
    """
    files: dict[str, list[Path]] = {}
    labels: dict[str, None] = {}
    frames: dict[tuple[str, int], Path] = {}
    first: FilmMaps | None = None
    for file in sorted(folder.glob("*.npz")):
        maps = read_npz(file)
        first = first or maps
        for what, one, other in (
            ("models", first.fingerprint, maps.fingerprint),
            ("methods", first.method, maps.method),
        ):
            if one != other:
                raise ConfigError(
                    f"{folder} holds maps of different {what}: {one[:12]} and {other[:12]} ({file.name}); give each a "
                    "folder of its own"
                )
        twin = frames.setdefault((maps.path, maps.frame), file)
        if twin is not file:
            raise ConfigError(f"{folder}: {twin.name} and {file.name} are both of frame {maps.frame} of one film")
        files.setdefault(maps.path, []).append(file)
        labels |= dict.fromkeys(maps.labels)

    def of(path: str) -> Iterator[FilmMaps]:
        return map(read_npz, files[path])

    return MapSource(tuple(files), tuple(labels), of)
