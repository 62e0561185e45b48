from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from typer.testing import CliRunner

from cxrzero.cli import app
from cxrzero.model.bundle import load_bundle
from cxrzero.model.preprocess import Preprocess
from cxrzero.phantom import draw
from cxrzero.phantom.dicom import write_dicom
from tests.support.bundle import SIDE

Draw = Callable[..., Path]


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A MONOCHROME1 phantom whose header names a patient."""
    path = tmp_path / "MILLER_ANNA.dcm"
    write_dicom(path, draw(1, 64), photometric="MONOCHROME1", bits_stored=12)
    dataset = pydicom.dcmread(path)
    dataset.PatientName, dataset.PatientID, dataset.StudyDate = "SECRET^NAME", "MRN-31337", "19991231"
    dataset.save_as(path)
    return path


def test_shows_facts_flags_and_steps_and_names_nobody(film: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(film)])
    assert result.exit_code == 0, result.output
    for part in ("MONOCHROME1", "window", "invert", "low_resolution:", "64 × 64 pixels"):
        assert part in result.output
    uid = str(pydicom.dcmread(film).StudyInstanceUID)
    for secret in ("SECRET", "31337", "19991231", uid):
        assert secret not in result.output


def test_png_shows_the_upright_picture_and_what_the_model_sees(film: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["inspect", str(film), "--png", str(tmp_path / "seen"), "--model", str(tiny_bundle)]
    )
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (tmp_path / "seen").iterdir())
    assert names == ["0001_1_model.png", "0001_1_upright.png"]
    upright = np.asarray(Image.open(tmp_path / "seen/0001_1_upright.png"))
    drawn = draw(1, 64).to_uint8()
    assert np.corrcoef(upright.ravel(), drawn.ravel())[0, 1] > 0.999
    seen = np.asarray(Image.open(tmp_path / "seen/0001_1_model.png"))
    bundle = load_bundle(tiny_bundle)
    expected = Image.fromarray(upright).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(seen, np.asarray(expected))
    assert Preprocess(bundle.preprocess, bundle.image_size).picture(
        Preprocess(bundle.preprocess, bundle.image_size)(upright)
    ).shape == (SIDE, SIDE)


def test_a_file_that_cannot_be_read_exits_3_and_the_others_are_shown(png: Draw, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"")
    result = CliRunner().invoke(app, ["inspect", str(tmp_path / "broken.png"), str(png("a.png"))])
    assert result.exit_code == 3
    assert "failed: empty_file" in result.output
    assert "32 × 40 pixels" in result.output


def test_wrong_usage(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["inspect", str(tmp_path / "nowhere")]).exit_code == 2
