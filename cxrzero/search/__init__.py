"""What embeddings that are kept can be asked for: films by words or by example, and wordings by films.

options.py       what the command line asks
archive.py       rank an archive by closeness
contactsheet.py  the result as one page
prompts.py       the wording that separates labelled films best
"""
