"""Self-contained HTML pages: no network, no external resource, readable on a phone and on paper.

page.py        the page on an evaluation, and its tables of results
location.py    the page on where maps point
frame.py       what both have around their sections
sections.py, probabilities.py, errors.py, provenance.py   its other parts
errorfilms.py  pictures of the worst errors
findfilm.py    where the film of a table's row is
plots.py, svg.py   the pictures of a label
cells.py       tables
"""

from __future__ import annotations

from cxrzero.report.page import render_evaluation

__all__ = ["render_evaluation"]
