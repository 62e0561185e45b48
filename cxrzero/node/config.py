"""What a node is told by its configuration file, node.toml. Imports nothing heavy.

A key has one home: its field here. From the fields come what `read_config` takes and checks (`keys.py`), the commented
file of `cxrzero listen --example`, and the tables of docs/listen.md.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from cxrzero.choices import OWN_CALIBRATION, Backend, Device, Invert, Precision, View
from cxrzero.errors import ConfigError
from cxrzero.options import REQUIRED, option, option_of, table
from cxrzero.predict.options import PredictOptions

Per = Literal["study", "image"]

# PS3.5, 6.2: at most 16 characters of the default repertoire, no control characters, no backslash; spaces around them
# mean nothing, so they are not written here.
AE_TITLE = re.compile(r"(?! )[ -\[\]-~]{1,16}(?<! )")


@dataclass(frozen=True, slots=True)
class Limits:
    """[limits]: what a node takes upon itself; above it, a peer is told to come later."""

    associations: int = option(16, "Serve N associations at once.", minimum=1, maximum=256)
    object_mb: int = option(512, "Refuse an object above so many MiB.", minimum=1, maximum=16_384)
    waiting: int = option(10_000, "Refuse objects while so many wait to be scored.", minimum=1, maximum=10_000_000)
    free_disk_mb: int = option(1024, "Refuse objects while the state folder's disk has less free, in MiB.", minimum=0)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """[timeouts]: seconds."""

    association: float = option(30.0, "Drop a peer that does not ask for an association for so long.", minimum=0.1)
    idle: float = option(60.0, "Abort an association on which nothing comes for so long.", minimum=0.1)
    object: float = option(600.0, "Abort an association whose object takes longer to arrive.", minimum=0.1)
    stop: float = option(30.0, "At the end, let what is in hand take so long.", minimum=0)


@dataclass(frozen=True, slots=True)
class Tls:
    """[tls]: callers must use TLS (DICOM PS3.15, B.12: BCP 195). All three are files in PEM."""

    certificate: Path = option(REQUIRED, "The node's certificate, with those between it and the authority.")
    key: Path = option(REQUIRED, "Its private key, without a passphrase.")
    ca: Path | None = option(None, "Require of callers a certificate that this authority has signed.")


@dataclass(frozen=True, slots=True)
class PeerTls:
    """[peer.tls]: reports go to the peer in TLS."""

    ca: Path | None = option(None, "Trust certificates of this authority; by default those that the system trusts.")
    certificate: Path | None = option(None, "The certificate to show the peer.")
    key: Path | None = option(None, "Its private key, without a passphrase.")


@dataclass(frozen=True, slots=True)
class Peer:
    """[peer]: where reports go, by C-STORE (ae_title, host, port) or by STOW-RS (stow).

    What STOW needs to log in comes from the environment or a netrc file.
    """

    ae_title: str = option("", "The archive's AE title.", metavar="ORTHANC")
    host: str = option("", "Its name or address.", metavar="127.0.0.1")
    port: int = option(0, "Its port.", metavar="4242", minimum=0, maximum=65_535)
    stow: str = option("", "Instead of these, the address of its DICOMweb service.", metavar="https://host/dicom-web")
    timeout: float = option(60.0, "Give up a delivery after so many seconds, and try again later.", minimum=0.1)
    tls: PeerTls | None = table(PeerTls, "C-STORE in TLS, or what to trust with STOW.", can_be_absent=True)


@dataclass(frozen=True, slots=True)
class Retries:
    """[retries]: of a delivery that fails: after `first` seconds, then twice as long each time."""

    first: float = option(5.0, "Seconds to wait before the second try.", minimum=0)
    longest: float = option(900.0, "Seconds to wait at most.", minimum=0)
    tries: int = option(100, "Tries before a report is listed as failed.", minimum=1)


@dataclass(frozen=True, slots=True)
class StatusPage:
    """[status]: a page about the node, and the same as metrics for Prometheus, for this machine alone."""

    address: str = option("127.0.0.1", "A loopback address.")
    port: int = option(0, "The page's port, such as 8080; 0 means no page.", minimum=0, maximum=65_535)


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """One node; each field says what it is for. Paths are absolute once they are read."""

    # Where films come from.
    ae_title: str = option("CXRZERO", 'The node\'s AE title, which callers must use; "" means no DICOM service.')
    address: str = option("127.0.0.1", "The address to listen on; one that others reach needs [tls] or callers.")
    port: int = option(11_112, "The port to listen on; 0 takes a free one.", minimum=0, maximum=65_535)
    callers: tuple[str, ...] = option((), "AE titles that may call; [] lets any call, on a loopback address only.")
    watch: Path | None = option(None, "Score what is put into this folder, too; it stays there.", metavar="incoming/")
    watch_seconds: float = option(2.0, "Look into it every so many seconds.", minimum=0.05)
    settle_seconds: float = option(5.0, "Take a file that has not changed for so many seconds.", minimum=0)
    watch_delete: bool = option(False, "Delete a file from the watched folder once the node has it safely.")

    # Where everything goes.
    state: Path = option(Path("node"), "Keep the queue and what was received in this folder.")
    out: str = option("results.sqlite", "Write results to this database: a file or a URL, as predict --out does.")
    keep: bool = option(False, "Keep received objects, which are deleted once their results are delivered.")

    # What is asked, of whom, and how.
    labels: tuple[str, ...] | None = option_of(PredictOptions, "labels")
    prompts: str | None = option_of(PredictOptions, "prompts")
    model: tuple[str, ...] = option_of(PredictOptions, "model")
    calibration: str | None = option_of(PredictOptions, "calibration")
    device: Device = option_of(PredictOptions, "device")
    backend: Backend = option_of(PredictOptions, "backend")
    precision: Precision = option_of(PredictOptions, "precision")
    batch_size: int | None = option_of(PredictOptions, "batch_size")
    workers: int | None = option_of(PredictOptions, "workers")
    invert: Invert = option_of(PredictOptions, "invert")
    skip: tuple[str, ...] = option_of(PredictOptions, "skip")
    only: View | None = option_of(PredictOptions, "only")

    # What becomes of it.
    per: Per = option("study", "Make one report for each study, or for each image.")
    study_quiet_seconds: float = option(30.0, "A study is complete when nothing of it came for so long.", minimum=0)
    peer: Peer | None = table(Peer, "Where reports go; without it they stay in the state folder.", can_be_absent=True)

    limits: Limits = table(Limits, "What the node takes upon itself.")
    timeouts: Timeouts = table(Timeouts, "How long it waits.")
    tls: Tls | None = table(Tls, "Callers must use TLS.", can_be_absent=True)
    retries: Retries = table(Retries, "Deliveries that fail.")
    status: StatusPage = table(StatusPage, "A page about the node.")

    @property
    def objects(self) -> Path:
        """Where received objects are."""
        return self.state / "objects"

    @property
    def reports(self) -> Path:
        """Where reports are, until they are delivered or, without a peer, for good."""
        return self.state / "reports"


def read_config(path: str | Path) -> NodeConfig:
    """Read node.toml and check it; relative paths in it start in its own folder.

    Raises:
        ConfigError: it cannot be read, has an unknown key or a wrong value, or its values do not go together.
    """
    from cxrzero.node.keys import read_table

    config = _with_paths(read_table(NodeConfig, Path(path)), Path(path).absolute().parent)
    try:
        _check(config)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return config


def _with_paths(config: NodeConfig, folder: Path) -> NodeConfig:
    """Texts that may be paths, made absolute where they are."""

    def resolved(text: str | None) -> str | None:
        return text if not text or "://" in text else str(folder / text)

    return replace(
        config,
        out=resolved(config.out) or "",
        prompts=resolved(config.prompts),
        calibration=config.calibration if config.calibration == OWN_CALIBRATION else resolved(config.calibration),
        model=tuple(str(folder / name) if "/" in name and (folder / name).exists() else name for name in config.model),
    )


def _check(config: NodeConfig) -> None:
    """Whether its values go together.

    Raises:
        ConfigError: they do not.
    """
    _check_titles(config)
    if not config.out:
        raise ConfigError("out must name a database, such as results.sqlite")
    if config.ae_title:
        _check_openness(config)
    elif config.watch is None:
        raise ConfigError("films could come from nowhere: set ae_title, watch, or both")
    if config.peer:
        _check_peer(config.peer)
    if not _is_loopback(config.status.address, "status.address"):
        raise ConfigError("status.address must be a loopback address, such as 127.0.0.1: the page is for this machine")
    if config.watch and (config.state == config.watch or config.watch in config.state.parents):
        raise ConfigError("state must not be in the watched folder: the node would score what it keeps there")


def _check_titles(config: NodeConfig) -> None:
    peer = config.peer.ae_title if config.peer else ""
    titles = [("ae_title", config.ae_title), ("peer.ae_title", peer), *(("callers", each) for each in config.callers)]
    for key, title in titles:
        if (title or key == "callers") and not AE_TITLE.fullmatch(title):
            raise ConfigError(f"{key}: an AE title has 1 to 16 characters of ASCII, no backslash, no blank at its ends")


def _check_openness(config: NodeConfig) -> None:
    """Nobody from elsewhere can call a node that neither knows its callers nor uses TLS."""
    if not (_is_loopback(config.address, "address") or config.callers or config.tls):
        raise ConfigError(
            f"address {config.address} can be reached from other machines: list in callers the AE titles that may "
            "call, or set [tls]"
        )


def _check_peer(peer: Peer) -> None:
    by_dicom = (peer.ae_title, peer.host, peer.port)
    if bool(peer.stow) == any(by_dicom) or (any(by_dicom) and not all(by_dicom)):
        raise ConfigError("peer needs ae_title, host and port (C-STORE), or stow alone (STOW-RS)")
    if peer.stow:
        address = urlsplit(peer.stow)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError("peer.stow must be the address of a DICOMweb service, https://…")
        if address.username is not None or address.password is not None:
            raise ConfigError("peer.stow must not hold a password; see docs/listen.md for where it is read from")
    if peer.tls and (peer.tls.certificate is None) != (peer.tls.key is None):
        raise ConfigError("peer.tls needs both certificate and key, or neither")


def _is_loopback(address: str, key: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        raise ConfigError(f"{key} must be an IP address of this machine, such as 127.0.0.1") from None


def example() -> str:
    """A commented node.toml with every key; what it says as it stands is what a node does without being told."""
    from cxrzero.node.keys import example_of

    about = "A node of cxrzero: cxrzero listen --config node.toml. Relative paths start in the folder of this file."
    return example_of(NodeConfig, about)
