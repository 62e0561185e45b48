"""Files for people and services around the code say what the code says."""

from __future__ import annotations

import re
from typing import Any

import yaml

import cxrzero
from tests.support import REPO


def read(name: str) -> Any:
    return yaml.safe_load((REPO / name).read_text(encoding="utf-8"))


def test_the_citation_names_this_version_and_the_paper() -> None:
    citation = read("CITATION.cff")
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == cxrzero.__version__
    assert [set(author) for author in citation["authors"]] == [{"name"}], "the project, no persons"
    assert [reference["doi"] for reference in citation["references"]] == ["10.1038/s41551-022-00936-9"]


def test_the_workflow_may_read_only_and_pins_its_actions() -> None:
    workflow = read(".github/workflows/ci.yml")
    assert workflow["permissions"] == {"contents": "read"}
    jobs = workflow["jobs"].values()
    assert all("permissions" not in job for job in jobs)
    used = [step["uses"] for job in jobs for step in job["steps"] if "uses" in step]
    assert used
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", action) for action in used)


def test_the_workflow_runs_on_the_three_systems_that_the_readme_names() -> None:
    systems = read(".github/workflows/ci.yml")["jobs"]["core"]["strategy"]["matrix"]["os"]
    assert [name.split("-")[0] for name in systems] == ["ubuntu", "macos", "windows"]
    assert "Tested on Linux on x86-64" in (REPO / "README.md").read_text(encoding="utf-8")


def test_commits_are_checked_by_the_tools_of_the_tests() -> None:
    (local,) = read(".pre-commit-config.yaml")["repos"]
    assert local["repo"] == "local", "nothing is fetched"
    makefile = (REPO / "Makefile").read_text(encoding="utf-8")
    for hook in local["hooks"]:
        tool = hook["entry"].split()[0].removeprefix(".venv")
        assert f"$(BIN){tool.removeprefix('/bin')}" in makefile
