"""MedKLIP and MAVL made small: the folder that a user brings together, of weights, text encoder and book."""

from __future__ import annotations

import torch

from tests.support.books import write_books
from tests.support.vocabulary import wordpieces

BERT = "pytorch_model.bin"


def bring_together(published, folder, change=lambda state: state):
    """Write the checkpoint, Bio_ClinicalBERT's files and both books; returns the path of the checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    write_books(folder)
    bert = published.state(BERT)
    words = bert["bert.embeddings.word_embeddings.weight"].shape[0]
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in wordpieces(words)), "utf-8")
    torch.save(bert, folder / BERT)
    (name,) = set(published.tensors) - {BERT}
    state = {f"module.{key}": value for key, value in change(published.state(name)).items()}
    torch.save({"model": state, "optimizer": {"state": {}}, "epoch": 1}, folder / name)
    return folder / name
