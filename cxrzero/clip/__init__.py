"""What conversion and training share of CLIP models: architectures, CLIP's tokenizer, published preprocessing.

    clip ─► convert ─► train

`steps` and `tokenizer` load no torch; `architecture` needs the extra [torch].
"""
