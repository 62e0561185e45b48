"""Each kind of output is whole or is not there: a full disk leaves what was there before, and is said with the name."""

from __future__ import annotations

import ast
import errno
import json
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

import cxrzero
from cxrzero.calibration.file import Calibration, write_calibration
from cxrzero.dicom_out.objects import new_object
from cxrzero.dicom_out.write import write_report
from cxrzero.errors import WriteError
from cxrzero.files import write_json
from cxrzero.phantom import examples
from cxrzero.pipeline.items import RunStats
from cxrzero.predict.shard import Shard
from cxrzero.predict.shardlog import ShardLog, shardlog_path
from cxrzero.search.contactsheet import Searched, write_contact_sheet
from cxrzero.search.prompts import Choice, write_templates
from cxrzero.tables.pseudonym import load_key
from cxrzero.tables.table import Table
from cxrzero.train.checkpage import write_page
from cxrzero.train.measure.curves import write_curves
from cxrzero.train.runfolder import RunFolder

SEARCHED = Searched("edema", "tiny", "0", RunStats(), datetime.now(UTC))


def table(path: Path) -> None:
    with Table(str(path), {"x": str}, overwrite=True) as written:
        written.write(["a"])
        written.commit()


def shardlog(path: Path) -> None:
    log = ShardLog(str(path.with_suffix(".csv")), Shard(1, 1))
    assert shardlog_path(str(path.with_suffix(".csv"))) == path
    with log:
        log.commit()


def key(path: Path) -> None:
    path.unlink(missing_ok=True)  # a key that is there is never replaced
    load_key(path)


def templates(path: Path) -> None:
    write_templates(path, Choice("{}", "no {}", 1, 2, 2, 0.5, 0.6, 0.5, 0.6, 0.0, 0.2, 0))


def report(path: Path) -> None:
    write_report(new_object("1.2.840.10008.5.1.4.1.1.88.34", path.stem), path.parent, overwrite=True)


# File → what writes it, and whether a half-written one is worth keeping.
KINDS: dict[str, tuple[Callable[[Path], object], bool]] = {
    "predictions.csv": (table, True),
    "predictions.jsonl": (table, True),
    "predictions.shard": (shardlog, True),
    "predictions.run.json": (lambda path: write_json(path, {}), False),
    "pseudonym.key": (key, False),
    "calibration.json": (lambda path: write_calibration(path, Calibration({}, None)), False),
    "templates.yaml": (templates, False),
    "sheet.html": (lambda path: write_contact_sheet(path, SEARCHED, [], lambda _: iter(())), False),
    "check.html": (lambda path: write_page(path, "pairs.csv", [], []), False),
    "curves.html": (lambda path: write_curves(path.parent), False),
    "run.json": (lambda path: RunFolder(path.parent).note_resumption({}), False),
    "nonfinite-00000001.json": (lambda path: RunFolder(path.parent).note_nonfinite(1, float("nan"), ["a"]), False),
    "2.25.7.dcm": (report, False),
    "labels.csv": (lambda path: examples.write_examples(path.parent), False),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_full_disk_leaves_the_output_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    path, (write, is_kept) = tmp_path / name, KINDS[name]
    monkeypatch.setattr(examples, "EXAMPLES", ())
    path.write_text(old := json.dumps({"resumed": []}))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WriteError, match=f"{name} cannot be written: No space left"):
            write(path)
    names = {name} if name != "pseudonym.key" else set()
    assert {p.name for p in tmp_path.iterdir()} == names | ({f"{name}.partial"} if is_kept else set())
    assert all((tmp_path / name).read_text() == old for name in names)
    write(path)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert path.read_bytes() != old.encode()


# They add to a file, fill a folder that gets its name when it is complete, or have a file without a name or under
# another one (objects that arrive are `.part` until they are on disk, a job's progress is renamed into its place).
OTHER_WAYS = {
    "files",
    "cluster/events",
    "cluster/slicing",
    "cluster/slurm/job",
    "node/lines",
    "node/objects",
    "heatmap/folder",
    "embeddings/npz",  # members of a .zip file that is written whole
    "worklist/look",
    "pipeline/slots",
    "train/data/store",
    "train/measure/metricslog",
    "convert/graphs",
    "convert/importer",
    "convert/onnx_export",
    "convert/own/importer",
    "convert/own/scorer",
    "train/model/export",
}


def test_nothing_else_writes_files() -> None:
    """`write_text` and the like, and `open` to write: outside `cxrzero/files.py` they leave half a file behind."""
    package = Path(cxrzero.__file__).parent
    found = {
        path.relative_to(package).with_suffix("").as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and _writes(node)
    }
    downloads = {module for module in found if module.startswith("registry/")}  # resumed where they were cut off
    assert found - downloads == OTHER_WAYS


def _writes(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    values = [each.value for each in [*call.args, *(k.value for k in call.keywords)] if isinstance(each, ast.Constant)]
    return name in ("write_text", "write_bytes") or (
        name in ("open", "fdopen") and any(re.fullmatch(r"[wax][bt+]*|rb?\+b?", str(value)) for value in values)
    )
