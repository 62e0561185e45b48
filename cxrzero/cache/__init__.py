"""Embeddings that are kept, so that a second question opens no image; see docs/cache.md.

    store.py    one SQLite file: keys and sealed payloads, several processes, a size limit, damage set aside
    merge.py    entries of other machines' files into it
    entries.py  one model's entries of one kind, and their keys
    contents.py what is in a file, so that a film is known wherever it is
    images.py   a file's frames: facts, flags, embeddings
    texts.py    prompts

Importing this package, or `cxrzero.cache.store`, loads neither NumPy nor Pillow: `cxrzero cache` needs neither.
"""
