"""Find the films that are most like one: python search_by_example.py films/ film.png"""

import sys

from cxrzero import Screener

films, example = sys.argv[1:]
with Screener() as screener:
    for hit in screener.search(films, like=example, top=3):
        print(f"{hit.rank}. {hit.row.path} ({hit.cosine:.2f})")
