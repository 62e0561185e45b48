"""Text and pictures of files and of users on their way to people.

visible.py, plain.py, letters.py   what a terminal or a page would act on is made visible
counts.py    numbers with their nouns
page.py      the frame of every HTML page, with its one stylesheet page.css and its one script page.js
pictures.py  films in a page
oneline.py   what an object is, for its repr
notebook.py  tables and pictures in a notebook
progress.py  how far work is: a bar in a terminal or a notebook, else lines
"""
