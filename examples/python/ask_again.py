"""Keep embeddings, and ask them again without the films: python ask_again.py films/ kept.npz"""

import sys

from cxrzero import Embeddings, Screener

films, kept = sys.argv[1:]
with Screener() as screener:
    screener.embed(films).save(kept, overwrite=True)
    rows = screener.score(Embeddings.load(kept), labels=["enlarged heart"])
highest = max((row for row in rows if row.status == "ok"), key=lambda row: row.scores["enlarged heart"])
print(f"{highest.path}: {highest.scores['enlarged heart']:.2f}")
