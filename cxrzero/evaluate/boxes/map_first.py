"""`cxrzero eval FILMS --boxes CSV`: map the films that have boxes first, for the findings that the boxes are of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from cxrzero.choices import Notify, silent
from cxrzero.errors import NoInputError
from cxrzero.evaluate.boxes.maps import MapSource
from cxrzero.evaluate.boxes.run import MapFilms
from cxrzero.evaluate.boxes.seen import stated_training
from cxrzero.evaluate.boxes.table import BoxTable
from cxrzero.evaluate.match import parse_mapping
from cxrzero.evaluate.options import EvalOptions
from cxrzero.heatmap.arrays import FilmMaps
from cxrzero.prediction import printable_path
from cxrzero.sources import find_images
from cxrzero.tables.names import fold
from cxrzero.tables.synonyms import same_finding


def film_mapper(options: EvalOptions, notify: Notify = silent) -> MapFilms:
    """What maps the films of a folder when their maps are needed; `notify` is told by which method, and why."""

    def map_films(folder: Path, table: BoxTable) -> MapSource:
        from cxrzero.heatmap.films import films_in
        from cxrzero.heatmap.mapper import Mapper
        from cxrzero.heatmap.methods import choose_method
        from cxrzero.pipeline.items import Failure
        from cxrzero.screener import Screener

        refs = {printable_path(ref.path): ref for ref in find_images([str(folder)])}
        if not refs:
            raise NoInputError(f"{folder} holds neither maps nor films")
        screener = Screener(options.model, notify=notify)
        bundles = [member.bundle for member in screener.members]
        method, why = choose_method(options.method, bundles)
        notify(f"maps by {method}: {why}")
        asked = options.asked
        if asked is None:
            asked = asked_labels(table, bundles[0].labels, parse_mapping(options.mapping))
        mapper = Mapper(screener.members, screener.prompts(asked), method, screener.batch_size)
        geometries = [member.preprocess.fit for member in screener.members]

        def of(path: str) -> Iterator[FilmMaps]:
            for film in films_in(refs[path], screener.decode, geometries, draw=False):
                if isinstance(film, Failure):
                    raise film.error
                yield from mapper([film])

        trained_on = "; ".join(filter(None, (stated_training(bundle.card) for bundle in bundles)))
        return MapSource(tuple(refs), mapper.labels, of, trained_on)

    return map_films


def asked_labels(table: BoxTable, known: Sequence[str], mapping: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The findings of a table of boxes as labels to ask: under the names of --map, else of the model, else their own.

    Args:
        known: labels that the model names itself.
    """
    mapped = {name for names in mapping.values() for name in names}
    asked = [*mapping]
    for name in dict.fromkeys(table.findings):
        if name not in mapped:
            same = (label for label in known if fold(label) == fold(name) or same_finding(label, name))
            asked.append(next(same, name.replace("_", " ")))
    return tuple(dict.fromkeys(asked))
