"""How the bundled model is measured; the programs `benchmarks/mini_*.py` ask these.

who is asked what
subsets.py    films of val, or of patients kept out of training, and the labels that they are asked for; groups of them
scores.py     who gives scores: a bundle, another program's table, brightness and sharpness
odds.py       the log odds that a bundle gives any words

what is said of the answers
intervals.py  bootstrap over patients
results.py    AUROC beside others, paired differences to the first model
groups.py     the same within views, sexes, ages
sides.py      left and right: phantoms, real boxes, captions
shortcuts.py  borders blackened; sources told apart
looks.py      looks at validation splits, written down
tables.py     Markdown of mini_understanding.py

before any training
trunks.py     pretrained image trunks out of wheels, by hash
features.py   what frozen trunks see in films, kept in blocks
ridge.py      ridge regression of labels on features, its strength chosen inside the training folds
"""
