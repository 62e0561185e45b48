"""A bright blob at a known pixel of a film is found there, whatever turns, squeezes or cuts the film on its way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import UID, ExplicitVRLittleEndian

from cxrzero import Screener
from cxrzero.heatmap.cells import Axis, patch_axes
from cxrzero.heatmap.heights import peak_of
from cxrzero.heatmap.places import Line, lines_of, onto_frame
from cxrzero.images.radiograph import StoredFrame
from cxrzero.model.preprocess import Preprocess
from tests.support.films import DX
from tests.support.onnxfile import FLOAT, model, node, value
from tests.support.patches import LABEL, write_patch_bundle

RESCALE = {"step": "rescale", "factor": 1 / 255}
SQUEEZE = [{"step": "resize", "height": 32, "width": 32, "interpolation": "bilinear"}, RESCALE]
CUT: list[dict[str, Any]] = [
    {"step": "stretch", "rounding": "floor"},  # moves nothing
    {"step": "resize_shortest", "size": 32, "interpolation": "bicubic"},
    {"step": "center_crop", "height": 32, "width": 32},
    RESCALE,
]
LETTERBOX = [
    {"step": "resize_longest", "size": 48, "interpolation": "lanczos"},
    {"step": "pad_to_square", "size": 48, "fill": 0},
    RESCALE,
    {"step": "resize_tensor", "size": 32, "interpolation": "bicubic", "antialias": False},
]
SQUARED = [{"step": "expand_to_square", "minimum": 32, "fill": 0}, *SQUEEZE]
# Places of the blob, in shares of the stored rows and columns: off the middle both ways, so that no turn hides.
SPOTS = ((0.3, 0.62), (0.71, 0.36))


def blob(rows: int, columns: int, row: float, column: float, radius: float) -> np.ndarray[Any, Any]:
    """Bright on dark; `radius` is in shares of the sides."""
    y, x = np.mgrid[0:rows, 0:columns]
    away = ((y + 0.5) / rows - row) ** 2 + ((x + 0.5) / columns - column) ** 2
    return np.rint(40 + 200 * np.exp(-away / (2 * radius**2))).astype(np.uint8)


def write_dicom(path: Path, pixels: np.ndarray[Any, Any], **elements: Any) -> Path:
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = DX
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID("2.25.77")
    dataset.Modality, dataset.ViewPosition = "DX", "PA"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    for name, content in elements.items():
        setattr(dataset, name, content)
    dataset.PixelData = pixels.tobytes() + b"\0" * (pixels.size % 2)
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture(scope="module")
def screeners(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Screener]:
    folder = tmp_path_factory.mktemp("bundles")
    ways: dict[str, list[dict[str, Any]]] = {
        "squeeze": SQUEEZE,
        "cut": CUT,
        "letterbox": LETTERBOX,
        "squared": SQUARED,
    }
    made = {name: write_patch_bundle(folder / name, preprocess=steps) for name, steps in ways.items()}
    made["padded"] = write_patch_bundle(folder / "padded", pad=2)
    return {name: Screener(path, device="cpu", cache=False) for name, path in made.items()}


def found(screener: Screener, film: Path, method: Any = "patch") -> tuple[int, int]:
    maps = screener.heatmap(film, [LABEL], method=method)
    return maps.peak(0)


@pytest.mark.parametrize("spot", SPOTS)
@pytest.mark.parametrize("size", [(211, 157), (97, 230)])
@pytest.mark.parametrize("way", ["squeeze", "cut", "letterbox", "squared", "padded"])
def test_a_blob_is_found_where_it_is(
    screeners: dict[str, Screener], tmp_path: Path, way: str, size: tuple[int, int], spot: Sequence[float]
) -> None:
    rows, columns = size
    # A film much wider than high is cut on both sides: what the model does not see cannot be found.
    row, column = spot if way != "cut" else (0.5 + (spot[0] - 0.5) / 3, 0.5 + (spot[1] - 0.5) / 3)
    Image.fromarray(blob(rows, columns, row, column, 0.03)).save(tmp_path / "film.png")
    x, y = found(screeners[way], tmp_path / "film.png")
    side = min(size) if way == "cut" else max(size) if way == "letterbox" else 0
    cell = (side / 8, side / 8) if side else (columns / 8, rows / 8)  # of 8 × 8 patches, in pixels of the film
    assert abs(x + 0.5 - column * columns) <= cell[0] / 2 + 1
    assert abs(y + 0.5 - row * rows) <= cell[1] / 2 + 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_a_turned_film_is_mapped_as_it_is_stored(
    screeners: dict[str, Screener], tmp_path: Path, orientation: int, file_format: str
) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"film.{file_format.lower()}"
    Image.fromarray(blob(211, 157, 0.3, 0.62, 0.03)).save(path, file_format, exif=exif)
    maps = screeners["letterbox"].heatmap(path, [LABEL], method="patch")
    assert (maps.rows, maps.columns, maps.orientation) == (211, 157, orientation)
    x, y = maps.peak(0)
    assert abs(x + 0.5 - 0.62 * 157) <= 211 / 16 + 1
    assert abs(y + 0.5 - 0.3 * 211) <= 211 / 16 + 1
    turned = maps.upright(0)
    assert turned.shape == (maps.maps.shape[1:] if orientation < 5 else maps.maps.shape[:0:-1])
    wide = screeners["letterbox"].decode(str(path))
    assert (next(wide).pixels.shape == (211, 157)) == (orientation < 5)


@pytest.mark.parametrize("orientation", [3, 6, 7])
def test_a_film_that_its_reader_turns_is_mapped_as_it_is_stored(
    screeners: dict[str, Screener], tmp_path: Path, orientation: int
) -> None:
    """Fax compression is left to libtiff, whose pictures Pillow turns upright by itself."""
    bilevel = Image.fromarray(blob(211, 157, 0.3, 0.62, 0.05) > 140)
    bilevel.save(tmp_path / "film.tif", compression="group4", tiffinfo={274: orientation})
    maps = screeners["squeeze"].heatmap(tmp_path / "film.tif", [LABEL], method="patch")
    assert (maps.rows, maps.columns, maps.orientation) == (211, 157, orientation)
    x, y = maps.peak(0)
    assert abs(x + 0.5 - 0.62 * 157) <= 157 / 16 + 1
    assert abs(y + 0.5 - 0.3 * 211) <= 211 / 16 + 1


@pytest.mark.parametrize("method", ["patch", "occlusion"])
@pytest.mark.parametrize("spacing", [["0.4", "0.15"], ["0.15", "0.4"]])
def test_a_film_of_oblong_pixels(
    screeners: dict[str, Screener], tmp_path: Path, spacing: list[str], method: str
) -> None:
    film = write_dicom(tmp_path / "film.dcm", blob(101, 163, 0.3, 0.62, 0.04), PixelSpacing=spacing)
    maps = screeners["letterbox"].heatmap(film, [LABEL], method=method)  # type: ignore[arg-type]
    assert (maps.rows, maps.columns) == (101, 163)
    ratio = float(spacing[0]) / float(spacing[1])
    upright = (101 * max(1, ratio), 163 * max(1, 1 / ratio))
    cell = max(upright) / 8  # in pixels of the upright film, which are square
    x, y = maps.peak(0)
    assert abs(x + 0.5 - 0.62 * 163) * max(1, 1 / ratio) <= cell / 2 + 2
    assert abs(y + 0.5 - 0.3 * 101) * max(1, ratio) <= cell / 2 + 2


@pytest.mark.parametrize("spot", SPOTS)
@pytest.mark.parametrize("way", ["squeeze", "cut", "letterbox"])
def test_occlusion_finds_it_too(
    screeners: dict[str, Screener], tmp_path: Path, way: str, spot: Sequence[float]
) -> None:
    row, column = spot if way != "cut" else (0.5 + (spot[0] - 0.5) / 3, 0.5 + (spot[1] - 0.5) / 3)
    Image.fromarray(blob(211, 157, row, column, 0.04)).save(tmp_path / "film.png")
    x, y = found(screeners[way], tmp_path / "film.png", "occlusion")
    assert abs(x + 0.5 - column * 157) <= 211 / 16 + 1  # a cell of occlusion is a 16th of the longer side
    assert abs(y + 0.5 - row * 211) <= 211 / 16 + 1


def test_what_was_cut_off_is_lowest_and_no_peak_is_there(screeners: dict[str, Screener], tmp_path: Path) -> None:
    film = tmp_path / "film.png"
    Image.fromarray(blob(90, 240, 0.5, 0.03, 0.05)).save(film)  # the blob is in the part that center_crop drops
    maps = screeners["cut"].heatmap(film, [LABEL], method="patch")
    # resize_shortest: 32 × int(32 · 240 / 90) = 85; center_crop: from round(53 / 2) = 26 on, of 85
    assert maps.seen == (int(26 / 85 * 240), 0, -(-58 * 240 // 85), 90)
    at = (np.arange(maps.maps.shape[2]) + 0.5) * 240 / maps.maps.shape[2]
    outside = (at < maps.seen.left) | (at > maps.seen.right)
    assert outside.any()
    assert (maps.maps[0][:, outside] == maps.maps[0].min()).all()
    assert maps.seen.left <= maps.peak(0)[0] < maps.seen.right


def test_an_element_is_the_mean_over_its_pixels() -> None:
    """One row of three cells on a frame of 5 columns: computed by hand at each pixel, then by thirds of 5 pixels."""
    values = np.array([[[0.0, 3.0, 6.0]]], np.float32)
    axes = Axis(0.5, 1.0), Axis(0.0, 2.5)  # middles of the cells at 0, 2.5 and 5
    maps, seen = onto_frame(values, axes, (1, 5), StoredFrame(1, 5), (0, 0, 5, 1))
    np.testing.assert_allclose(maps[0, 0], [0.6, 1.8, 3.0, 4.2, 5.4], atol=1e-6)  # at 0.5, 1.5 … pixels of 1.2 each
    assert seen == (0, 0, 5, 1)


def test_large_frames_have_small_maps_of_the_same_mean() -> None:
    values = np.random.default_rng(0).normal(size=(2, 7, 7)).astype(np.float32)
    axes = Axis(90, 180), Axis(75, 150)
    size = (1260, 1050)
    seen = (0.0, 0.0, 1050.0, 1260.0)
    maps, _ = onto_frame(values, axes, size, StoredFrame(*size), seen)
    assert maps.shape == (2, 256, 213)
    places = np.clip((np.arange(1260) + 0.5 - 90) / 180, 0, 6), np.clip((np.arange(1050) + 0.5 - 75) / 150, 0, 6)
    rows = np.stack([np.interp(places[0], np.arange(7), values[0, :, j]) for j in range(7)], axis=1)
    whole = np.stack([np.interp(places[1], np.arange(7), row) for row in rows])
    np.testing.assert_allclose(maps[0].mean(), whole.mean(), atol=1e-5)
    np.testing.assert_allclose(maps[0, 0, 0], _part(whole, 1260 / 256, 1050 / 213), atol=1e-5)


def _part(whole: np.ndarray[Any, Any], height: float, width: float) -> float:
    """The mean of the upper left part, whose sides are no whole numbers."""
    rows = np.clip(height - np.arange(len(whole)), 0, 1)
    columns = np.clip(width - np.arange(whole.shape[1]), 0, 1)
    return float((whole * rows[:, None] * columns).sum() / (height * width))


def test_lines_of_every_step() -> None:
    preprocess = Preprocess(LETTERBOX, (32, 32))
    down, across = lines_of(preprocess.fit, (100, 60), (32, 32))
    # 100 × 60 → 48 × 28 (int(60 · 0.48)), pasted at column (48 − 28) // 2 = 10, then 48 → 32
    assert down == pytest.approx(Line(48 / 100 * 32 / 48, 0))
    assert across == pytest.approx(Line(28 / 60 * 32 / 48, 10 * 32 / 48))


@pytest.mark.parametrize(
    ("kernel", "stride", "pads", "grid", "axis"),
    [
        ([4, 4], [4, 4], [0, 0, 0, 0], 8, Axis(2, 4)),  # a vision transformer's squares
        ([3, 3], [4, 4], [1, 1, 1, 1], 8, Axis(0.5, 4)),  # symmetric padding: the first is centred on the first pixel
        ([5, 5], [4, 4], [2, 2, 2, 2], 8, Axis(0.5, 4)),
        ([4, 4], [4, 4], [2, 2, 0, 0], 8, Axis(0, 4)),
    ],
)
def test_middles_of_patches_follow_from_the_graph(
    tmp_path: Path, kernel: list[int], stride: list[int], pads: list[int], grid: int, axis: Axis
) -> None:
    nodes = [
        node("AveragePool", ["pixel_values"], ["a"], kernel_shape=kernel, strides=stride, pads=pads),
        node("Transpose", ["a"], ["patch_embeds"], perm=[0, 2, 3, 1]),
    ]
    given, made = value("pixel_values", FLOAT, ["N", 3, 32, 32]), value("patch_embeds", FLOAT, ["N", grid, grid, 3])
    (tmp_path / "patch_encoder.onnx").write_bytes(model(nodes, {}, given, made))
    assert patch_axes(tmp_path / "patch_encoder.onnx", (grid, grid), (32, 32)) == (axis, axis)


def test_two_strides_are_followed_back_one_after_the_other(tmp_path: Path) -> None:
    """EfficientNet's: each output is centred on every second input, so the last on every fourth, from the corner on."""
    nodes = [
        node("AveragePool", ["pixel_values"], ["a"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("AveragePool", ["a"], ["b"], kernel_shape=[5, 5], strides=[2, 2], pads=[2, 2, 2, 2]),
        node("Transpose", ["b"], ["patch_embeds"], perm=[0, 2, 3, 1]),
    ]
    given, made = value("pixel_values", FLOAT, ["N", 3, 32, 32]), value("patch_embeds", FLOAT, ["N", 8, 8, 3])
    (tmp_path / "patch_encoder.onnx").write_bytes(model(nodes, {}, given, made))
    assert patch_axes(tmp_path / "patch_encoder.onnx", (8, 8), (32, 32)) == (Axis(0.5, 4), Axis(0.5, 4))


def test_a_graph_that_is_not_followed_has_squares_from_the_edge_on(tmp_path: Path) -> None:
    nodes = [
        node("Resize", ["pixel_values"], ["a"]),
        node("AveragePool", ["a"], ["patch_embeds"], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
    ]
    given, made = value("pixel_values", FLOAT, ["N", 3, 384, 384]), value("patch_embeds", FLOAT, ["N", 27, 27, 3])
    (tmp_path / "patch_encoder.onnx").write_bytes(model(nodes, {}, given, made))
    # 27 squares of 14 pixels; the last 6 pixels of 384 are in none
    assert patch_axes(tmp_path / "patch_encoder.onnx", (27, 27), (384, 384)) == (Axis(7, 14), Axis(7, 14))


def test_maps_of_nothing_hit_boxes_as_often_as_their_share() -> None:
    """Random numbers in the cells: no place of the film, neither its middle nor its edges, draws more peaks."""
    rng = np.random.default_rng(0)
    size = (64, 51)
    axes = Axis(size[0] / 14, size[0] / 7), Axis(size[1] / 14, size[1] / 7)
    cells = rng.normal(size=(2000, 7, 7)).astype(np.float32)
    maps, _ = onto_frame(cells, axes, size, StoredFrame(*size), (0, 0, 51, 64))
    peaks = np.array([peak_of(each) for each in maps])
    ends = np.sort(rng.uniform(0, 1, (2000, 2, 2)), axis=2)  # of boxes, in shares of the sides
    inside = (peaks + 0.5) / maps.shape[1:]
    hits = ((inside >= ends[..., 0]) & (inside < ends[..., 1])).all(axis=1)
    share = np.prod(ends[..., 1] - ends[..., 0], axis=1).mean()
    assert abs(hits.mean() - share) < 4 * np.sqrt(share * (1 - share) / 2000)
