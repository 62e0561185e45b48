"""Which films to open first: a prediction table as one page of films in order, with places for a reader's verdicts.

options.py    what the command line asks
table.py      a prediction table read twice: what decides the order of all rows, then the rows that are shown
order.py      the order: by one label, by the highest of all, by chance, and places for those that wait
rescorer.py   the models that made the table, to score a film again
look.py       each shown film read and scored again, its pictures drawn, what is wrong with it said
overlays.py   where the model sees the finding, drawn over the film
reviews.py    the verdicts of a reader, as a table
names.py      what the page calls films: their paths, or pseudonyms
content.py    what the page knows of the films, as data for its script
page.py       the page itself, with page.css and four scripts
run.py        from a table to a folder
"""
