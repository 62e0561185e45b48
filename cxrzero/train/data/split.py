"""Which patients are kept out of training: the same ones on every machine, whatever else is in the source."""

from __future__ import annotations

import hashlib


def is_held_out(key: str, fraction: float, seed: int = 0) -> bool:
    """Whether a patient is in the validation part: 64 bits of BLAKE2b (RFC 7693) of the key, as a number in [0, 1).

    A patient that is held out at one fraction is so at every larger one.

    Args:
        key: the patient; where that is unknown, the study or image.
        fraction: of the patients, from 0 to 1.
        seed: another seed holds out others.
    """
    digest = hashlib.blake2b(
        key.encode("utf-8", "surrogateescape"), digest_size=8, person=b"cxrzero.split", salt=seed.to_bytes(8, "big")
    )
    return int.from_bytes(digest.digest(), "big") / 2**64 < fraction
