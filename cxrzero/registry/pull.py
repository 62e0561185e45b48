"""From a card to published files on this machine, pinned to a commit and recorded in pull.json. Uses the network."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cxrzero.cards.card import Card, KnownFile
from cxrzero.errors import DownloadError, LicenceError, OutputError, UsageError
from cxrzero.files import make_private, write_json
from cxrzero.registry.byhand import by_hand, can_pull
from cxrzero.registry.fetch import AGAIN, check_size, fetch
from cxrzero.registry.folder import DOWNLOADS, models_folder
from cxrzero.registry.hub import Hub, Remote, connect, endpoint

PULL_JSON = "pull.json"
# Taken too where a repository has it and its card does not name it: it spares an import guesses about the tokenizer.
COMPANIONS = frozenset({"tokenizer.json"})
# Without these there is no model; another file of a card that is pinned to no commit may have gone since.
REQUIRED = (".bin", ".pt", ".safetensors", "config.json")


def pull(card: Card, notify: Callable[[str], None], *, accept_licence: bool = False, login: bool = False) -> Path:
    """Fetch the files of a known model.

    Args:
        notify: is told what happens, line by line.
        accept_licence: the user has read and accepts terms that forbid commercial use, or are gated.
        login: show the Hub the user's login, which gated terms need; otherwise none is read.

    Returns:
        The folder with the files and pull.json.

    Raises:
        UsageError: it comes with cxrzero, or there is no login to show.
        LicenceError: its terms have to be accepted first.
        DownloadError: it cannot be fetched; the message says which files to fetch by hand, and the import command.
        OutputError: the models folder cannot be written.
    """
    if card.bundled:
        raise UsageError(f"{card.name} comes with cxrzero; there is nothing to fetch")
    if not can_pull(card, login=login):
        raise DownloadError(f"{card.name} cannot be pulled: {_why_not(card)}.", *by_hand(card))
    if card.licence.needs_consent and not accept_licence:
        raise LicenceError(f"{card.name}: {card.licence}, {card.licence.url}. Accept it with --accept-license")
    address = endpoint()
    folder = make_private(models_folder() / DOWNLOADS / card.name)
    try:
        with connect(address, login=login) as hub:
            remotes = _remotes(hub, card, notify)
            hashes = {remote.name: fetch(hub, remote, folder, notify) for remote in remotes}
        _record(folder, card, remotes, hashes)
    except DownloadError as error:
        raise DownloadError(*error.args, *by_hand(card)) from error
    except OSError as error:
        raise OutputError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    except KeyboardInterrupt:
        notify(f"What was fetched is kept in {folder}; {AGAIN}")
        raise
    return folder


def _why_not(card: Card) -> str:
    if card.repository and card.licence.gated:
        return (
            "its terms have to be accepted on its web page. If you have, log in (HF_TOKEN or hf auth login) "
            f"and run: cxrzero models pull {card.name} --token"
        )
    return "no download without a browser"


def _remotes(hub: Hub, card: Card, notify: Callable[[str], None]) -> list[Remote]:
    """What to fetch, all at one commit; hashes from the card, else the Hub's own."""
    repository, revision = str(card.repository), card.revision or "main"
    remotes: list[Remote] = []
    for name in sorted({file.name for file in card.files} | COMPANIONS):
        found = hub.look(repository, name, revision)
        if found is not None:
            if not remotes:
                notify(f"{repository} at commit {found.commit}, from {hub.address}")
            revision = found.commit
            remotes.append(_as_known(card.file(name), found))
        elif card.file(name) is None:
            continue
        elif card.revision or name.endswith(REQUIRED):
            raise DownloadError(f"{repository} has no file {name} at {revision}")
        else:
            notify(f"{name}: not in the repository, left out")
    return remotes


def _as_known(known: KnownFile | None, remote: Remote) -> Remote:
    check_size(remote, known.size if known else None)
    return replace(remote, sha256=known.sha256) if known and known.sha256 else remote


def _record(folder: Path, card: Card, remotes: list[Remote], hashes: dict[str, str]) -> None:
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
        "revision": remotes[0].commit,
        "licence": str(card.licence),
        "fetched": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "files": files,
    }
    write_json(folder / PULL_JSON, content)
