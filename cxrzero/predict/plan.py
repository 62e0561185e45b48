"""A prediction run before it starts: everything that can be checked before an image is read, and the model loaded."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrzero.archive.archives import Archives
from cxrzero.choices import Notify, silent
from cxrzero.database import is_address, parse_address
from cxrzero.errors import LabelError, UsageError
from cxrzero.files import check_file
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.pipeline.selection import Selection, parse_skip
from cxrzero.places.kind import kind_of_place
from cxrzero.predict.checks import (
    check_combinations,
    check_films,
    check_into_database,
    check_reports,
    check_shard,
)
from cxrzero.predict.commandline import command_line
from cxrzero.predict.kept import check_kept
from cxrzero.predict.manifest import default_out, manifest_path, names_of, studies_path
from cxrzero.predict.options import PredictOptions
from cxrzero.prompts import LabelPrompts
from cxrzero.prompts.bank import BUILT_IN
from cxrzero.prompts.lint import Finding
from cxrzero.remote.objects import Objects
from cxrzero.screener import Screener
from cxrzero.sources import ImageRef, WalkCounts, find_images
from cxrzero.tables.keymap import check_key_map
from cxrzero.tables.names import fold
from cxrzero.tables.pseudonym import default_key_file
from cxrzero.tables.rows import RowForm, row_form
from cxrzero.tables.studies import STUDY_COLUMNS
from cxrzero.tables.synonyms import same_finding
from cxrzero.tables.table import STDOUT, check_output, table_format_of
from cxrzero.tables.writers import check_format

if TYPE_CHECKING:
    from cxrzero.calibration.applied import AppliedCalibration
    from cxrzero.embeddings.files import Reader
    from cxrzero.remote.upload import Upload

# Columns beside the probabilities (cxrzero.tables.rows.KINDS) of --calibration and of --scores.
CALIBRATION_KINDS = ("calibrated", "decision")
COSINE_KINDS = ("cos_pos", "cos_neg")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run is asked; nothing in it changes while the run goes on.

    Attributes:
        out: path of the table, "-" for standard output, or the address of a database.
        form: of its rows: the columns.
        record: path of the run's record; None where the table goes to standard output or into a database.
        studies: path of the study-level table, if one is asked for.
        calibration: of --calibration, checked against model and prompts.
        remarks: what to know of the labels before the answer.
        upload: of a table that goes to an object store; `record` and `studies` are then names beside it.
        kept: of --embeddings, the open file.
    """

    options: PredictOptions
    screener: Screener
    prompts: tuple[LabelPrompts, ...]
    out: str
    form: RowForm
    record: Path | None = None
    studies: Path | None = None
    calibration: AppliedCalibration | None = None
    remarks: tuple[Finding, ...] = ()
    upload: Upload | None = None
    kept: Reader | None = None

    @property
    def settled(self) -> dict[str, Any]:
        """What the program made of options that leave it a choice, by their names, for the run's record."""
        screener, options = self.screener, self.options
        return {
            "batch_size": screener.batch_size,
            "workers": screener.workers,
            "decode_in": screener.decode_in,
            "fast_decode": screener.decode_options.fast_side,
            "skip": sorted(screener.selection.skip),
            "study_aggregate": options.study_aggregate if options.by == "study" else None,
            "format": None if self.is_growing else table_format_of(self.out, options.format),
            "query": None if options.query is None else str(options.query),
        }

    @property
    def is_growing(self) -> bool:
        """Whether the rows go into a database."""
        return is_address(self.out)

    @property
    def shown_out(self) -> str:
        """Where the table goes, for messages: of a database without user and password."""
        return str(parse_address(self.out)) if self.is_growing else self.out

    @property
    def outputs(self) -> tuple[str, ...]:
        """The files that the run writes; a database is none of them."""
        table = () if self.record is None else (self.out,)
        beside = (path for path in (self.studies, self.record) if path)
        return (*table, *(self.upload.address(path.name) if self.upload else str(path) for path in beside))

    @property
    def in_the_way(self) -> tuple[str, ...]:
        """Outputs that are there already and may not be replaced."""
        if self.options.overwrite:
            return ()
        outputs = (*self.outputs, *([str(self.options.key_map)] if self.options.key_map else []))
        is_there = self.upload.exists if self.upload else os.path.exists
        return tuple(path for path in outputs if is_there(path))

    def at(self, local: Path) -> Plan:
        """The same with a table, a record and studies of this machine."""
        studies = studies_path(str(local)) if self.studies else None
        return dataclasses.replace(self, out=str(local), record=manifest_path(str(local)), studies=studies)

    @property
    def key_file(self) -> Path:
        """The key of --pseudonymise."""
        return self.options.pseudonym_key or default_key_file()

    def files(self, counts: WalkCounts | None = None) -> Iterator[ImageRef]:
        """The files that the run reads: all that are found, or those of its shard."""
        screener, shard = self.screener, self.options.shard
        refs = find_images(self.options.paths, counts, screener.archives, screener.objects)
        return refs if shard is None else (ref for ref in refs if ref.path in shard)


def prepare(
    options: PredictOptions, notify: Notify = silent, *, look_only: bool = False, elsewhere: bool = False
) -> Plan:
    """Check all that can be checked before an image is read, and load the model.

    Args:
        notify: is told of notices before the run, such as the import of a checkpoint.
        look_only: the plan is not run, so that an output may be there already (`Plan.in_the_way`).
        elsewhere: other machines run it, so that this one needs neither their device nor their backend; a calibration
            of another precision than fp32 is then compared there.

    Raises:
        UsageError: paths, labels or output are not usable.
        RunError: the model or the device is not, or the output cannot be written.
    """
    if options.tasks is not None and options.engine is None:
        raise UsageError("--tasks says into how many tasks --engine cuts the films; give both")
    archives = Archives(
        options.query,
        refetch=options.refetch,
        keep=options.keep_files,
        ca_file=options.ca_file,
        calling_title=options.calling_title,
        notify=notify,
    )
    objects = Objects(allow_lists=options.allow_remote_list, ca_file=options.ca_file, notify=notify)
    kept = check_kept(options) if options.embeddings else None
    if kept is None:
        check_films(options, archives, objects)
    out = options.out or default_out(options)
    check_shard(options, out)
    check_combinations(options)
    overwrite = options.overwrite or look_only
    if options.key_map:
        if not options.pseudonymise:
            raise UsageError("--key-map says what is behind the pseudonyms of --pseudonymise; give both")
        check_key_map(options.key_map, out, overwrite=overwrite)
    upload = _upload(options, out, notify, overwrite=overwrite) if kind_of_place(out) == "object" else None
    if upload:
        out = str(upload)
    elif is_address(out):
        check_into_database(options, out)
    else:
        check_output(out, options.format, overwrite=overwrite)
    record = None if out == STDOUT or is_address(out) else manifest_path(upload.name if upload else out)
    if record and not upload:
        check_file(record, overwrite=overwrite)
    studies = studies_path(upload.name if upload else out) if options.by == "study" else None
    if studies and not upload:
        check_output(str(studies), overwrite=overwrite)
    if options.dicom_sr:
        check_reports(options, out)
        if objects:
            raise UsageError(
                "--dicom-sr opens films again, and those of a store are not here: copy them here first, and give their "
                "folder"
            )
        if archives:
            raise UsageError(
                "--dicom-sr opens films again, and those of an archive are not here: give --keep-files DIR in its "
                f"place, and afterwards: cxrzero dicom-sr {out} --images DIR"
            )
    screener = open_screener(_anywhere(options) if elsewhere else options, notify, archives or None, objects or None)
    if kept:
        kept.origin.require(screener.origin())
    compare = not elsewhere or options.precision == "fp32"
    return plan_of(options, screener, out, record, studies, upload, kept, compare=compare)


def plan_of(
    options: PredictOptions,
    screener: Screener,
    out: str,
    record: Path | None = None,
    studies: Path | None = None,
    upload: Upload | None = None,
    kept: Reader | None = None,
    *,
    compare: bool = True,
) -> Plan:
    """What an open screener is asked, and where the answers go; whether they can be written is not checked.

    Args:
        compare: read the calibration, and compare it with the model.

    Raises:
        LabelError, ConfigError: labels, prompts or the calibration are not usable.
    """
    prompts = screener.prompts(options.labels, options.prompts, options.calibration)
    taken = sorted({prompt.label for prompt in prompts} & set(STUDY_COLUMNS)) if studies else []
    if taken:
        raise LabelError(f"the label {taken[0]!r} has the name of a column of the study table; choose other words")
    kinds = (
        [*CALIBRATION_KINDS] * bool(options.calibration)
        + ["sd"] * screener.is_ensemble
        + [*COSINE_KINDS] * options.scores
    )
    form = row_form([prompt.label for prompt in prompts], long=options.long, kinds=kinds)
    calibration = _calibration(options, screener, prompts) if compare else None
    is_typed = options.labels is not None or options.prompts not in (None, BUILT_IN)
    remarks = tuple(screener.remarks(prompts, is_typed=is_typed))
    return Plan(options, screener, prompts, out, form, record, studies, calibration, remarks, upload, kept)


def _anywhere(options: PredictOptions) -> PredictOptions:
    """The same model and labels as any machine can look at them."""
    return dataclasses.replace(options, device="cpu", backend="onnxruntime", precision="fp32", gpu_decode=False)


def open_screener(
    options: PredictOptions,
    notify: Notify = silent,
    archives: Archives | None = None,
    objects: Objects | None = None,
    cache_folder: Path | None = None,
) -> Screener:
    """The models that options name, ready to run as the options say, with the user's cache if no folder is given.

    Raises what `Screener` raises.
    """
    return Screener(
        options.model,
        device=options.device,
        backend=options.backend,
        precision=options.precision,
        batch_size=options.batch_size,
        workers=options.workers,
        decode_in=options.decode_in,
        decode_options=DecodeOptions(invert=options.invert),
        selection=Selection(parse_skip(options.skip), options.only),
        cache=options.cache and (cache_folder or True),
        cache_by=options.cache_by,
        cache_large=options.cache_large,
        fast_decode=options.fast_decode,
        gpu_decode=options.gpu_decode,
        archives=archives,
        objects=objects,
        notify=notify,
    )


def _upload(options: PredictOptions, out: str, notify: Notify, *, overwrite: bool) -> Upload:
    """Find out whether a table and what belongs to it could be sent to a store.

    Raises:
        UsageError, MissingExtraError, OutputExistsError, RemoteError: see `cxrzero.remote.upload`.
    """
    from cxrzero.remote.upload import Upload

    upload = Upload(out, notify)
    check_format(table_format_of(upload.name, options.format))
    upload.check(names_of(upload.name, by_study=options.by == "study"), overwrite=overwrite)
    return upload


def _calibration(
    options: PredictOptions, screener: Screener, prompts: Sequence[LabelPrompts]
) -> AppliedCalibration | None:
    """The calibration asked for; where it lacks labels, the error says what to type."""
    if options.calibration is None:
        return None
    from cxrzero.calibration.applied import UnfittedLabelError

    try:
        return screener.calibration(options.calibration, prompts)
    except UnfittedLabelError as error:
        fitted = dict.fromkeys(name for prompt in prompts if (name := _name_among(error.fitted, prompt.label)))
        typed = command_line(dataclasses.replace(options, labels=tuple(fitted) or None))
        raise LabelError(f"{error}. To ask for those alone that it has, type: {typed}") from None


def _name_among(fitted: Sequence[str], label: str) -> str | None:
    """What a calibration calls a label: by its name, in another spelling, or by another name of the finding."""
    if label in fitted:
        return label
    return next((name for name in fitted if fold(name) == fold(label) or same_finding(name, label)), None)
