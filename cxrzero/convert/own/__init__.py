"""A user's own pair of ONNX encoders → a bundle like any other. Needs onnx, and no torch.

asked.py      what the user states
steps.py      how films are prepared, from a JSON file
reading.py    a file of anybody's: looked at as bytes, then read, refused if it is not plain
external.py   numbers of a graph that lie in other files, inside its folder only
ends.py       which input and which output are meant
words.py      the tokenizer: context length, padding, and whether it belongs to the graph
rewriting.py  nodes and names, until a graph has the inputs and outputs of the contract
trial.py      graphs are run in a process of their own, which may die
examples.py   what they are tried on
judging.py    what is asked of embeddings
scorer.py     the third graph of a model that scores by attention
described.py  what is said to the user and in model.json
importer.py   from the files to the bundle, in this order
"""
