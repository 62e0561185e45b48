"""What `cxrzero train` takes: one reader for each layout of images and their texts, all giving the same records.

    table    a CSV with the columns image,text or image,report
    folder   images, each with a text file of the same name beside it
    mimic    pNN/pNNNNNNNN/sNNNNNNNN.txt, and the study's images in a folder of that name (MIMIC-CXR)
    openi    XML reports that name their images (Open-I, Indiana University)

No layout knows what a report says (`cxrzero.train.data.reports`),
or what a run makes of it (`cxrzero.train.data.pairs`).
"""

from __future__ import annotations

from cxrzero.choices import PairsLayout
from cxrzero.train.data.layouts.read import LAYOUTS, read_source
from cxrzero.train.data.layouts.record import Record, Source

__all__ = ["LAYOUTS", "PairsLayout", "Record", "Source", "read_source"]
