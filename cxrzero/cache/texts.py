"""What is kept of a prompt: its embedding, keyed by text encoder, tokenizer and the exact words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cxrzero.cache.entries import Entries


class TextCache:
    """Looks prompts up and keeps their embeddings.

    Args:
        entries: where, see `cxrzero.cache.entries`.
        width: G, numbers of a prompt: D, or those of all its tokens.
    """

    def __init__(self, entries: Entries, width: int) -> None:
        self._entries = entries
        self._width = width

    def lookup(self, prompts: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Prompt → (G,) float32, for those that are known."""
        keys = {prompt: self._entries.key(prompt.encode()) for prompt in prompts}
        found = self._entries.get(list(keys.values()))
        payloads = {prompt: found[key] for prompt, key in keys.items() if key in found}
        return {
            prompt: np.frombuffer(payload, "<f4").astype(np.float32)
            for prompt, payload in payloads.items()
            if len(payload) == 4 * self._width
        }

    def keep(self, text_embeds: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Keep the embeddings, each (G,) float32."""
        rows = {self._entries.key(text.encode()): row.astype("<f4").tobytes() for text, row in text_embeds.items()}
        self._entries.put(rows)
