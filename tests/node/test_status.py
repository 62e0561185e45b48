"""How a node is doing: the counts, the page, the metrics, and who may see them."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxrzero.errors import NoInputError, RunError
from cxrzero.node.outbox import SCORED, Letter
from cxrzero.node.queue import Queue, Result
from cxrzero.node.status import DeadLetter, NodeStatus, failed, requeue, status_of, status_of_queue
from cxrzero.node.statuspage import StatusServer, metrics_of

AT = "2026-11-27T12:00:00.000+00:00"


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    """Six objects: one waits, four are scored, one failed; of five studies two reports are delivered, one failed."""
    with Queue(tmp_path) as queue:
        for number in range(6):
            digest = f"{number:064x}"
            queue.received(digest, f"1.2.{number}", "1.3", f"1.4.{number}", "1.5", "1.6", 1, digest)
        results = [
            Result(each.id, "", "truncated" if number == 4 else "")
            for number in range(5)
            for each in queue.to_score(f"1.2.{number}")
        ]
        queue.scored(results, 1, seconds=1.5)
        queue.close_studies(queue.complete(), AT, 0)
        for number, report in enumerate(queue.outbox.reports(SCORED)):
            if number < 4:
                queue.outbox.written(report, [Letter(f"{number}.dcm", "1.9", f"1.8.{number}")], {})
            else:
                queue.outbox.written(report, [], {})
            if number < 2:
                queue.outbox.delivered(report)
            if number == 2:
                queue.outbox.attempted(report, "status_a700")
                queue.outbox.failed(report, "status_a700")
        yield queue


EXPECTED = NodeStatus(
    received=6,
    waiting=1,
    scored=4,
    failed=1,
    reports_waiting=1,
    delivered=2,
    reports_failed=1,
    unreported=1,
    seconds_per_film=0.3,
    last_error="status_a700",
)


def test_counts(queue: Queue, tmp_path: Path) -> None:
    assert status_of(tmp_path) == status_of_queue(queue) == EXPECTED


def test_dead_letters_are_listed_and_put_back(queue: Queue, tmp_path: Path) -> None:
    letters = [
        DeadLetter("film-5", "truncated", "1.2.4", "1.4.4", 0),
        DeadLetter("report-3", "status_a700", "1.2.2", "1.8.2", 1),
    ]
    assert failed(tmp_path) == letters
    assert requeue(tmp_path, ["report-3", "film-99"]) == 1
    assert [letter.name for letter in failed(tmp_path)] == ["film-5"]
    assert requeue(tmp_path) == 1
    assert failed(tmp_path) == []
    assert status_of(tmp_path).waiting == 2


def test_a_folder_without_a_node(tmp_path: Path) -> None:
    for ask in (status_of, failed, requeue):
        with pytest.raises(NoInputError, match="has no queue"):
            ask(tmp_path)
    assert list(tmp_path.iterdir()) == []


def ask(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read().decode()
    connection.close()
    return found


@pytest.fixture
def port() -> Iterator[int]:
    with StatusServer("127.0.0.1", 0, lambda: EXPECTED) as server:
        yield server.port


def test_the_page_shows_the_counts_and_loads_nothing(port: int) -> None:
    status, headers, page = ask(port, "/")
    assert status == 200
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["X-Content-Type-Options"] == "nosniff"
    for words in ("<b>6</b><span>received</span>", "<b>0.300</b><span>seconds per film</span>", "status_a700"):
        assert words in page
    assert "Not a medical device" in page
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page


def test_metrics_are_what_prometheus_reads(port: int) -> None:
    """Text format 0.0.4: each sample after its HELP and TYPE."""
    status, headers, text = ask(port, "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert samples == {
        "cxrzero_node_objects_received_total": "6",
        "cxrzero_node_objects_waiting": "1",
        "cxrzero_node_objects_scored_total": "4",
        "cxrzero_node_objects_failed": "1",
        "cxrzero_node_reports_waiting": "1",
        "cxrzero_node_reports_delivered_total": "2",
        "cxrzero_node_reports_failed": "1",
        "cxrzero_node_studies_unreported": "1",
        "cxrzero_node_seconds_per_film": "0.3",
        'cxrzero_node_last_error{code="status_a700"}': "1",
    }
    for name in samples:
        assert f"# TYPE {name.split('{')[0]} " in text


def test_large_counts_are_exact() -> None:
    from dataclasses import replace

    text = metrics_of(replace(EXPECTED, received=123_456_789, seconds_per_film=None, last_error='a"b\\'))
    assert "objects_received_total 123456789\n" in text
    assert "seconds_per_film" not in text
    assert r'{code="a\"b\\"} 1' in text


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("localhost:{port}", 200),
        ("127.0.0.1:{port}", 200),
        ("LOCALHOST:{port}", 200),
        ("evil.example:{port}", 421),
        ("evil.example", 421),
        ("localhost", 421),  # port 80: not this one
        ("localhost:{port}.evil.example", 421),
        ("", 421),
    ],
)
def test_only_who_calls_it_by_a_name_of_this_machine_is_answered(port: int, host: str, expected: int) -> None:
    """A page from elsewhere whose name leads to 127.0.0.1 (DNS rebinding) sends its own name as Host."""
    status, _, text = ask(port, "/metrics", Host=host.format(port=port))
    assert status == expected
    assert ("cxrzero_node" in text) is (expected == 200)


def test_other_requests(port: int) -> None:
    assert ask(port, "/nothing")[0] == 404
    assert ask(port, "/metrics?x=1")[0] == 200
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST / HTTP/1.0\r\n\r\n")
        assert b" 501 " in connection.recv(100)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"\x16\x03\x01 garbage\r\n\r\n")
        connection.recv(100)
    assert ask(port, "/metrics")[0] == 200


def test_a_port_that_is_taken(port: int) -> None:
    with pytest.raises(RunError, match=f"cannot listen on 127.0.0.1, port {port}"):
        StatusServer("127.0.0.1", port, lambda: EXPECTED)
