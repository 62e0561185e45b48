"""The documentation keeps up with the program."""

import re
from pathlib import Path

import pytest
import typer

from cxrzero.cli import app
from cxrzero.images.flags import FLAGS
from tests.support import REPO

README = (REPO / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    document
    for pattern in ("*.md", "docs/*.md", "models/*/README.md", "benchmarks/README.md", "examples/README.md")
    for document in sorted(REPO.glob(pattern))
]


def commands() -> list[str]:
    return sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_every_command_is_in_the_readme() -> None:
    for command in commands():
        assert f"cxrzero {command}" in README


def test_every_option_in_the_documents_exists() -> None:
    known = {"--help", "--version"}
    top = list(typer.main.get_command(app).commands.values())  # type: ignore[attr-defined]
    for command in [*top, *(inner for group in top for inner in getattr(group, "commands", {}).values())]:
        known |= {option for parameter in command.params for option in parameter.opts}
    for line in re.findall(r"^(?: {4}|.*`)cxrzero .*", README, flags=re.MULTILINE):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]*", line):
            assert option in known, line


def test_the_commands_of_the_readme_are_targets() -> None:
    makefile = (REPO / "Makefile").read_text()
    for target in ("demo", "test", "docs"):
        assert f"make {target}" in README
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPO)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_every_flag_is_documented() -> None:
    text = (REPO / "docs" / "images.md").read_text(encoding="utf-8")
    for flag in FLAGS:
        assert f"`{flag}`" in text


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPO)))
def test_prose_is_wrapped(document: Path) -> None:
    """So that a change of a sentence shows as a change of its lines; tables and commands are as long as they are."""
    for line in document.read_text(encoding="utf-8").splitlines():
        assert len(line) <= 120 or line.startswith(("|", "    ", "<!--")), line
