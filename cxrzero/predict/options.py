"""What `cxrzero predict` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrzero.archive.query import Query, parse_query
from cxrzero.choices import (
    CALLING_TITLE,
    DEFAULT_MODEL,
    DEVICES,
    ENGINES,
    Aggregate,
    Backend,
    CacheBy,
    DecodeIn,
    Device,
    Invert,
    Level,
    Precision,
    TableFormat,
    View,
    parse_device,
    parse_engine,
)
from cxrzero.options import ADVANCED, argument, comma_list, option
from cxrzero.predict.sbatch import parse_sbatch
from cxrzero.predict.shard import Shard, parse_shard


def read_labels(text: str) -> tuple[str, ...]:
    """See `cxrzero.prompts.parse_labels`."""
    from cxrzero.prompts import parse_labels  # imported when there is something to read: --help should come at once

    return parse_labels(text)


def check_engine(text: str) -> None:
    """Raises a UsageError for what `--engine` does not take."""
    name, more = parse_engine(text)
    if name == "slurm":
        parse_sbatch(more)


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """One `cxrzero predict`; each field says what it is for. None leaves a choice to the program."""

    paths: tuple[str, ...] = argument(
        "[PATH...]",
        "Give images, folders (searched recursively), .zip and .tar files, @list.txt (one path on each line), an "
        "archive's address (docs/archive.md) or one of an object store (docs/places.md).",
        default=(),
        recorded=False,
    )
    embeddings: Path | None = option(
        None,
        "Ask the films whose embeddings cxrzero embed kept in this file; then without PATH.",
        metavar="FILE",
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )

    allow_remote_list: bool = option(
        False,
        "Read also what addresses of object stores and web servers in an @list.txt name.",
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )

    # What of an archive is read.
    query: Query | None = option(
        None,
        "Ask an archive for the studies with these values: ModalitiesInStudy=DX,StudyDate=20260101-20260131; all is "
        "every study.",
        metavar="KEY=VALUE",
        parse=parse_query,
        panel=ADVANCED,
    )
    refetch: bool = option(
        False, "Fetch again from an archive what is in the cache.", panel=ADVANCED, decides="nothing", recorded=False
    )
    keep_files: Path | None = option(
        None,
        "Keep the files that an archive sends in this folder; by default none is kept.",
        metavar="DIR",
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )
    ca_file: Path | None = option(
        None,
        "Check the certificates of archives and web servers by those in this file (PEM); by default by those of the "
        "usual authorities.",
        metavar="FILE",
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )
    calling_title: str = option(
        CALLING_TITLE,
        "Call ourselves by this AE title towards an archive that speaks DIMSE (dicom://).",
        metavar="AET",
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )

    # What is asked. The record has these under keys of their own.
    labels: tuple[str, ...] | None = option(
        None,
        'Name the findings in plain words: pneumonia,"mass, left" or @labels.txt. Default: the model\'s list.',
        metavar="LIST",
        parse=read_labels,
        decides="scores",
        recorded=False,
    )
    prompts: str | None = option(
        None,
        "Take the sentences for and against each label from this YAML file, not from the built-in bank; see "
        "cxrzero prompts.",
        metavar="FILE",
        panel=ADVANCED,
        decides="scores",
        recorded=False,
    )
    calibration: str | None = option(
        None,
        "Add calibrated probabilities and 0/1 decisions by the calibration.json that cxrzero eval wrote; model takes "
        "the one in the model's bundle (a file of that name is ./model).",
        metavar="FILE",
        recorded=False,
    )

    # Where the answer goes.
    out: str | None = option(
        None,
        "Write the table to this file (.csv, .jsonl or .parquet), by default predictions.csv; - is standard output. A "
        "database (.sqlite, or a URL) grows by what is new; an object store (s3://…) is sent the finished table.",
        short="-o",
        metavar="FILE",
        decides="nothing",
        recorded=False,
    )
    overwrite: bool = option(False, "Replace a table that exists already.", decides="nothing", recorded=False)

    # Who answers. The record states what really ran.
    model: tuple[str, ...] = option(
        (DEFAULT_MODEL,),
        "Ask this model: a known name (cxrzero models list), a bundle's folder or a checkpoint. Give it several times "
        "for an ensemble.",
        short="-m",
        metavar="MODEL",
        decides="scores",
        recorded=False,
    )
    device: Device = option(
        "auto",
        "Compute on this device; auto takes a GPU where one works, and says what it chose. cuda:1 is the second GPU.",
        metavar=DEVICES,
        check=parse_device,
        recorded=False,
    )
    backend: Backend = option(
        "auto", "Run the model with this library; in fp32 all give the same answer.", panel=ADVANCED, recorded=False
    )
    precision: Precision = option(
        "fp32",
        "Compute in this number format; auto takes the fastest that is known to deviate little.",
        panel=ADVANCED,
        decides="scores",
        recorded=False,
    )

    # How the work is carried out.
    batch_size: int | None = option(
        None,
        "Encode N images in one call; by default the number that suits the device.",
        metavar="N",
        minimum=1,
        maximum=4096,
        panel=ADVANCED,
        decides="nothing",
    )
    workers: int | None = option(
        None,
        "Decode N files at once; by default one for each core, at most 16.",
        metavar="N",
        minimum=1,
        maximum=256,
        panel=ADVANCED,
        decides="nothing",
    )
    decode_in: DecodeIn = option(
        "auto",
        "Decode in threads or in processes; auto takes processes from 8 workers on, beside a GPU from 2.",
        panel=ADVANCED,
        decides="nothing",
    )
    cache: bool = option(
        True,
        "Neither use nor keep embeddings; see cxrzero cache.",
        flag="--no-cache",
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )
    cache_by: CacheBy = option(
        "path",
        "Find kept embeddings by the path, size and time of a film, or by its content, wherever it was moved or "
        "copied; see docs/cache.md.",
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )

    cache_large: bool = option(
        False,
        "Keep films also where a model that scores by attention makes more than 1 MiB of each: the cache grows by so "
        "much with every film, and a new question opens none; see docs/cache.md.",
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )

    # How images are read, and which of them are scored.
    invert: Invert = option(
        "auto",
        "Invert every image (yes) or none (no); auto follows the header's Photometric Interpretation.",
        panel=ADVANCED,
    )
    fast_decode: bool = option(
        False,
        "Decode large JPEG and JPEG 2000 films at a fraction of their size, at least twice the model's.",
        panel=ADVANCED,
        decides="scores",
    )
    gpu_decode: bool = option(
        False,
        "Decode lossless JPEG 2000 frames of DICOM files on an NVIDIA GPU, to the same pixels.",
        panel=ADVANCED,
        decides="nothing",
    )
    fail_fast: bool = option(False, "Stop at the first image that cannot be read.", decides="nothing")
    skip: tuple[str, ...] = option(
        (),
        "Do not score images with these flags, e.g. lateral,maybe_not_chest_xray.",
        metavar="FLAGS",
        parse=comma_list,
    )
    only: View | None = option(None, "Score only images whose header says a frontal view (PA or AP).")

    # What there is beside the table.
    dicom_sr: Path | None = option(
        None,
        "Write the findings as DICOM reports to this folder too, one for each study; see dicom-sr.",
        metavar="DIR",
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )

    # What the table looks like.
    by: Level = option(
        "image", "Write one row per image; study adds a table with one row per study, its frontal views joined."
    )
    study_aggregate: Aggregate = option(
        "mean", "Join the probabilities of a study's views in this way, with --by study.", panel=ADVANCED
    )
    pseudonymise: bool = option(False, "Replace paths and UIDs in the table by keyed digests.")
    pseudonym_key: Path | None = option(
        None,
        "Read the key of --pseudonymise from this file; by default your own, made at first use. Keep it secret and do "
        "not lose it.",
        metavar="FILE",
        panel=ADVANCED,
        recorded=False,
    )
    key_map: Path | None = option(
        None,
        "Write to this file which film is behind each pseudonym of --pseudonymise, for the hospital alone.",
        metavar="FILE",
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )
    format: TableFormat | None = option(
        None, "Write the table in this format; by default the suffix of --out decides.", panel=ADVANCED
    )
    long: bool = option(False, "Write one row per image and label.", panel=ADVANCED)
    top: int | None = option(
        None,
        "Show the N highest films of each label after the run, 0 for none; by default as many as have room.",
        metavar="N",
        minimum=0,
        maximum=1000,
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )
    scores: bool = option(False, "Add the two cosines behind each probability.", panel=ADVANCED)
    shard: Shard | None = option(
        None,
        "Read only part K of N, as a job of an array does; cxrzero merge joins the tables.",
        metavar="K/N",
        parse=parse_shard,
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )

    # Who does the work, where that is not this process.
    engine: str | None = option(
        None,
        "Let processes of this machine (local), a Ray cluster or Slurm (slurm=partition=cpu,time=60) do the work, in "
        "tasks that are tried again (docs/cluster.md).",
        metavar=ENGINES,
        check=check_engine,
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )
    tasks: int | None = option(
        None,
        "Run the films in N tasks, with --engine; by default so many that each takes minutes.",
        metavar="N",
        minimum=1,
        maximum=100_000,
        panel=ADVANCED,
        decides="nothing",
        recorded=False,
    )
