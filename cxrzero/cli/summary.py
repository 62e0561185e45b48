"""What `cxrzero predict` says before and after a run, on standard error."""

from __future__ import annotations

import itertools

from cxrzero.choices import OWN_CALIBRATION, parse_engine
from cxrzero.cli.console import Console
from cxrzero.cli.highest import print_highest
from cxrzero.display.counts import counted, in_bytes, together
from cxrzero.predict.manifest import each_once, reasons
from cxrzero.predict.plan import Plan
from cxrzero.predict.run import Outcome
from cxrzero.prompts.remarks import lines
from cxrzero.sources import ImageRef, WalkCounts
from cxrzero.tables.pseudonym import Pseudonymiser, load_key
from cxrzero.tables.studies import StudySummary
from cxrzero.tables.table import STDOUT

console = Console(stderr=True)


def print_plan(plan: Plan) -> None:
    """--dry-run: what would be read, asked and written."""
    if plan.kept:
        console.print(f"Would read   {plan.kept.path}, with {counted(plan.kept.n_rows, 'film')}")
    else:
        _print_films(plan)
    console.print(f"Would ask    {_models(plan)} for {counted(len(plan.prompts), 'label')}")
    asked, *others = (member.own(plan.prompts) for member in plan.screener.members)
    for prompt in asked:
        against = f"  against  {' | '.join(prompt.negative)}" if prompt.negative else ""
        console.print(f"             {' | '.join(prompt.positive)}{against}")
    if any(each != asked for each in others):
        console.print("             (sentences of the first model; the others are asked with templates of their own)")
    if plan.calibration:
        console.print("Would add    calibrated probabilities and decisions (0 or 1) for each label, by")
        own = plan.calibration.source == OWN_CALIBRATION
        source = "the calibration in the bundle" if own else plan.options.calibration
        console.print(f"             {source}, which was fitted for this model and these prompts")
    _print_notes(plan)
    console.print(f"Would run    {_engine(plan)}")
    if kept := _kept(plan):
        console.print(f"Would keep   {kept}, so that a new question opens no film")
    if plan.is_growing:
        console.print(f"Would add    what is new to the database {plan.shown_out}")
    else:
        console.print(f"Would write  {', '.join(map(str, plan.outputs)) or 'the table to standard output'}")
    if plan.options.dicom_sr:
        console.print(f"             {plan.options.dicom_sr}/, with a DICOM report for each study")
    if plan.options.key_map:
        console.print(f"             {plan.options.key_map}, which says what film is behind each pseudonym")
    if there := plan.in_the_way:
        exist, them = ("exists", "it") if len(there) == 1 else ("exist", "them")
        console.print(
            f"Note: {together(list(map(str, there)))} {exist} already: name another --out, or give --overwrite to "
            f"replace {them}.",
            style="yellow",
        )


def _print_films(plan: Plan) -> None:
    """--dry-run: what would be read."""
    counts = WalkCounts()
    files = plan.files(counts)
    first = list(itertools.islice(files, 5))
    total = len(first) + sum(1 for _ in files)
    shard = f", those of shard {plan.options.shard} of {counts.found:,}" if plan.options.shard else ""
    archives, objects = plan.screener.archives, plan.screener.objects
    what = counted(total, "film" if archives or objects else "file")
    console.print(f"Would read   {what}{shard} ({counts.left_out()})")
    if archives:
        left_out = f"; not asked for: {archives.left_out()}" if archives.unfetched else ""
        console.print(f"             as the archive lists them now; nothing was fetched{left_out}")
        archives.close()
    if objects:
        console.print("             as the store lists them now; of names without a suffix the first bytes were read")
        objects.close()
    for name in _names(plan, first):
        console.print(f"             {name}")


def _names(plan: Plan, refs: list[ImageRef]) -> list[str]:
    """Films as the table would name them; under --pseudonymise none where there is no key yet, for none is made."""
    if not plan.options.pseudonymise:
        return [ref.path for ref in refs]
    if not plan.key_file.exists():
        return []
    pseudonymiser = Pseudonymiser(load_key(plan.key_file)[0])
    return [pseudonymiser.path(ref.path) for ref in refs]


def print_start(plan: Plan) -> None:
    models = _models(plan)
    console.print(f"{models[0].upper()}{models[1:]}, {counted(len(plan.prompts), 'label')}, {_engine(plan)}")
    _print_notes(plan)


def _print_notes(plan: Plan) -> None:
    for note in plan.screener.notes():
        console.print(f"Note: {note}", style="yellow")
    for line in lines(plan.remarks):
        console.print(f"Note: {line}", style="yellow")
    for note in plan.calibration.notes() if plan.calibration else ():
        console.print(f"Note: {note}", style="yellow")


def print_end(plan: Plan, outcome: Outcome) -> None:
    """The closing summary: counts, rate, where the time went, and the highest films."""
    stats = outcome.stats
    if plan.out != STDOUT:  # else the table itself is there to be seen
        print_highest(console, plan, outcome)
    ignored = "" if plan.kept else f"; {outcome.walk.left_out()}"
    console.print(
        f"{counted(stats.rows, 'row')}: {stats.ok:,} ok, {stats.failed:,} failed, {stats.skipped:,} skipped{ignored}"
    )
    if plan.screener.archives and plan.screener.archives.unfetched:
        console.print(f"Not fetched, for their modality is never scored: {plan.screener.archives.left_out()}")
    if unscored := [f"{why} ({n:,})" for why, n in outcome.highest.unscored.most_common()]:
        console.print(f"Without scores: {together(unscored)}")
    if plan.kept:
        console.print(f"Embeddings: those of {plan.kept.path}; no film was read")
    else:
        _print_work(plan, outcome)
    if failure := outcome.first_failure:
        console.print(f"First failure: {failure['path']}: {failure.error}", style="yellow")
    if outcome.studies:
        _print_studies(outcome.studies)
    if growth := outcome.growth:
        console.print(
            f"Added to {plan.shown_out} as run {growth.run}: {growth.new:,} of {counted(stats.rows, 'row')} new"
        )
    elif plan.record:
        console.print(f"Wrote {', '.join(map(str, plan.outputs))}")
    else:  # no record beside it that would say so
        console.print(f"SHA-256 of the table: {outcome.table_sha256}", style="dim")
    if key_map := plan.options.key_map:
        console.print(f"Wrote {key_map}: it names the films, so keep it in the hospital.", style="yellow")
    if outcome.new_key:
        console.print(
            f"Made a pseudonym key: {outcome.new_key}. Keep it secret: whoever has it can test guesses of who is "
            "behind a pseudonym. Do not lose it: without it, later tables cannot be joined with this one.",
            style="yellow",
        )
    if outcome.is_empty_shard:
        console.print(
            f"Shard {plan.options.shard} has no file, so its table is empty. Keep it: cxrzero merge needs it."
        )
    elif not stats.ok:
        console.print("No image could be scored.", style="red")
    console.print("Research use only: not a medical device.", style="dim")


def _print_work(plan: Plan, outcome: Outcome) -> None:
    """What was computed, and where the time went."""
    stats, seconds, screener = outcome.stats, outcome.seconds, plan.screener
    hashed = f"; {counted(stats.hashed, 'file')} hashed" if screener.cache_by == "content" else ""
    each = f"; {kept} are kept" if stats.embedded and (kept := _kept(plan)) else ""
    console.print(f"Embeddings: {stats.cached:,} taken from the cache, {stats.embedded:,} computed{hashed}{each}")
    if frames := screener.gpu_frames:
        console.print(
            f"Compressed DICOM frames: {frames.on_gpu:,} decoded on the GPU, {frames.on_cpu:,} on the processor"
        )
    for notice in dict.fromkeys([*(screener.store.notices if screener.store else ()), *outcome.notices]):
        console.print(f"Note: {notice}", style="yellow")
    rate, over = f", {stats.rows / seconds:.1f} images/s", _workers(plan)
    if plan.options.engine is not None:  # some films may have been done before this driver began
        rate, over = "", "all tasks"
    console.print(
        f"Time: {seconds:.1f} s{rate} (decoding {stats.decode_seconds:.1f} s summed over {over}, encoding "
        f"{stats.encode_seconds:.1f} s, writing {outcome.write_seconds:.1f} s)"
    )


def _print_studies(studies: StudySummary) -> None:
    if not studies.studies:
        return
    parts = [f"{studies.studies - studies.folders:,} by Study Instance UID"]
    if studies.folders:
        parts.append(f"{studies.folders:,} by folder ({counted(studies.images_by_folder, 'image')} without a UID)")
    console.print(f"Studies: {', '.join(parts)}; at most {counted(studies.most_images, 'image')} in one")
    for warning in studies.warnings():
        console.print(f"Warning: {warning}", style="yellow")


def _kept(plan: Plan) -> str:
    """What the cache has of a film of models that score by attention; of others it is little."""
    members = [each for each in plan.screener.members if each.bundle.has_scorer and each.keeps_films and each.store]
    size = sum(member.bundle.film_bytes for member in members)
    return f"{in_bytes(size)} of each film in the cache" if size else ""


def _models(plan: Plan) -> str:
    names = [member.bundle.name for member in plan.screener.members]
    return f"model {names[0]}" if len(names) == 1 else f"ensemble of {len(names)} models ({', '.join(names)})"


def _engine(plan: Plan) -> str:
    if plan.options.engine is not None:
        return _on_engine(plan.options.engine, plan)
    screener = plan.screener
    encoders = [member.encoder for member in screener.members]
    backend, place = each_once(e.backend for e in encoders), each_once(str(e.gpu or e.device) for e in encoders)
    return (
        f"{backend} on {place} in {screener.precision} ({reasons(encoders)}), "
        f"batch size {screener.batch_size}, decoding in {_workers(plan)}"
    )


def _on_engine(engine: str, plan: Plan) -> str:
    """What an engine does; how many tasks that are is known when the films are."""
    from cxrzero.cluster.run import plan_path

    name, more = parse_engine(engine)
    where = {"local": "processes of this machine", "ray": "a Ray cluster", "slurm": "Slurm"}[name]
    if name == "local" and more:
        where = counted(int(more), "process") + " of this machine"
    tasks = counted(plan.options.tasks, "task") if plan.options.tasks else "tasks of some minutes"
    return f"in {tasks} on {where}; until it ends, {plan_path(plan.out)} has the plan and what is done"


def _workers(plan: Plan) -> str:
    return counted(plan.screener.workers, "thread" if plan.screener.decode_in == "threads" else "process")
