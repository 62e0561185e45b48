"""`kill -9` at any moment loses no film and doubles none."""

from __future__ import annotations

import json
import random
import sqlite3
import time
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.working import film, storage_peer

needs.modules("pynetdicom")

from tests.support.listening import Listener, Sender  # noqa: E402

FILMS, KILLS = 10, 5
# Of a run that is never killed, on a machine that is busy with others.
LONGEST_S = 240.0


# Sockets that pynetdicom forgets where nobody listens.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_node_that_is_killed_again_and_again(tmp_path: Path, tiny_bundle: Path) -> None:
    films = {}
    for seed in range(FILMS):
        films[f"2.25.{1000 + seed}"] = tmp_path / f"{seed}.dcm"
        films[f"2.25.{1000 + seed}"].write_bytes(film(seed, f"2.25.{seed}"))
    rng = random.Random(22)
    with storage_peer() as peer:
        tables = f'[peer]\nae_title = "ARCHIVE"\nhost = "127.0.0.1"\nport = {peer.port}\n[retries]\nfirst = 0.1\n'
        listener = Listener(tmp_path, tiny_bundle, tables)
        sender = Sender(listener.port, films)
        try:
            sender.start()
            for _ in range(KILLS):
                listener.start()
                time.sleep(rng.uniform(0.0, 1.5))
                listener.kill()
            listener.start()
            end = time.monotonic() + LONGEST_S
            while len({uid for uid, _ in peer.reports}) < FILMS and time.monotonic() < end:
                time.sleep(0.1)
            while list((listener.state / "objects").iterdir()) and time.monotonic() < end:
                time.sleep(0.1)
            assert listener.stop() == 0
        finally:
            sender.stop()
            listener.close()
    assert sender.left == {}
    # An archive stores an instance once: what was sent twice is the very same.
    stored = dict(peer.reports)
    assert len(stored) == len(set(peer.reports)) == FILMS
    assert list((listener.state / "objects").iterdir()) == list((listener.state / "reports").iterdir()) == []
    with sqlite3.connect(tmp_path / "results.sqlite") as connection:
        assert connection.execute("SELECT count(*), count(DISTINCT film) FROM scores").fetchone() == (2 * FILMS, FILMS)
    connection.close()
    lines = [json.loads(line) for line in (listener.state / "studies.jsonl").read_text().splitlines()]
    assert sorted(line["study"] for line in lines) == sorted(f"2.25.{seed}" for seed in range(FILMS))
