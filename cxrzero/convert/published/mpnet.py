"""MPNet as a text tower: transformers' own layers, sizes from the tensors, mask from the pad id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cxrzero.convert.published.bert import LAYER, WORDS
from cxrzero.convert.recognise import HEAD_WIDTH, check_keys
from cxrzero.errors import ImportModelError, MissingExtraError

PAD_ID = 1  # of <pad> in MPNet's vocabulary
POOLER = "pooler."  # tensors of a head that no sentence embedding uses


class MPNet(nn.Module):
    """input_ids (N, L) int64 → last hidden states (N, L, D) float32.

    Args:
        model: transformers' MPNetModel.
        length: L. What distance weighs between two places is the same for every text, and is tabulated for it here:
            an exported logarithm might round a distance into the next bucket.
    """

    def __init__(self, model: Any, length: int) -> None:
        super().__init__()
        self.embeddings, self.layers = model.embeddings, model.encoder.layer
        with torch.no_grad():
            self.register_buffer("distances", model.encoder.compute_position_bias(torch.zeros(1, length, 1)))

    def forward(self, input_ids: Tensor) -> Tensor:
        hidden = self.embeddings(input_ids=input_ids)
        unseen = (1 - self.mask(input_ids)).to(hidden.dtype) * torch.finfo(hidden.dtype).min
        for layer in self.layers:
            hidden = layer(hidden, unseen[:, None, None, :], position_bias=self.distances)[0]
        return torch.as_tensor(hidden)

    def mask(self, input_ids: Tensor) -> Tensor:
        """(N, L) int64: 1 is a token of the text, 0 fills the row."""
        return (input_ids != PAD_ID).long()


def build_mpnet(weights: Mapping[str, Tensor], length: int, what: str) -> MPNet:
    """An MPNet in evaluation mode, for texts of `length` tokens.

    Args:
        weights: its tensors alone, named as in transformers' MPNetModel.
        what: whose they are, for messages.

    Raises:
        MissingExtraError: transformers is not installed.
        ImportModelError: these are not MPNet's tensors; names which.
    """
    try:
        from transformers import MPNetConfig, MPNetModel
    except ImportError as error:
        raise MissingExtraError("transformers", "hf") from error
    try:
        words, distances = weights[WORDS], weights["encoder.relative_attention_bias.weight"]
        config = MPNetConfig(
            vocab_size=words.shape[0],
            hidden_size=words.shape[1],
            num_hidden_layers=len({name.split(".")[2] for name in weights if name.startswith(LAYER)}),
            num_attention_heads=max(1, words.shape[1] // HEAD_WIDTH),
            intermediate_size=weights[f"{LAYER}0.intermediate.dense.weight"].shape[0],
            max_position_embeddings=weights["embeddings.position_embeddings.weight"].shape[0],
            relative_attention_num_buckets=distances.shape[0],
            layer_norm_eps=1e-5,  # all-mpnet-base-v2's; transformers' own default is another
            pad_token_id=PAD_ID,
        )
    except KeyError as error:
        raise ImportModelError(f"the text tower of {what} has no {error.args[0]}: it is no MPNet") from None
    if config.max_position_embeddings <= length + PAD_ID:
        raise ImportModelError(f"the text tower of {what} has no places for {length} tokens")
    model = MPNetModel(config, add_pooling_layer=False).eval()
    own = {name: value for name, value in weights.items() if not name.startswith(POOLER)}
    check_keys(model, own, f"the text tower of {what}")
    model.load_state_dict(own)
    return MPNet(model, length)
