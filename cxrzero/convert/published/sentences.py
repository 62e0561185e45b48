"""A text tower for questions of several sentences: each is read alone, and gives one token.

A prompt holds them with "[SEP]" between, which a tokenizer of BERT's knows as the end of a sentence:
"first [SEP] second" → [CLS] first [SEP] second [SEP].
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cxrzero.convert.published.bert import Bert, first_token
from cxrzero.model.tokenizer import SEPARATOR

BETWEEN = f" {SEPARATOR} "


class Sentences(nn.Module):
    """Take prompts apart: input_ids (L, S) int64 → (L, sentences, length) int64, each row [CLS] … [SEP] and padding.

    A sentence that does not fit loses its last words, as transformers cuts with `truncation=True`. One that is not
    there is a row of [CLS] alone; prompts of another number of sentences are refused before they come here.

    Args:
        length: tokens of a row.
        end: id of [SEP].
    """

    def __init__(self, sentences: int, length: int, end: int, pad_id: int) -> None:
        super().__init__()
        self.sentences, self.length, self.end, self.pad_id = sentences, length, end, pad_id

    def forward(self, input_ids: Tensor) -> Tensor:
        is_end = (input_ids == self.end).long()
        number = (is_end.cumsum(dim=1) - is_end)[:, None]  # of the sentence that a token belongs to
        is_text = (input_ids != self.pad_id)[:, None]
        wanted = torch.arange(self.sentences)[None, :, None]
        is_first = (wanted == 0).long()  # its [CLS] is none of its words
        start = ((number < wanted) & is_text).long().sum(dim=2, keepdim=True) + is_first
        words = ((number == wanted) & is_text).long().sum(dim=2, keepdim=True) - is_first  # and the [SEP] after them
        place = torch.arange(self.length - 1)
        where = (start + place).clamp(max=input_ids.shape[1] - 1)
        rows = input_ids[:, None].expand(-1, self.sentences, -1).gather(2, where)
        rows = torch.where(place < words, rows, self.pad_id)
        rows = torch.where((place == self.length - 2) & (words > self.length - 1), self.end, rows)
        return torch.cat([input_ids[:, :1, None].expand(-1, self.sentences, -1), rows], dim=2)


class SentenceTokens(nn.Module):
    """input_ids (L, S) → text_tokens (L, sentences, E): each sentence's first token by BERT, projected."""

    def __init__(self, sentences: Sentences, bert: Bert, projection: nn.Module) -> None:
        super().__init__()
        self.sentences, self.bert, self.projection = sentences, bert, projection

    def forward(self, input_ids: Tensor) -> Tensor:
        rows = self.sentences(input_ids)
        tokens = first_token(self.bert(rows.flatten(0, 1)))
        return torch.as_tensor(self.projection(tokens).unflatten(0, (-1, self.sentences.sentences)))
