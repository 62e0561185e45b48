"""Batches through the encoders, in their order: one after the other, or beside what else the loop does."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from cxrzero.pipeline.items import Item

Batch = list[Item]
Encode = Callable[[Batch], Batch]


def encoded(batches: Iterable[Batch], encode: Encode, *, beside: bool) -> Generator[Batch, None, None]:
    """Give each batch once its embeddings are made.

    Beside the loop means in a thread, one batch behind: while the encoder has a batch, rows are made of the one before,
    and the next is put together and waits, so that an encoder on a GPU never does. At most two batches are in memory.
    An error comes out where it would otherwise, after the batches before it.

    Args:
        encode: makes the embeddings of a batch, and gives it back.
        beside: for encoders that leave the processor alone.
    """
    if not beside:
        yield from map(encode, batches)
        return
    thread = ThreadPoolExecutor(1, thread_name_prefix="encode")
    try:
        before: Future[Batch] | None = None
        for under_way in _sent(batches, encode, thread):
            if before is not None:
                yield before.result()
            before = under_way
        if before is not None:
            yield before.result()
    finally:
        thread.shutdown(wait=True, cancel_futures=True)


def _sent(batches: Iterable[Batch], encode: Encode, thread: ThreadPoolExecutor) -> Iterator[Future[Batch]]:
    """Send each batch off; what ends them early stands last among them."""
    try:
        for batch in batches:
            yield thread.submit(encode, batch)
    except Exception as error:
        failed: Future[Batch] = Future()
        failed.set_exception(error)
        yield failed
