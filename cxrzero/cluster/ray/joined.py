"""A Ray cluster to work on: one of our own, which ends with the run, or one that is there, by its address."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from cxrzero.errors import RunError, UsageError
from cxrzero.files import open_locked

# Of our own cluster, read by Ray while it is imported. Its processes listen on 127.0.0.1 alone (on Linux, too, with the
# variable that Ray has for other systems), and answer only to who has the token, which other users of the machine lack.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
# Ray gives up after half a minute by itself; a machine at work may take longer to start a handful of Pythons.
PATIENT = {
    "RAY_raylet_start_wait_time_s": "300",
    "RAY_gcs_server_port_wait_time_s": "300",
    "RAY_worker_register_timeout_seconds": "300",
}
# Results are tables of some megabytes, and each is fetched at once; by default Ray would take a third of the memory.
OBJECT_STORE_BYTES = 200_000_000
PREFIX = "cxrzero-ray-"
LOCK = "lock"
# Sockets below the folder have names of 64 bytes, and a name may have 107.
LONGEST_PLACE = 24
ANSWER_S = 10.0
CLIENT = "ray://"
QUIET = {"log_to_driver": False, "configure_logging": True, "logging_level": "ERROR"}


class Cluster(NamedTuple):
    """A cluster that was started or joined.

    Attributes:
        address: of its head, "host:port".
        is_own: it ends with this process.
    """

    address: str
    is_own: bool

    @property
    def is_local(self) -> bool:
        return host_of(self.address) in ("127.0.0.1", "localhost", "::1")


@contextmanager
def joined(address: str) -> Iterator[Cluster]:
    """Be on a cluster; call before Ray is imported.

    Args:
        address: "" for one of our own, else "auto", "host:port" or "ray://host:port".

    Raises:
        UsageError: it is no address.
        RunError: nobody answers there, or refuses, or has other versions.
    """
    with own_cluster() if not address else other_cluster(address) as cluster:
        yield cluster


@contextmanager
def own_cluster() -> Iterator[Cluster]:
    """Start a cluster of this machine, which only this process can use, and leave nothing of it."""
    os.environ.update({**LOOPBACK, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)})
    for name, value in PATIENT.items():
        os.environ.setdefault(name, value)
    import ray
    from ray._private.node import Node

    from cxrzero.backends.base import cpu_count

    # Without a dashboard Ray starts its process all the same, which asks a cloud by http in which it might be.
    Node.start_api_server = lambda *_, **__: None

    with own_folder() as folder:
        context: Any = None
        try:
            context = ray.init(
                address="local",
                num_cpus=cpu_count(),
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                _temp_dir=str(folder),
                **QUIET,
            )
            yield Cluster(context.address_info["gcs_address"], True)
        except Exception as error:
            if context is not None:
                raise
            raise RunError(f"a Ray cluster could not be started on this machine: {_first_line(error)}") from error
        finally:
            ray.shutdown()


@contextmanager
def other_cluster(address: str) -> Iterator[Cluster]:
    """Join a cluster that is there."""
    import ray
    from ray.exceptions import RayError

    context: Any = None
    try:
        check_answers(head_of(address))
        context = ray.init(address=address, **QUIET)
        if address.startswith(CLIENT):
            yield Cluster(address.removeprefix(CLIENT).rstrip("/"), False)
        else:
            yield Cluster(context.address_info["gcs_address"], False)
    except (OSError, RuntimeError, ValueError, RayError) as error:  # all that Ray raises where it cannot connect
        if context is not None:
            raise
        raise refusal(address, error) from error
    finally:
        ray.shutdown()


def refusal(address: str, error: Exception) -> RunError:
    """Why a cluster could not be joined, in a sentence."""
    causes = [error]
    while isinstance(cause := causes[-1].__cause__, Exception):
        causes.append(cause)
    said = "\n".join(map(str, causes))
    if found := re.findall(r"(Ray|Python): ?([0-9][\w.+]*)", said):
        theirs, ours = dict(found[:2]), dict(found[2:4])
        return RunError(
            f"the Ray cluster at {address} has Ray {theirs.get('Ray')} and Python {theirs.get('Python')}, and here are "
            f"Ray {ours.get('Ray')} and Python {ours.get('Python')}: Ray needs the same of both on all machines"
        )
    if any(type(cause).__name__ == "AuthenticationError" for cause in causes) or "uthentication" in said:
        return RunError(
            f"the Ray cluster at {address} wants a token, and this is not it: set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH as on the cluster"
        )
    return RunError(f"no Ray cluster can be joined at {address}: {_first_line(error)}")


def host_of(address: str) -> str:
    return address.rpartition(":")[0].strip("[]")


def head_of(address: str) -> str:
    """Where the head is to be reached: "host:port".

    Raises:
        UsageError: it is no address.
        RunError: there is no cluster that `auto` could mean.
    """
    found = address.removeprefix(CLIENT).partition("/")[0]
    if found == "auto":
        from ray._private.services import canonicalize_bootstrap_address

        found = os.environ.get("RAY_ADDRESS", "").removeprefix(CLIENT) or canonicalize_bootstrap_address("auto") or ""
        if not found:
            raise RunError("--engine ray=auto: no Ray cluster runs on this machine; start one, or give its address")
    host, _, port = found.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--engine ray={address}: give auto, HOST:PORT or ray://HOST:PORT, or ray alone")
    return found


def check_answers(place: str) -> None:
    """Ray would try for five minutes, and end the process that asked. Raises OSError."""
    host, _, port = place.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), ANSWER_S):
        pass


def _first_line(error: Exception) -> str:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return said.strip().partition("\n")[0] or type(error).__name__


@contextmanager
def own_folder() -> Iterator[Path]:
    """Where Ray keeps sockets and logs, for us alone; those that killed runs left behind are taken away first."""
    place = Path(tempfile.gettempdir())
    if len(os.fsencode(place)) > LONGEST_PLACE:
        place = Path("/tmp")
    for left in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # somebody else's
            if (left / LOCK).exists():
                with open_locked(left / LOCK):  # BlockingIOError: it is at work
                    shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    try:
        with open_locked(folder / LOCK, mode=0o600):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
