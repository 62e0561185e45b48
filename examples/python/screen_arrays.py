"""Screen pictures that are in memory: python screen_arrays.py film.png"""

import sys

import numpy as np
from PIL import Image

from cxrzero import Screener

film = np.asarray(Image.open(sys.argv[1]).convert("L"))  # (H, W) uint8, bright is dense
with Screener() as screener:
    rows = screener.predict([("upright", film), ("mirrored", film[:, ::-1])], labels=["pleural effusion"])
    print({row.path: round(row.scores["pleural effusion"], 2) for row in rows})
