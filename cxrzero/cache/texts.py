"""What is kept of a prompt: its embedding, keyed by text encoder, tokenizer and the exact words."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrzero.cache.images import KEY_BYTES
from cxrzero.cache.store import Store


class TextCache:
    """Looks prompts up and keeps their embeddings.

    Args:
        store: where.
        model: under which name entries are counted and cleared.
        decisive: everything but the words that decides an embedding; JSON-serialisable.
        embed_dim: D.
    """

    def __init__(self, store: Store, model: str, decisive: Mapping[str, Any], embed_dim: int) -> None:
        self._store = store
        self._model = model
        self._seed = hashlib.blake2b(json.dumps(decisive, sort_keys=True).encode(), digest_size=KEY_BYTES)
        self._embed_dim = embed_dim

    def lookup(self, prompts: Sequence[str]) -> dict[str, npt.NDArray[np.float32]]:
        """Prompt → (D,) float32, for those that are known."""
        keys = {prompt: self._key(prompt) for prompt in prompts}
        found = self._store.get(list(keys.values()))
        payloads = {prompt: found[key] for prompt, key in keys.items() if key in found}
        return {
            prompt: np.frombuffer(payload, "<f4").astype(np.float32)
            for prompt, payload in payloads.items()
            if len(payload) == 4 * self._embed_dim
        }

    def keep(self, text_embeds: Mapping[str, npt.NDArray[np.float32]]) -> None:
        """Keep the embeddings, each (D,) float32."""
        self._store.put(
            "text", self._model, {self._key(text): row.astype("<f4").tobytes() for text, row in text_embeds.items()}
        )

    def _key(self, prompt: str) -> bytes:
        digest = self._seed.copy()
        digest.update(prompt.encode())
        return digest.digest()
