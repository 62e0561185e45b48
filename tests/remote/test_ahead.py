"""What is fetched ahead: in order, at once, and within bounded memory."""

from __future__ import annotations

import random
import threading
import time

import pytest

from cxrzero.errors import ImageError, RemoteError
from cxrzero.remote.ahead import FetchAhead


class Source:
    """Contents, and how much of them is held at most."""

    def __init__(self) -> None:
        self.held = self.most = 0
        self.lock = threading.Lock()

    def fetch(self, number: int, size: int) -> bytes:
        with self.lock:
            self.held += size
            self.most = max(self.most, self.held)
        time.sleep(random.Random(number).random() * 0.003)
        return number.to_bytes(4, "big") * (size // 4)

    def take(self, ahead: FetchAhead, number: int) -> bytes | None:
        content = ahead.take(str(number))
        with self.lock:
            self.held -= len(content or b"")
        return content


@pytest.mark.parametrize("budget", [1, 1000, 4000])
def test_all_come_in_order_and_little_is_held(budget: int) -> None:
    source, ahead = Source(), FetchAhead(4, budget)
    sizes = [random.Random(n).choice((4, 100, 400, 1200)) for n in range(300)]
    for number, size in enumerate(sizes):
        ahead.expect(str(number), size, lambda n=number, s=size: source.fetch(n, s))  # type: ignore[misc]
    for number, size in enumerate(sizes):
        assert source.take(ahead, number) == number.to_bytes(4, "big") * (size // 4)
    assert source.most <= budget + 2 * max(sizes)  # one that is being taken, one that is alone larger than all
    assert ahead.take("0") is None
    ahead.close()


def test_what_went_wrong_is_raised_by_who_takes_it() -> None:
    ahead = FetchAhead(1, 1000)

    def fail() -> bytes:
        raise ImageError("missing", "gone")

    ahead.expect("a", 1, fail)
    ahead.expect("b", None, lambda: b"b")
    with pytest.raises(ImageError, match="gone"):
        ahead.take("a")
    assert ahead.take("b") == b"b"
    ahead.close()


def test_who_waits_is_told_that_the_run_is_over() -> None:
    ahead, begun, over = FetchAhead(1, 10), threading.Event(), threading.Event()

    def slow() -> bytes:
        begun.set()
        over.wait(10)
        return b"x" * 10

    for name in "abc":
        ahead.expect(name, 10, slow)
    raised: list[Exception] = []

    def wait() -> None:
        try:
            ahead.take("c")
        except RemoteError as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert begun.wait(10)
    while "c" in ahead._expected:
        time.sleep(0.01)
    over.set()
    ahead.close()
    thread.join(10)
    assert not thread.is_alive()
    assert len(raised) == 1
