"""A model on disk and what it states: files, preprocessing, tokenizer, scoring rule.

bundle.py      model.json and the files beside it, checked before any image is read
preprocess.py  upright grey pixels → the encoder's input
tokenizer.py   prompts → input_ids
score.py       embeddings → cosines and probabilities
"""
