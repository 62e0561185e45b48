"""The file of studies: each line whole, and once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cxrzero.errors import WriteError
from cxrzero.images.radiograph import Facts
from cxrzero.node.lines import line_of, write_lines
from cxrzero.prediction import Prediction


def test_what_a_killed_node_wrote_and_did_not_note_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "studies.jsonl"
    end = write_lines(path, 0, ["one\n"])
    write_lines(path, end, ["two, which is longer\n"])  # killed before the queue knew
    end = write_lines(path, end, ["two\n", "three\n"])
    assert path.read_text() == "one\ntwo\nthree\n"
    assert end == path.stat().st_size
    assert path.stat().st_mode & 0o77 == 0


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "studies.jsonl"
    end = write_lines(path, 0, ["a long line\n"])
    path.rename(tmp_path / "studies.jsonl.1")
    assert write_lines(path, end, ["b\n"]) == 2
    assert path.read_text() == "b\n"


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(WriteError, match="cannot be written"):
        write_lines(tmp_path / "nowhere" / "studies.jsonl", 0, ["a\n"])


def test_a_line_says_what_by_study_says() -> None:
    """The mean of the frontal views; a lateral one and one that failed are left out and counted."""
    labels = {"edema": None}

    def row(uid: str, score: float, *flags: str) -> Prediction:
        facts = Facts(study_instance_uid="1.2", sop_instance_uid=uid)
        return Prediction("x/1", labels, "ok", 1, facts, frozenset(flags), scores={"edema": score})

    rows = [row("1.4.1", 0.25), row("1.4.2", 0.75), row("1.4.3", 0.875, "lateral")]
    rows.append(Prediction("x/1", labels, "failed", facts=Facts("", "", "", "1.2"), code="truncated"))
    assert json.loads(line_of("1.2", "2026-11-27T12:00:00.000+00:00", rows)) == {
        "scored_at": "2026-11-27T12:00:00.000+00:00",
        "study": "1.2",
        "sop_instance_uids": ["1.4.1", "1.4.2", "1.4.3"],
        "images_used": 2,
        "images_left_out": 2,
        "left_out_reasons": "failed_truncated:1;lateral:1",
        "scores": {"edema": 0.5},
    }
