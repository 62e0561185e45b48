"""A model on disk and what it states: files, preprocessing, tokenizer, scoring rule.

model_json.py  what model.json states, checked key by key
bundle.py      the folder: every file's hash and every graph checked before any image is read
weights.py     which numbers of a graph lie in a file beside it; protobuf.py reads the graph for it
preprocess.py  upright grey pixels → the encoder's input
geometry.py    its geometric steps: what becomes of a picture of a certain size
area.py        OpenCV's resize by areas, which one of them is
resample.py    Pillow's resize as arithmetic with whole numbers, for other processors to repeat
tokenizer.py   prompts → input_ids
score.py       embeddings → cosines and probabilities
"""
