"""`--pseudonymise`: paths and UIDs replaced by keyed digests, so that a table can leave the hospital.

The same file or UID gets the same pseudonym in every table made with the same key, so tables still join; without the
key nobody can test a guess. HMAC-SHA256 (RFC 2104), cut to 128 bits.
"""

from __future__ import annotations

import dataclasses
import hmac
import os
import secrets
from pathlib import Path

from cxrzero.errors import ConfigError, OutputError
from cxrzero.prediction import Prediction

KEY_BYTES = 32


class Pseudonymiser:
    """Replaces what could lead back to a patient.

    Args:
        key: at least 32 secret bytes.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __call__(self, row: Prediction) -> Prediction:
        """The row with pseudonyms for its path and UIDs; everything else stays."""
        facts = row.facts._replace(
            study_instance_uid=self.uid(row.facts.study_instance_uid),
            series_instance_uid=self.uid(row.facts.series_instance_uid),
            sop_instance_uid=self.uid(row.facts.sop_instance_uid),
        )
        return dataclasses.replace(row, path=self.path(row.path), facts=facts)

    def path(self, path: str) -> str:
        """Folder and file name separately, so that files of one folder still stand together."""
        folder, name = os.path.split(os.path.abspath(path))
        return f"{self._digest('folder', os.fsencode(folder)).hex()}/{self._digest('name', os.fsencode(name)).hex()}"

    def uid(self, uid: str) -> str:
        """A valid UID below 2.25, the arc for UIDs made from 128-bit numbers (PS3.5, B.2); empty stays empty."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid.encode()), 'big')}" if uid else ""

    def content(self, digest: bytes) -> str:
        """For what stands for a picture or a list of files: without the key nobody can test whether one is meant."""
        return self._digest("content", digest).hex()

    def _digest(self, kind: str, value: bytes) -> bytes:
        return hmac.digest(self._key, kind.encode() + b"\0" + value, "sha256")[:16]


def default_key_file() -> Path:
    """`pseudonym.key` in the user's configuration folder (XDG Base Directory; %APPDATA% on Windows)."""
    base = os.environ.get("APPDATA" if os.name == "nt" else "XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(base) / "cxrzero" / "pseudonym.key"


def load_key(path: Path | None = None) -> tuple[bytes, bool]:
    """Read the key, or make one, readable by its owner only, where there is none.

    Args:
        path: the key file; None takes the user's own.

    Returns:
        The key, and whether it was made now.

    Raises:
        ConfigError: a file that cannot be read or is too short to be a key.
        OutputError: the new key cannot be written.
    """
    path = path or default_key_file()
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return _make_key(path), True
    except OSError as error:
        raise ConfigError(f"the pseudonym key {path} cannot be read: {error.strerror}") from error
    if len(key) < KEY_BYTES:
        raise ConfigError(f"the pseudonym key {path} has {len(key)} bytes, at least {KEY_BYTES} are needed")
    return key, False


def _make_key(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_BYTES)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)
    except OSError as error:
        raise OutputError(f"the pseudonym key {path} cannot be written: {error.strerror}") from error
    return key
