"""One model's entries of one kind in the store, under keys that everything which decides them is part of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cxrzero.cache.store import Store

KEY_BYTES = 16


class Entries:
    """Some entries of a store.

    Args:
        store: where.
        kind, model: under which names they are counted and cleared.
        decisive: what decides them beside the words of each; JSON-serialisable.
    """

    def __init__(self, store: Store, kind: str, model: str, decisive: Mapping[str, Any]) -> None:
        self._store, self._kind, self._model = store, kind, model
        self._seed = hashlib.blake2b(json.dumps(decisive, sort_keys=True).encode(), digest_size=KEY_BYTES)

    def key(self, words: bytes) -> bytes:
        """Make the key of the entry that these words name."""
        digest = self._seed.copy()
        digest.update(words)
        return digest.digest()

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Payloads of the keys that are there and whole."""
        return self._store.get(keys)

    def put(self, payloads: Mapping[bytes, bytes]) -> None:
        """Keep payloads, all or none."""
        self._store.put(self._kind, self._model, payloads)
