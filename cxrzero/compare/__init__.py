"""Two prediction tables of the same films side by side, without labels: what an exchange of the model would change.

options.py    what the command line asks
pairs.py      two tables → the films that both have, their scores in the same rows
agreement.py  label by label: order, decisions and distribution
flips.py      the films whose place in the order changes most, and their pictures
remarks.py    what the reader must be told, and what the records say differs
run.py        one comparison from start to end
page.py, plots.py   compare.html
outputs.py    compare.csv and compare.json
"""
