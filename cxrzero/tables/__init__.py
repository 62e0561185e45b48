"""Tables on disk: how rows are laid out and written, and how tables of any origin are read.

rows.py       predictions → rows and columns, wide or long
decimals.py   scores as text
writers.py    CSV, JSON Lines, Parquet
table.py      a table that appears under its name only when it is complete
studies.py    the study-level table
pseudonym.py  paths and UIDs → keyed digests
finished.py   a table of predictions → its rows
read.py       tables as people have them → columns
names.py      what their columns are called
paths.py      where the film of a path cell is
record.py     how a table was made, by the record beside it
changed.py    what is said of a film that is no longer the one that a table is of
synonyms.py   what else a finding is called (synonyms.yaml)
labels.py     what a cell says of a finding
labelled.py   a table of images and what is true of them
"""
