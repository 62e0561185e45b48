"""`cxrzero listen` as a process of its own, and a sender that does not give up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydicom import dcmread
from pynetdicom import AE, build_context

from tests.support.orthanc import free_ports

# Generous: on a busy machine a model is loaded in a minute.
READY_S, END_S = 180.0, 120.0


class Listener:
    """A node's command, which can be started again and again.

    Args:
        folder: for its files.
        bundle: its model.
        keys: lines of node.toml beside those that are always there; `tables` is put behind them.

    Attributes:
        port: of its DICOM service.
    """

    def __init__(self, folder: Path, bundle: Path, tables: str = "", **keys: Any) -> None:
        self.folder, self.state = folder, folder / "state"
        [self.port] = free_ports(1)
        self._config = folder / "node.toml"
        plain = {"state": "state", "out": "results.sqlite", "port": self.port, "model": [str(bundle)]}
        lines = [f"{name} = {_toml(value)}" for name, value in (plain | {"study_quiet_seconds": 0.0} | keys).items()]
        self._config.write_text("\n".join(lines) + "\n[limits]\nfree_disk_mb = 0\n" + tables, encoding="utf-8")
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cxrzero", "listen", "--config", str(self._config)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        assert self._process.stdout
        timer = threading.Timer(READY_S, self.kill)
        timer.start()
        said = []
        for line in self._process.stdout:
            said.append(line)
            if "listens on" in line:
                break
        else:
            raise AssertionError("the node did not start:\n" + "".join(said))
        timer.cancel()
        # What it says afterwards is read, so that it never waits for a reader.
        threading.Thread(target=self._process.stdout.read, daemon=True).start()

    def kill(self) -> None:
        """kill -9 of the node, and nothing else: its own process has to notice."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(END_S)

    def stop(self) -> int:
        """SIGTERM to all of its processes, as a service manager sends it; returns its exit code."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGTERM)
        return self._process.wait(END_S)

    def close(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                self.kill()
            assert self._process.stdout
            self._process.stdout.close()


def _toml(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


class Sender:
    """Sends films to a node until each one is acknowledged, in a thread of its own.

    Args:
        films: path → SOP Instance UID is read from it.

    Attributes:
        left: those that are not acknowledged yet.
    """

    def __init__(self, port: int, films: Mapping[str, Path], title: str = "MODALITY") -> None:
        self._port, self.left = port, dict(films)
        self._entity = AE(title)
        self._entity.connection_timeout = self._entity.acse_timeout = 20
        self._entity.dimse_timeout = self._entity.network_timeout = 60
        self._contexts = list(
            {
                (str(dataset.SOPClassUID), str(dataset.file_meta.TransferSyntaxUID)): build_context(
                    dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID
                )
                for dataset in (dcmread(path, stop_before_pixels=True) for path in films.values())
            }.values()
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(120)

    def _run(self) -> None:
        while self.left and not self._over.is_set():
            association = self._entity.associate("127.0.0.1", self._port, self._contexts, ae_title="CXRZERO")
            if association.is_established:
                for name, path in list(self.left.items()):
                    if self._over.is_set() or not association.is_established:
                        break
                    status = association.send_c_store(dcmread(path))
                    if status.get("Status") == 0x0000:
                        del self.left[name]
                    elif "Status" not in status:
                        break
                if association.is_established:
                    association.release()
                else:
                    association.abort()
            self._over.wait(0.2)
