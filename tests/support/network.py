"""Commands run where nobody can be reached and everybody listens: what they ask, whom they address, what they leave.

`start` runs this file as a script in a network namespace that has a loopback device alone. All addresses of the world
are routed to it: a name server answers at each of them that there is no such name, and a raw socket sees every packet.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Seconds that a process lives on after its work: ONNX Runtime first asks for its server's address 9 s after its start.
LINGER_S = 12
COMMAND = f"""
import runpy, time
try:
    runpy.run_module("cxrzero", run_name="__main__", alter_sys=True)
except SystemExit as end:
    time.sleep({LINGER_S})
    raise
"""
OWN = ("home/.cache/cxrzero/", "home/.local/share/cxrzero/", "out/")
# Folders that stay empty: those made here, and one that `import torch._dynamo` makes.
EMPTY = re.compile("home|tmp|out|tmp/torchinductor_[^/]*")
NO_SUCH_NAME = b"\x81\x83"
IP, IP6 = 0x0800, 0x86DD  # EtherType


@dataclass(frozen=True)
class Seen:
    """What a command did beside its work.

    Attributes:
        names: that it asked a name server for.
        addresses: to which it sent a packet, this machine's own apart.
        left: files, and empty folders, in its home, temporary and working folder that are not cxrzero's.
    """

    names: list[str]
    addresses: list[str]
    left: list[str]


NOTHING = Seen([], [], [])


@dataclass(frozen=True)
class Watched:
    """A command that runs; `seen` waits for its end."""

    process: subprocess.Popen[str]
    folder: Path

    def seen(self) -> Seen:
        out, err = self.process.communicate(timeout=300)
        assert self.process.returncode == 0, err
        heard = json.loads(out.splitlines()[-1])
        return Seen(sorted(set(heard["names"])), sorted(set(heard["addresses"])), left(self.folder))

    def end(self) -> None:
        """What still runs, as after a failure, runs no longer."""
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()


def start(prefix: list[str], folder: Path, code: str, arguments: list[str]) -> Watched:
    """Run Python code in `folder`, which becomes its whole world, and watch it.

    Of the environment only the path is inherited, and nothing that cxrzero has set here.

    Args:
        prefix: how to enter an empty network, see `tests.support.needs.empty_network`.
    """
    for name in ("home", "tmp", "out"):
        (folder / name).mkdir(parents=True)
    own = {"PATH": os.environ["PATH"], "HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    # any file that can be read will do, or ONNX Runtime does not even ask where there are no certificates
    own |= {"PYTHONPATH": str(Path(__file__).resolve().parents[2]), "SSL_CERT_FILE": __file__, "OMP_NUM_THREADS": "1"}
    command = [*prefix, sys.executable, __file__, sys.executable, "-c", code, *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=folder, env=own, start_new_session=True, **pipes)
    return Watched(process, folder)


def then_wait(code: str) -> str:
    """Code whose process lives on as a command's does."""
    return f"{code}\nimport time\ntime.sleep({LINGER_S})\n"


def left(folder: Path) -> list[str]:
    """Files and empty folders that are not cxrzero's own, by their path in `folder`."""
    found = [path for path in folder.rglob("*") if not path.is_dir() or not any(path.iterdir())]
    names = sorted(path.relative_to(folder).as_posix() for path in found)
    return [name for name in names if not EMPTY.fullmatch(name) and not name.startswith(OWN)]


def name_asked(query: bytes) -> str:
    """The name in a question of RFC 1035: labels, each after its length, from byte 12 on."""
    labels, place = [], 12
    while length := query[place]:
        labels.append(query[place + 1 : place + 1 + length].decode("latin-1"))
        place += 1 + length
    return ".".join(labels)


def destination(kind: int, packet: bytes) -> str:
    """Where a packet goes; its EtherType, where that is not IP."""
    if kind == IP:
        return str(ipaddress.ip_address(packet[16:20]))
    return str(ipaddress.ip_address(packet[24:40])) if kind == IP6 else hex(kind)


class Listener:
    """A name server that knows no name, and a raw socket, each in a thread, until the process ends."""

    def __init__(self, families: dict[socket.AddressFamily, str]) -> None:
        self.names: list[str] = []
        self.addresses: set[str] = set()
        for family, everywhere in families.items():
            server = socket.socket(family, socket.SOCK_DGRAM)
            if family == socket.AF_INET6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            server.bind((everywhere, 53))
            threading.Thread(target=self._answer, args=(server,), daemon=True).start()
        raw = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))  # ETH_P_ALL
        raw.bind(("lo", 0))
        threading.Thread(target=self._watch, args=(raw,), daemon=True).start()

    def _answer(self, server: socket.socket) -> None:
        while True:
            query, client = server.recvfrom(4096)
            self.names.append(name_asked(query))
            server.sendto(query[:2] + NO_SUCH_NAME + query[4:], client)

    def _watch(self, raw: socket.socket) -> None:
        while True:
            packet, (_, kind, *_) = raw.recvfrom(64)
            self.addresses.add(destination(kind, packet))

    def heard(self) -> dict[str, list[str]]:
        own = ("127.", "::1")
        return {"names": self.names, "addresses": [one for one in self.addresses if not one.startswith(own)]}


def main(command: list[str]) -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    families = {socket.AF_INET: "0.0.0.0"}
    everywhere = ("route", "add", "local", "default", "dev", "lo")
    subprocess.run(["ip", "-4", *everywhere], check=True)
    if Path("/proc/net/if_inet6").exists():
        subprocess.run(["ip", "-6", *everywhere], check=True)
        families[socket.AF_INET6] = "::"
    listener = Listener(families)
    done = subprocess.run(command, stdout=sys.stderr, check=False)
    print(json.dumps(listener.heard()))
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main(sys.argv[1:])
