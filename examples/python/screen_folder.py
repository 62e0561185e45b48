"""Screen a folder: python screen_folder.py films/"""

import sys

from cxrzero import Screener

with Screener() as screener:
    for row in screener.predict(sys.argv[1], labels=["cardiomegaly", "pleural effusion"], progress=True):
        found = ", ".join(f"{label} {score:.2f}" for label, score in row.scores.items())
        print(row.path, found or row.error)
