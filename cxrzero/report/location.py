"""The report on where maps point, as one HTML page."""

from __future__ import annotations

import datetime
import math
from pathlib import Path

from cxrzero.display.counts import counted
from cxrzero.display.page import escape
from cxrzero.evaluate.boxes.run import Localisation
from cxrzero.evaluate.boxes.score import LabelLocation
from cxrzero.report.cells import Cell, count, estimate, facts, number, table, text
from cxrzero.report.frame import read_first, report_page

HEADER = ("Finding", "Films", "Boxes cover", "Map hits", "Best fixed point", "Image centre", "Mean box",
          "Map − fixed point", "mIoU of the map", "mIoU of the mean box")  # fmt: skip
MEASURED = ("box_share", "hit_rate", "fixed_point_hit_rate", "centre_hit_rate", "mean_box_hit_rate", "gain", "miou",
            "mean_box_miou")  # fmt: skip


def render_location(found: Localisation, created: datetime.datetime | None = None) -> str:
    """The whole page.

    Args:
        created: shown as the time of the evaluation; None leaves it out.
    """
    maps, boxes = Path(found.options.predictions).name, found.gathered.table.path.name
    return report_page(
        f"Where the maps of {maps} point",
        [f"against {escape(boxes)}", escape(found.gathered.method)],
        [read_first(found.warnings), _results(found), _made(found), METHODS],
        "location.csv and location.json",
        created,
    )


def verdict_of(each: LabelLocation) -> str:
    """What the overlays of a finding are worth, in a few words."""
    if each.verdict == "not validated" and each.gain.low > 0:  # over the point that is chosen without the film
        return f"location not validated: one point hits {each.best_point_hit_rate:.2f}"
    return {
        "validated": "beats the best fixed point",
        "not validated": "location not validated",
        "too few": "too few to judge",
        "seen in training": "seen in training",
        "unknown": "beats the best fixed point; training unknown",
    }[each.verdict]


def _results(found: Localisation) -> str:
    unit = found.gathered.unit
    rows = []
    for each in found.labels:
        patients = f'<span class="ci">of {counted(each.n_units, unit)}</span>' if unit != "film" else ""
        films = Cell(f"{each.n_films:,}{patients}", each.n_films, "number")
        name = Cell(f'{escape(each.label)} <span class="ci">{escape(verdict_of(each))}</span>')
        rows.append([name, films, *_estimates(each)])
    if found.mean is not None:
        name = text(f"mean of {counted(len(found.mean.labels), 'finding')}")
        rows.append([name, text(""), *(estimate(found.mean.values[key], 2) for key in MEASURED)])
    caption = f"Each value stands with its {found.options.confidence:.0%} interval."
    return f"<section><h2>Results per finding</h2>{table(HEADER, rows, caption=caption)}</section>"


def _estimates(each: LabelLocation) -> list[Cell]:
    return [estimate(getattr(each, name), 2) for name in MEASURED]


def _made(found: Localisation) -> str:
    gathered, options = found.gathered, found.options
    size = options.box_size
    pairs = [
        ("Model", f"<code>{escape(gathered.fingerprint)}</code>"),
        ("Method", escape(gathered.method)),
        ("Joined by", escape(gathered.join.key)),
        ("Boxes", f"{gathered.counts.boxes:,} of {gathered.table.n_rows:,} rows"),
        ("Boxes are in pixels of", f"films of {size[0]} × {size[1]}" if size else "the films themselves"),
        ("Independent unit", escape(gathered.unit)),
        ("Training data by the card", escape(found.trained_on) or "unknown"),
        ("Bootstrap", f"{counted(options.n_resamples, 'resample')}, seed {options.seed}"),
    ]
    pairs += [("Label under another name", escape(words)) for words in gathered.match.synonyms.values()]
    rows = [
        [text(each.label), *(number(c, 2) for c in each.cutoffs), count(each.n_boxes)]
        for each in found.labels
        if not math.isnan(each.cutoffs[0])
    ]
    cuts = table(("Finding", "Lowest cut-off", "Highest cut-off", "Boxes"), rows, caption="Cut-offs that were chosen")
    return f"<section><h2>Provenance</h2>{facts(pairs)}{cuts if rows else ''}</section>"


METHODS = (
    "<section><h2>Methods</h2><p>A map hits where its peak is inside the finding's boxes; several boxes of a finding "
    "on a film are one region. IoU is that of the region and of the map above a cut-off, a part of the way from the "
    "map's lowest to its highest value, which is chosen for each finding on the films of all other patients. The best "
    "fixed point is the one that lies in most regions of the other films, the mean box is the mean of theirs; neither "
    "sees a film, nor does the image centre. A point anywhere hits as often as the boxes cover the film. Intervals: "
    "percentile bootstrap of patients, of differences film by film; where all films are alike, Wilson's bound. A "
    "finding is validated where the interval of map minus fixed point lies above 0 and the map also hits more often "
    "than any one point would that is chosen with all films, on films that were not trained on.</p></section>"
)
