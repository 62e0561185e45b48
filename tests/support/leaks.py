"""What a patient could be told by, planted in pairs, and a search for it in every byte of a file, in any spelling."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tokenizers import pre_tokenizers

BYTE_LEVEL = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def spellings(secret: str) -> Iterator[bytes]:
    """UTF-8, UTF-16 and UTF-32, JSON's escapes, and the letters that a byte-level vocabulary writes for bytes."""
    for text in {secret, secret.lower(), secret.upper(), secret.title()}:
        yield from (text.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le"))
        yield json.dumps(text)[1:-1].encode()
        yield "".join(piece for piece, _ in BYTE_LEVEL.pre_tokenize_str(text)).encode()


def leaks(path: Path, secrets: Sequence[str]) -> list[str]:
    """Each secret that is in a file or its name, or in the files of a folder."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    found = []
    for file in files:
        content = file.name.encode() + b"\0" + file.read_bytes()
        found += [f"{file.name}: {secret}" for secret in secrets if any(form in content for form in spellings(secret))]
    return found
