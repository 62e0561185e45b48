"""Draws chest radiographs that belong to no one, for examples, tests, benchmarks and training.

`draw(seed)` gives a `Phantom`: pixels, findings with sides, and report sentences that are true of it.
`cxrzero.phantom.dicom.write_dicom` stores it as DICOM. NumPy and Pillow only; the same seed always gives the same film.
"""

from cxrzero.phantom.detector import Look, sample_look
from cxrzero.phantom.draw import Phantom, draw
from cxrzero.phantom.findings import LABELS, NAMES, Finding, random_finding, sample_findings

__all__ = ["LABELS", "NAMES", "Finding", "Look", "Phantom", "draw", "random_finding", "sample_findings", "sample_look"]
