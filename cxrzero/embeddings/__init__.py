"""Embeddings of films, kept outside of the cache: to be had, saved, and asked again without the films.

embeddings.py   films and what was computed of them, in memory
origin.py       what made them, so that no other model is asked about them
files.py        reads and writes them, by the suffix
npz.py          as NumPy's archive
parquet.py      as Parquet, which grows
"""
