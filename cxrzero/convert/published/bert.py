"""BERT as a text tower: transformers' own network, its sizes read from the tensors, its mask from the pad id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from cxrzero.convert.published.layout import part as part  # beside which it is mostly wanted
from cxrzero.convert.recognise import HEAD_WIDTH, fill
from cxrzero.errors import ImportModelError, MissingExtraError

WORDS = "embeddings.word_embeddings.weight"
LAYER = "encoder.layer."
NOT_WEIGHTS = "embeddings.position_ids"  # written by transformers before 4.31
PAD_ID = 0  # of [PAD] in every vocabulary of BERT's that these models use


class Bert(nn.Module):
    """input_ids (N, L) int64 → last hidden states (N, L, D) float32.

    Args:
        model: transformers' BertModel, or another with its inputs and outputs.
        pad_id: tokens of this id are not looked at.
    """

    def __init__(self, model: nn.Module, pad_id: int = PAD_ID) -> None:
        super().__init__()
        self.model, self.pad_id = model, pad_id

    def forward(self, input_ids: Tensor) -> Tensor:
        return torch.as_tensor(self._run(input_ids).last_hidden_state)

    def pooled(self, input_ids: Tensor) -> Tensor:
        """(N, D): the first token's last hidden state through BERT's own dense layer and tanh."""
        return torch.as_tensor(self._run(input_ids).pooler_output)

    def hidden_states(self, input_ids: Tensor) -> tuple[Tensor, ...]:
        """Of the embeddings and of every layer, each (N, L, D)."""
        return tuple(self._run(input_ids, output_hidden_states=True).hidden_states)

    def mask(self, input_ids: Tensor) -> Tensor:
        """(N, L) int64: 1 is a token of the text, 0 fills the row."""
        return (input_ids != self.pad_id).long()

    def _run(self, input_ids: Tensor, **wanted: bool) -> Any:
        return self.model(input_ids=input_ids, attention_mask=self.mask(input_ids), **wanted)


def build_bert(
    weights: Mapping[str, Tensor], what: str, *, pooler: bool = False, heads: int | None = None, pad_id: int = PAD_ID
) -> Bert:
    """A BERT in evaluation mode.

    Args:
        weights: its tensors alone, named as in transformers' BertModel.
        what: whose they are, for messages.
        pooler: whether BERT's own pooling is used; where it is not, its tensors may be there or not.
        heads: of attention; None: width / 64, as in every published one.

    Raises:
        MissingExtraError: transformers is not installed.
        ImportModelError: these are not BERT's tensors; names which.
    """
    try:
        from transformers import BertConfig, BertModel
    except ImportError as error:
        raise MissingExtraError("transformers", "hf") from error
    try:
        words = weights[WORDS]
        config = BertConfig(
            vocab_size=words.shape[0],
            hidden_size=words.shape[1],
            num_hidden_layers=len({name.split(".")[2] for name in weights if name.startswith(LAYER)}),
            num_attention_heads=heads or max(1, words.shape[1] // HEAD_WIDTH),
            intermediate_size=weights[f"{LAYER}0.intermediate.dense.weight"].shape[0],
            max_position_embeddings=weights["embeddings.position_embeddings.weight"].shape[0],
            type_vocab_size=weights["embeddings.token_type_embeddings.weight"].shape[0],
            pad_token_id=pad_id,
            attn_implementation="eager",
        )
    except KeyError as error:
        raise ImportModelError(f"the text tower of {what} is missing, or not BERT: no {error.args[0]}") from None
    model = BertModel(config, add_pooling_layer=pooler).eval()
    own = {name: value for name, value in weights.items() if name != NOT_WEIGHTS and (pooler or "pooler." not in name)}
    fill(model, own, f"the text tower of {what}")
    return Bert(model, pad_id)


def first_token(hidden: Tensor) -> Tensor:
    """(N, L, D) → (N, D), where [CLS] stands."""
    return hidden[:, 0]


def last_token(hidden: Tensor, mask: Tensor) -> Tensor:
    """(N, L, D) → (N, D), the last that belongs to the text, where [SEP] stands."""
    last = mask.sum(dim=1, keepdim=True)[:, :, None] - 1
    return hidden.gather(1, last.expand(-1, -1, hidden.shape[-1]))[:, 0]


def mean_of_tokens(hidden: Tensor, mask: Tensor) -> Tensor:
    """(N, L, D) → (N, D), over what belongs to the text, [CLS] and [SEP] too."""
    weight = mask[:, :, None].to(hidden.dtype)
    return (hidden * weight).sum(dim=1) / weight.sum(dim=1)
