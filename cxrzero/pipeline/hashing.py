"""How films come to the cache that is asked for them: in blocks, with --cache-by content each hashed before that.

Files are hashed in threads, some ahead of the decoders, which find the bytes in the system's memory and read nothing
from a disk a second time. The loop that feeds the encoder never hashes, and waits for it only where nothing else can be
done: films are looked up in their order.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import get_args

from cxrzero.cache.contents import Contents, Hashed, hash_film, is_hashed, place_of
from cxrzero.cache.store import Store
from cxrzero.choices import CacheBy
from cxrzero.pipeline.items import RunStats
from cxrzero.sources import ImageRef

CACHE_BY: tuple[CacheBy, ...] = get_args(CacheBy)
# Films that are looked up in the cache at once, and bytes of what it then gives.
BLOCK, BLOCK_BYTES = 256, 2**26
# Films of one encoder call that may be hashed ahead: of films of 15 MB a gigabyte, which the system's memory has.
MOST_AHEAD = 64

# Films as they were found → the same in blocks, as they are looked up.
Blocks = Callable[[Iterable[ImageRef], RunStats], Generator[list[ImageRef], None, None]]


def as_found(refs: Iterable[ImageRef], stats: RunStats, most: int = BLOCK) -> Generator[list[ImageRef], None, None]:
    """Films that the cache knows by their places."""
    stream = iter(refs)
    while block := list(itertools.islice(stream, most)):
        yield block


def blocks_by(
    cache_by: CacheBy,
    store: Store | None,
    content_of: Callable[[ImageRef], bytes],
    threads: int,
    batch_size: int,
    film_bytes: int,
) -> Blocks:
    """How films come to caches that know them by their path or content; see `hash_film` and `Hashing`.

    Args:
        film_bytes: that all models' caches have of a film.
    """
    most = max(1, min(BLOCK, BLOCK_BYTES // max(1, film_bytes)))
    if store is None or cache_by == "path":
        return partial(as_found, most=most)
    return Hashing(Contents(store), partial(hash_film, content_of=content_of), threads, batch_size, most).blocks


class Hashing:
    """Films that the cache knows by their content.

    Args:
        contents: what is in those that were hashed before, and are as they were.
        hash_film: reads a film, in threads.
        threads: that hash.
        batch_size: films of one encoder call, during which nobody asks for the next ones.
        most: films of a block.
    """

    def __init__(
        self,
        contents: Contents,
        hash_film: Callable[[ImageRef], Hashed],
        threads: int,
        batch_size: int,
        most: int = BLOCK,
    ) -> None:
        self._contents, self._hash, self._threads, self._most = contents, hash_film, threads, most
        self._ahead = threads + min(batch_size, MOST_AHEAD)

    def blocks(self, refs: Iterable[ImageRef], stats: RunStats) -> Generator[list[ImageRef], None, None]:
        """Blocks in the order of the films, which have their content: long ones of what needs no hashing, and short
        ones of what does, so that the threads go on while a block is worked off."""
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="hash")
        films = _Ahead(self._contents, max(1, self._ahead // 4), self._most)
        try:
            for block in as_found(refs, stats, self._most):
                places = [place_of(ref) if is_hashed(ref) else b"" for ref in block]
                for ref, place, content in zip(block, places, self._contents.lookup(places), strict=True):
                    is_new = bool(place) and content is None and self._contents.alive
                    films.add(
                        ref._replace(content=content or ref.content),
                        place,
                        pool.submit(self._hash, ref) if is_new else None,
                    )
                    if films.hashing >= self._ahead or len(films) >= self._most:
                        yield films.take(stats)
            while len(films):
                yield films.take(stats)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
            films.keep()


class _Ahead:
    """Films that were found and not taken yet.

    Attributes:
        hashing: of how many the content is not there, or was not before.
    """

    def __init__(self, contents: Contents, most_at_once: int, most: int) -> None:
        self._contents, self._most_at_once, self._most = contents, most_at_once, most
        self._films: deque[tuple[ImageRef, bytes, Future[Hashed] | None]] = deque()
        self._new: dict[bytes, bytes] = {}
        self.hashing = 0

    def __len__(self) -> int:
        return len(self._films)

    def add(self, ref: ImageRef, place: bytes, hashed: Future[Hashed] | None) -> None:
        self._films.append((ref, place, hashed))
        self.hashing += hashed is not None

    def take(self, stats: RunStats) -> list[ImageRef]:
        """The first film, which is waited for, and those behind it that are ready."""
        block: list[ImageRef] = []
        least = self.hashing - self._most_at_once
        while self._films and len(block) < self._most and (self.hashing > least or not self._films[0][2]):
            ref, place, hashed = self._films[0]
            if hashed is not None:
                if block and not hashed.done():
                    break
                content, is_settled = hashed.result()
                stats.hashed += content is not None
                if not is_settled:
                    ref = ref._replace(identity=None)  # so that what is decoded is not kept
                elif content is not None:
                    self._new[place] = content
                ref = ref._replace(content=content)
                self.hashing -= 1
            self._films.popleft()
            block.append(ref)
        if len(self._new) >= BLOCK:
            self.keep()
        return block

    def keep(self) -> None:
        """Remember what was hashed."""
        self._contents.keep(self._new)
        self._new.clear()
