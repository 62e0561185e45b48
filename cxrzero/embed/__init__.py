"""`cxrzero embed`: films in, their embeddings in a file, which `predict` and `search` ask without the films.

options.py  what the command line asks
run.py      one run, from the films to the file and its record
merge.py    the files of shards as one
"""
