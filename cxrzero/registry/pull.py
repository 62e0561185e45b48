"""From a card to published files on this machine, pinned to a commit and recorded in pull.json. Uses the network."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cxrzero.cards.card import Card
from cxrzero.errors import DownloadError, LicenceError, OutputError, UsageError
from cxrzero.registry.byhand import by_hand, can_pull
from cxrzero.registry.download import Client, Remote, fetch
from cxrzero.registry.folder import DOWNLOADS, make_private, models_folder

HUB = "https://huggingface.co"
PULL_JSON = "pull.json"
# Taken too where a repository has it and its card does not name it: it spares an import guesses about the tokenizer.
COMPANIONS = frozenset({"tokenizer.json"})


def pull(card: Card, notify: Callable[[str], None], *, accept_licence: bool = False, base: str = HUB) -> Path:
    """Fetch the files of a known model.

    Args:
        notify: is told what happens, line by line.
        accept_licence: the user has read and accepts terms that forbid commercial use.
        base: the server that speaks Hugging Face's API.

    Returns:
        The folder with the files and pull.json.

    Raises:
        UsageError: it comes with cxrzero.
        LicenceError: its terms have to be accepted first.
        DownloadError: it cannot be fetched; the message says which files to fetch by hand, and the import command.
        OutputError: the models folder cannot be written.
    """
    if card.bundled:
        raise UsageError(f"{card.name} comes with cxrzero; there is nothing to fetch")
    if not can_pull(card):
        why = "its terms have to be accepted on its web page" if card.licence.gated else "no download without a browser"
        raise DownloadError("\n".join([f"{card.name} cannot be pulled: {why}.", *by_hand(card)]))
    if card.licence.needs_consent and not accept_licence:
        raise LicenceError(f"{card.name}: {card.licence}, {card.licence.url}. Accept it with --accept-license")
    folder = make_private(models_folder() / DOWNLOADS / card.name)
    client = Client(base)
    try:
        commit, remotes = _remotes(client, card, notify)
        hashes = {remote.name: fetch(client, remote, folder, notify) for remote in remotes}
        _record(folder, card, commit, remotes, hashes)
    except DownloadError as error:
        raise DownloadError("\n".join([str(error), *by_hand(card)])) from error
    except OSError as error:
        raise OutputError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return folder


def _remotes(client: Client, card: Card, notify: Callable[[str], None]) -> tuple[str | None, list[Remote]]:
    """What to fetch, at one commit; hashes from the card, else from the repository's own listing."""
    if not card.repository:
        return None, [Remote(file.name, str(file.url), file.sha256, file.size) for file in card.files]
    commit = card.revision or _commit(client, card.repository)
    notify(f"{card.repository} at commit {commit}")
    listing = _listing(client, card.repository, commit)
    remotes = []
    for name in sorted({file.name for file in card.files} | (COMPANIONS & set(listing))):
        if name in listing:
            url = f"{client.base}/{card.repository}/resolve/{commit}/{quote(name)}"
            remotes.append(_remote(card, name, url, listing[name]))
        elif card.revision or name.endswith((".bin", ".safetensors", "config.json")):
            raise DownloadError(f"{card.repository} has no file {name} at commit {commit}")
        else:
            notify(f"{name}: not in the repository, left out")
    return commit, remotes


def _remote(card: Card, name: str, url: str, entry: dict[str, Any]) -> Remote:
    known = card.file(name)
    stored = entry.get("lfs") if isinstance(entry.get("lfs"), dict) else {}
    listed, size = (stored or {}).get("oid"), entry.get("size")
    expected = known.sha256 if known and known.sha256 else listed
    return Remote(name, url, expected if isinstance(expected, str) else None, size if isinstance(size, int) else None)


def _commit(client: Client, repository: str) -> str:
    answer = client.json(f"/api/models/{repository}/revision/main")
    commit = answer.get("sha") if isinstance(answer, dict) else None
    if not (isinstance(commit, str) and len(commit) == 40 and commit.isalnum()):
        raise DownloadError(f"{client.base} does not say which commit of {repository} is the newest")
    return commit


def _listing(client: Client, repository: str, commit: str) -> dict[str, dict[str, Any]]:
    answer = client.json(f"/api/models/{repository}/tree/{commit}?recursive=true")
    if not isinstance(answer, list):
        raise DownloadError(f"{client.base} does not list the files of {repository}")
    return {entry["path"]: entry for entry in answer if isinstance(entry, dict) and isinstance(entry.get("path"), str)}


def _record(folder: Path, card: Card, commit: str | None, remotes: list[Remote], hashes: dict[str, str]) -> None:
    files = {
        remote.name: {
            "url": remote.url,
            "sha256": hashes[remote.name],
            "size": (folder / remote.name).stat().st_size,
            "expected_sha256": remote.sha256,
        }
        for remote in remotes
    }
    content = {
        "model": card.name,
        "repository": card.repository,
        "revision": commit,
        "licence": str(card.licence),
        "fetched": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "files": files,
    }
    (folder / PULL_JSON).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
