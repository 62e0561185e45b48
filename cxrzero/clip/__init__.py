"""What conversion and training share of CLIP models: architectures, CLIP's tokenizer, published preprocessing.

    clip ─► convert ─► train

`steps` and `tokenizer` load no torch; `architecture` and `fold` (of batch norms) need the extra [torch].
"""
