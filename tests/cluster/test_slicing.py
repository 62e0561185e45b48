"""The walk on disk, cut into slices; a slice's films, read back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxrzero.cluster.plan import PlanFolder, Sliced, read_plan, task_of
from cxrzero.cluster.slices import refs_of
from cxrzero.cluster.slicing import Group, cut, save, starts_of, write_walk
from cxrzero.errors import ImageError, OutputError, RunError, SkippedImage, UsageError
from cxrzero.predict.shard import Shard
from cxrzero.predict.shardlog import ShardLog
from cxrzero.sources import ImageRef


def test_slices_are_of_equal_size_and_cover_everything() -> None:
    assert starts_of(10, 4) == [0, 2, 5, 7]
    assert starts_of(10, 1) == [0]
    assert starts_of(3, 8) == [0, 1, 2]


@pytest.mark.parametrize(
    ("films", "groups", "starts"),
    [
        (16, [Group(0, 7)], [0, 8]),
        (16, [Group(6, 3)], [0, 9]),  # a slice would begin in it, at 8: its end is nearer
        (16, [Group(7, 5)], [0, 7]),
        (20, [Group(0, 11)], [0, 10]),  # larger than a slice
        (20, [Group(0, 10), Group(10, 10)], [0, 10]),
    ],
)
def test_a_container_is_cut_only_where_it_is_larger_than_a_slice(
    films: int, groups: list[Group], starts: list[int]
) -> None:
    assert starts_of(films, 2, groups) == starts


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 12))
def test_no_container_of_up_to_a_slice_is_in_two(sizes: list[int], tasks: int) -> None:
    firsts = [sum(sizes[:index]) for index in range(len(sizes))]
    films = sum(sizes)
    starts = starts_of(films, tasks, [Group(*each) for each in zip(firsts, sizes, strict=True)])
    assert starts == sorted({*starts})
    assert starts[0] == 0
    assert starts[-1] < films
    assert len(starts) <= tasks
    for first, size in zip(firsts, sizes, strict=True):
        if size <= films / tasks:
            assert not any(first < start < first + size for start in starts)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[PlanFolder]:
    with closing(PlanFolder(tmp_path / "x.plan")) as made:
        yield made


def planned(folder: PlanFolder, refs: list[ImageRef], tasks: int) -> Sliced:
    walked = write_walk(folder, refs)
    plan = Sliced(
        asked="",
        options={},
        folder=os.getcwd(),
        host="here",
        films=walked.films,
        walk=walked.digest.hex(),
        ignored=0,
        unopened=0,
        not_fetched=None,
        made="",
        slices=cut(folder, walked, tasks),
    )
    save(folder, plan)
    return plan


def test_what_the_walk_found_comes_back_from_the_slices(folder: PlanFolder, tmp_path: Path) -> None:
    here = tmp_path / "here.png"
    here.write_bytes(b"12345")
    status = here.stat()
    refs = [
        ImageRef(str(here), None, (1, 2, 3)),
        ImageRef(os.fsdecode(b'odd "\xe9\n\\.dcm'), None, None),
        ImageRef("gone", ImageError("broken_link", "the link leads to nothing")),
        ImageRef("left", SkippedImage("system_file", "left by the system", facts=("a", "b", "c", "d", "e", "f"))),
        ImageRef("s3://bucket/a.dcm", None, b"object\0s3://bucket/a.dcm\xff7", is_anew=True),
    ]
    plan = planned(folder, refs, 2)
    assert read_plan(folder.path) == plan
    assert [(each.first, each.films) for each in plan.slices] == [(0, 2), (2, 3)]
    found = [ref for number in (1, 2) for ref in refs_of(task_of(folder.path, number))]
    assert [ref.path for ref in found] == [ref.path for ref in refs]
    assert [ref.position for ref in found] == [0, 1, 2, 3, 4]
    # what a file is now, not what it was: its content is read now
    assert found[0].identity == (5, status.st_mtime_ns, status.st_ino)
    assert found[1].identity is None
    assert found[4].identity == refs[4].identity
    assert [ref.is_anew for ref in found] == [False, False, False, False, True]
    for ref, was in zip(found, refs, strict=True):
        assert type(ref.error) is type(was.error)
        if ref.error and was.error:
            assert (str(ref.error), ref.error.facts) == (str(was.error), was.error.facts)
    log = ShardLog("x.csv", Shard(1, 1))
    list(log.take(refs))
    assert plan.walk == log.record()["walk"]


def test_a_slice_that_is_not_as_it_was_planned_is_found_out(folder: PlanFolder) -> None:
    planned(folder, [ImageRef(f"{number}.dcm") for number in range(6)], 2)
    task = task_of(folder.path, 2)
    with pytest.raises(RunError, match="slice 2 is damaged"):
        refs_of(replace(task, content=task.content.replace(b"4.dcm", b"5.dcm")))
    with pytest.raises(RunError, match="slice 2 has other films"):
        refs_of(replace(task, first=2))
    with pytest.raises(RunError, match="slice 2 has other films"):
        refs_of(replace(task, films=2))


def test_the_folder_of_a_plan_is_private_and_of_one_driver(folder: PlanFolder, tmp_path: Path) -> None:
    assert folder.path.stat().st_mode & 0o777 == 0o700
    with pytest.raises(OutputError, match="another run is at work"):
        PlanFolder(tmp_path / "x.plan")
    folder.close()
    PlanFolder(tmp_path / "x.plan").close()  # as after a kill: the lock ends with the process
    mine = tmp_path / "mine.plan"
    mine.mkdir()
    (mine / "letters").write_text("dear")
    with pytest.raises(UsageError, match="in the way"):
        PlanFolder(mine)
    assert (mine / "letters").exists()


def test_a_plan_that_was_cut_short_is_none(folder: PlanFolder) -> None:
    write_walk(folder, [ImageRef("a.dcm")])
    assert folder.read() is None
    (folder.path / "plan.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        folder.read()
