"""Wheels travel in parts, come together as what they were or not at all, and are imported before what is there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.wheels import WheelsError, install, join_all, join_each, main, open_namespace, parse_size, split_all
from tests.support import REPO
from tests.support.needs import modules

NAME = "thing_gpu-2.0-py3-none-any.whl"
DATA = bytes(range(256)) * 10


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A folder with a wheel of 2,560 bytes cut into parts of 1,000."""
    folder = tmp_path / "wheels"
    folder.mkdir()
    (folder / NAME).write_bytes(DATA)
    split_all(folder, 1000)
    return folder


def test_a_wheel_is_cut_and_joined_wherever_its_parts_lie(parts: Path) -> None:
    names = sorted(path.name for path in parts.iterdir())
    assert names == [f"{NAME}.part000", f"{NAME}.part001", f"{NAME}.part002", f"{NAME}.parts.json"]
    assert [(parts / name).stat().st_size for name in names[:3]] == [1000, 1000, 560]
    (parts / "second").mkdir()
    (parts / names[1]).rename(parts / "second" / names[1])
    assert join_all(parts) == [parts / NAME]
    assert (parts / NAME).read_bytes() == DATA
    assert join_all(parts) == [parts / NAME], "joining again does nothing"


def test_a_wheel_no_larger_than_a_part_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(DATA)
    assert split_all(tmp_path, len(DATA)) == []
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


def damage(part: Path) -> None:
    part.write_bytes(bytes(1000))


def shorten(part: Path) -> None:
    part.write_bytes(part.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("harm", "words"),
    [(Path.unlink, "is missing"), (damage, "is not the part"), (shorten, "is not the part")],
)
def test_what_does_not_fit_is_refused_and_leaves_nothing(parts: Path, harm: Callable[[Path], None], words: str) -> None:
    harm(parts / f"{NAME}.part001")
    with pytest.raises(WheelsError, match=rf"{NAME}\.part001.* {words}|part001 {words}"):
        join_all(parts)
    assert not [path for path in parts.iterdir() if path.suffix not in (".json",) and ".part0" not in path.name]


def test_one_wheel_that_does_not_fit_leaves_the_others(parts: Path) -> None:
    other = parts / "other-1.0-py3-none-any.whl"
    other.write_bytes(DATA)
    split_all(parts, 1000)
    damage(parts / f"{NAME}.part001")
    refused = join_each(parts)
    assert list(refused) == [NAME]
    assert "is not the part" in refused[NAME]
    assert other.read_bytes() == DATA
    assert not (parts / NAME).exists()


def test_parts_in_another_order_are_not_the_wheel(parts: Path) -> None:
    manifest = parts / f"{NAME}.parts.json"
    whole = json.loads(manifest.read_text(encoding="utf-8"))
    first, second, last = whole["parts"]
    (parts / "kept").write_bytes((parts / first["name"]).read_bytes())
    (parts / first["name"]).write_bytes((parts / second["name"]).read_bytes())
    (parts / "kept").rename(parts / second["name"])
    whole["parts"] = [second | {"name": first["name"]}, first | {"name": second["name"]}, last]
    manifest.write_text(json.dumps(whole), encoding="utf-8")
    with pytest.raises(WheelsError, match="do not make the wheel"):
        join_all(parts)


@pytest.mark.parametrize(
    "change",
    [
        {"wheel": "../outside.whl"},
        {"wheel": "thing-3.0-py3-none-any.whl"},
        {"parts": [{"name": "/etc/passwd", "size": 1, "sha256": "0" * 64}]},
        {"parts": None},
        {"sha256": "0"},
    ],
)
def test_a_manifest_that_names_other_files_is_none(parts: Path, change: dict[str, object]) -> None:
    manifest = parts / f"{NAME}.parts.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text(encoding="utf-8")) | change), encoding="utf-8")
    with pytest.raises(WheelsError, match="is no manifest"):
        join_all(parts)


def test_a_manifest_nested_too_deeply_is_none(parts: Path) -> None:
    (parts / f"{NAME}.parts.json").write_text("[" * 100_000, encoding="utf-8")
    with pytest.raises(WheelsError, match="is no manifest"):
        join_all(parts)


@pytest.mark.parametrize("command", [["split"], ["join"], ["install", "site"]])
@pytest.mark.parametrize("folder", ["nowhere", NAME])
def test_what_is_no_folder_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], folder: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).write_bytes(DATA)
    monkeypatch.setattr(sys, "argv", ["wheels.py", command[0], folder, *command[1:]])
    with pytest.raises(SystemExit, match=f"{folder} is no folder"):
        main()


def test_sizes_are_in_thousands() -> None:
    assert [parse_size(text) for text in ("20M", "512", "3K", "1G")] == [20_000_000, 512, 3000, 1_000_000_000]


@pytest.mark.slow
def test_a_wheel_comes_before_what_the_machine_has(tmp_path: Path) -> None:
    modules("pip")
    write_package(tmp_path / "environment", "thing", "1.0")
    write_wheel(tmp_path / "wheels" / NAME)
    split_all(tmp_path / "wheels", 200)
    assert [wheel.name for wheel in install(tmp_path / "wheels", tmp_path / "site")] == [NAME]
    asks = (
        "import json, pathlib, sys, thing; from benchmarks.wheels import origin; "
        "site = pathlib.Path(sys.argv[1]); "
        "print(json.dumps([thing.VERSION, origin('thing', site), origin('nothing', site)]))"
    )
    path = os.pathsep.join(str(each) for each in (tmp_path / "site", REPO, tmp_path / "environment"))
    command = [sys.executable, "-c", asks, str(tmp_path / "site")]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True)
    version, found, absent = json.loads(done.stdout)
    assert version == "2.0"
    assert found == {"distribution": "thing-gpu 2.0", "from": "wheels", "shadowed": ["thing 1.0"]}
    assert absent == {"distribution": None, "from": None, "shadowed": []}


@pytest.mark.slow
def test_pip_says_why_a_wheel_is_none(tmp_path: Path) -> None:
    modules("pip")
    (tmp_path / NAME).write_bytes(DATA)
    with pytest.raises(WheelsError, match="pip cannot install"):
        install(tmp_path, tmp_path / "site")


def test_an_empty_init_does_not_hide_what_others_have_of_a_shared_folder(tmp_path: Path) -> None:
    init = tmp_path / "__init__.py"
    init.write_text("__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n", encoding="utf-8")
    open_namespace(tmp_path)
    assert init.exists(), "it lets the others in itself"
    init.write_text("# a licence\n\n", encoding="utf-8")
    open_namespace(tmp_path)
    assert not init.exists()


def write_package(site: Path, name: str, version: str) -> None:
    """A distribution as it is installed, with the module `thing`."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir(parents=True)
    (site / "thing").mkdir()
    (site / "thing" / "__init__.py").write_text(f"VERSION = {version!r}\n", encoding="utf-8")
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    (info / "RECORD").write_text(f"thing/__init__.py,,\n{info.name}/METADATA,,\n", encoding="utf-8")


def write_wheel(path: Path) -> None:
    path.parent.mkdir()
    info = "thing_gpu-2.0.dist-info"
    content = {
        "thing/__init__.py": "VERSION = '2.0'\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: thing-gpu\nVersion: 2.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
