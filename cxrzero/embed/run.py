"""One run of `embed`: films → rows and embeddings in a file, and a record beside it."""

from __future__ import annotations

import time
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cxrzero.archive.archives import Archives
from cxrzero.choices import Notify, silent
from cxrzero.embed.options import EmbedOptions
from cxrzero.embeddings.ask import nothing
from cxrzero.embeddings.files import check_suffix, writing
from cxrzero.embeddings.rows import without_scores
from cxrzero.errors import MissingExtraError, NoInputError, UsageError, exit_code
from cxrzero.files import check_file, sha256_of, write_json
from cxrzero.options import record_of
from cxrzero.pipeline.items import Frame, Item, RunStats
from cxrzero.pipeline.live import Live, OnRow
from cxrzero.places.kind import shown
from cxrzero.predict.checks import check_combinations, check_films
from cxrzero.predict.commandline import command_line
from cxrzero.predict.inputs import Inputs, picture_line
from cxrzero.predict.manifest import begun_record, cache_of, counts_of, manifest_path
from cxrzero.predict.plan import open_screener
from cxrzero.predict.shardlog import ShardLog, shardlog_path
from cxrzero.prediction import Prediction
from cxrzero.remote.objects import Objects
from cxrzero.screener import Screener
from cxrzero.sources import find_images
from cxrzero.tables.pseudonym import Pseudonymiser, default_key_file, load_key
from cxrzero.tables.writers import check_format

# Rows that are handed to the file at once.
ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Embedded:
    """What a run did.

    Attributes:
        out: the file.
        new_key: the key file, where --pseudonymise made one for this run.
        first_failure: the first failed row, as it is written.
    """

    out: Path
    stats: RunStats
    record: dict[str, Any]
    new_key: Path | None = None
    first_failure: Prediction | None = None

    @property
    def exit_code(self) -> int:
        is_empty_shard = self.record["shard"] is not None and not self.stats.rows
        return 0 if is_empty_shard else exit_code(self.stats.ok, self.stats.failed)


def embed(
    options: EmbedOptions, notify: Notify = silent, on_row: OnRow | None = None, live: Live | None = None
) -> Embedded:
    """Embed everything; write the file and its record.

    Raises:
        UsageError: paths or output are not usable; nothing was run.
        NoInputError: nothing to read was found.
        RunError: the model or the device is not usable, or the file cannot be written.
    """
    live = live or Live()
    with Archives(notify=notify) as archives, Objects(allow_lists=options.allow_remote_list, notify=notify) as objects:
        shared = options.as_predict()
        check_films(shared, archives, objects)
        check_combinations(shared)
        suffix = _check_outputs(options)
        screener = open_screener(shared, notify, archives or None, objects or None)
        return _run(options, screener, suffix, on_row, live)


def _check_outputs(options: EmbedOptions) -> str:
    """Find out whether the files could be written; the suffix of the main one."""
    suffix = check_suffix(options.out)
    beside = [shardlog_path(str(options.out))] if options.shard else []
    for path in (options.out, manifest_path(str(options.out)), *beside):
        check_file(path, overwrite=options.overwrite)
    if suffix == ".parquet":
        try:
            check_format("parquet")
        except MissingExtraError as error:
            raise UsageError(f"{error}, or name an .npz file with --out") from None
    return suffix


def _run(options: EmbedOptions, screener: Screener, suffix: str, on_row: OnRow | None, live: Live) -> Embedded:
    started, started_at = time.perf_counter(), datetime.now(UTC)
    pseudonymiser, new_key = _pseudonymiser(options)
    shardlog = ShardLog(str(options.out), options.shard, pseudonymiser) if options.shard else None
    refs = find_images(options.paths, live.walk, screener.archives, screener.objects)
    inputs, vectors = Inputs(), bytearray()
    first_failure: Prediction | None = None
    origin = screener.origin()

    def on_item(item: Item) -> None:
        picture = picture_line(item, pseudonymiser)
        inputs.add(picture)
        if shardlog:
            shardlog.note(item, picture)
        if isinstance(item, Frame) and item.left_out is None:
            vectors.extend(b"".join(item.embeddings))

    with shardlog or nullcontext(), writing(options.out, origin, suffix) as writer:
        some: list[Prediction] = []

        def write() -> None:
            writer.write(some, np.frombuffer(bytes(vectors), "<f4").astype(np.float32).reshape(-1, origin.embed_dim))
            some.clear()
            vectors.clear()

        films = shardlog.take(refs) if shardlog else refs
        with closing(screener.stream(films, nothing, (), live.stats, on_item)) as rows:
            for row in rows:
                plain = without_scores(row)
                some.append(pseudonymiser(plain) if pseudonymiser else plain)
                if row.status == "failed" and first_failure is None:
                    first_failure = some[-1]
                if len(some) == ROWS_AT_ONCE:
                    write()
                if on_row:
                    on_row(live)
        if not live.stats.rows and not (shardlog and live.walk.found):
            given = map(pseudonymiser.argument if pseudonymiser else shown, options.paths)
            raise NoInputError(f"no image or DICOM file in {', '.join(given)}")
        write()
        if shardlog:
            shardlog.commit()
    record = _record(options, screener, live, started_at, time.perf_counter() - started, pseudonymiser) | {
        "inputs": inputs.record(),
        "shard": shardlog.record() if shardlog else None,
        "table_sha256": sha256_of(options.out),
    }
    write_json(manifest_path(str(options.out)), record)
    if screener.store:
        screener.store.close()
    return Embedded(options.out, live.stats, record, new_key, first_failure)


def _pseudonymiser(options: EmbedOptions) -> tuple[Pseudonymiser | None, Path | None]:
    if not options.pseudonymise:
        return None, None
    path = options.pseudonym_key or default_key_file()
    key, is_new = load_key(path, make=True)
    return Pseudonymiser(key), path if is_new else None


def _record(
    options: EmbedOptions,
    screener: Screener,
    live: Live,
    started: datetime,
    seconds: float,
    pseudonymiser: Pseudonymiser | None,
) -> dict[str, Any]:
    """What a run's record says, by the keys of that of `predict`; what only answers have is null."""
    stats = live.stats
    settled = {
        "batch_size": screener.batch_size,
        "workers": screener.workers,
        "decode_in": screener.decode_in,
        "fast_decode": screener.decode_options.fast_side,
        "skip": sorted(screener.selection.skip),
    }
    return {
        **begun_record(screener, command_line(options, pseudonymiser, "embed"), started),
        "ended": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **screener.decisive(()),
        "prompts": None,
        "calibration": None,
        "embed_dim": screener.origin().embed_dim,
        "options": record_of(options, settled),
        "counts": counts_of(stats, live.walk),
        "cache": cache_of(screener, stats),
        "seconds": {
            "wall": round(seconds, 3),
            "decode": round(stats.decode_seconds, 3),
            "encode": round(stats.encode_seconds, 3),
        },
    }
