"""`--pseudonymise`: paths and UIDs replaced by keyed digests, so that a table can leave the hospital.

The same file or UID gets the same pseudonym in every table made with the same key, so tables still join; without the
key nobody can test a guess. HMAC-SHA256 (RFC 2104), cut to 128 bits.
"""

from __future__ import annotations

import dataclasses
import hmac
import os
import secrets
from contextlib import suppress
from pathlib import Path

from cxrzero.errors import ConfigError
from cxrzero.files import WholeFile, cannot_write, make_private, user_folder
from cxrzero.places.kind import is_local
from cxrzero.places.members import names_container
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
        """Folder and file name separately, so that files of one folder still stand together; of an address the same."""
        folder, name = os.path.split(os.path.abspath(path) if is_local(path) else path)
        return f"{self._folder(folder)}/{self._digest('name', os.fsencode(name)).hex()}"

    def argument(self, path: str) -> str:
        """What a user gave to be read: a folder is what stands before the slash in the rows of its files."""
        if path.startswith("@"):
            return "@" + self.path(path[1:])
        if not is_local(path):
            return self.path(path)
        if os.path.isdir(path):
            return self._folder(os.path.abspath(path)) + "/"
        if names_container(path) and os.path.isfile(path):
            return self._folder(os.path.abspath(path) + "!") + "/"
        return self.path(path)

    def uid(self, uid: str) -> str:
        """A valid UID below 2.25, the arc for UIDs made from 128-bit numbers (PS3.5, B.2); empty stays empty."""
        return f"2.25.{int.from_bytes(self._digest('uid', uid.encode()), 'big')}" if uid else ""

    def content(self, digest: bytes) -> str:
        """Replace what stands for a picture or a list of files: without the key nobody can test which one is meant."""
        return self._digest("content", digest).hex()

    def _folder(self, folder: str) -> str:
        return self._digest("folder", os.fsencode(folder)).hex()

    def _digest(self, kind: str, value: bytes) -> bytes:
        return hmac.digest(self._key, kind.encode() + b"\0" + value, "sha256")[:16]


def default_key_file() -> Path:
    """`pseudonym.key` in the user's configuration folder (XDG Base Directory; %APPDATA% on Windows)."""
    return user_folder("config") / "pseudonym.key"


def load_key(path: Path | None = None, *, make: bool = True) -> tuple[bytes, bool]:
    """Read the key, or make one, readable by its owner only, where there is none.

    Args:
        path: the key file; None takes the user's own.
        make: else a key that is not there is an error.

    Returns:
        The key, and whether it was made now.

    Raises:
        ConfigError: a file that cannot be read or is too short to be a key.
        OutputError: the new key cannot be written.
    """
    path = path or default_key_file()
    try:
        return _read_key(path), False
    except FileNotFoundError as error:
        if not make:
            raise ConfigError(f"the pseudonym key {path} does not exist") from error
        return _make_key(path), True


def _read_key(path: Path) -> bytes:
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"the pseudonym key {path} cannot be read: {error.strerror}") from error
    if len(key) < KEY_BYTES:
        raise ConfigError(f"the pseudonym key {path} has {len(key)} bytes, at least {KEY_BYTES} are needed")
    return key


def _make_key(path: Path) -> bytes:
    make_private(path.parent)
    with WholeFile(path, private=True) as whole:
        with suppress(FileNotFoundError):
            return _read_key(path)  # another run was faster
        key = secrets.token_bytes(KEY_BYTES)
        try:
            whole.file.write(key)
            whole.commit()
        except OSError as error:
            raise cannot_write(path, error) from error
    return key
