"""Frames decoded on a GPU: what goes there, what comes back, and what is said; the library is pretended.

It decodes as nvImageCodec does, through imagecodecs: images of one band on a device, None for what it cannot.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import imagecodecs
import numpy as np
import pytest
from typer.testing import CliRunner

from cxrzero import Screener
from cxrzero.cli import app
from cxrzero.errors import DeviceError, ImageError, MissingExtraError, RunError, UsageError
from cxrzero.images import DecodeOptions, Radiograph, decode
from cxrzero.images.codecs import FrameShape
from cxrzero.images.nvjpeg2000 import MOST_FRAMES, NAME, GpuFrames
from tests.support.dicomfile import SYNTAXES, dicom_bytes, encapsulate, encode_frame

FILM = (np.add.outer(np.arange(40) ** 2, np.arange(33) * 31) % 4096).astype(np.uint16)
J2K = SYNTAXES["jpeg2000_lossless"]
SHAPE = FrameShape(40, 33, 1, 16)


class Image:
    def __init__(self, samples: np.ndarray) -> None:
        self._samples = samples

    def cpu(self) -> np.ndarray:
        return self._samples[..., np.newaxis] if self._samples.ndim == 2 else self._samples


class Pretended:
    """The part of nvImageCodec that is used.

    Attributes:
        calls: how many streams each call of a decoder had.
        decode_one: stream → samples or None.
    """

    def __init__(self) -> None:
        self.calls: list[int] = []
        self.decode_one: Callable[[bytes], np.ndarray | None] = imagecodecs.jpeg2k_decode
        self.module = ModuleType("nvidia.nvimgcodec")
        self.module.__dict__.update(
            BackendKind=type("BackendKind", (), {"GPU_ONLY": 1, "HYBRID_CPU_GPU": 3}), Backend=lambda kind: kind,
            ColorSpec=type("ColorSpec", (), {"UNCHANGED": 0}), DecodeParams=dict, CodeStream=self.code_stream,
            Decoder=self.decoder,
        )  # fmt: skip

    def code_stream(self, stream: bytes) -> bytes:
        if stream[:4] != b"\xff\x4f\xff\x51":
            raise RuntimeError("Failed to get image info")
        return stream

    def decoder(self, device_id: int, backends: Sequence[int]) -> Pretended:
        assert backends == [1, 3]  # no backend that computes on the processor
        if device_id > 0:
            raise RuntimeError("CUDA Runtime failure: '#101'")
        return self

    def decode(self, streams: Sequence[bytes], params: dict[str, Any]) -> list[Image | None]:
        assert params == {"apply_exif_orientation": False, "color_spec": 0, "allow_any_depth": True}
        self.calls.append(len(streams))
        found = [self.decode_one(stream) for stream in streams]
        return [None if samples is None else Image(samples) for samples in found]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    pretended, package = Pretended(), ModuleType("nvidia")
    package.__dict__["nvimgcodec"] = pretended.module
    monkeypatch.setitem(sys.modules, "nvidia", package)
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", pretended.module)
    return pretended


def frames_of(path: Path, content: bytes, gpu: GpuFrames, options: DecodeOptions | None = None) -> list[Radiograph]:
    path.write_bytes(content)
    return list(decode(path, options, gpu))


@pytest.mark.parametrize("syntax", ["jpeg2000_lossless", "jpeg2000"])
def test_lossless_frames_are_decoded_there_to_the_same_film(library: Pretended, tmp_path: Path, syntax: str) -> None:
    gpu = GpuFrames()
    content = dicom_bytes([FILM, FILM[::-1].copy()], syntax, BitsStored=12)
    found = frames_of(tmp_path / "a.dcm", content, gpu)
    assert (gpu.on_gpu, gpu.on_cpu) == (2, 0)
    for one, other in zip(found, decode(tmp_path / "a.dcm"), strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        assert (one.steps, one.flags, one.decoder) == (other.steps, other.flags, NAME)


def lossy(pixels: np.ndarray) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="J2K", reversible=False, level=60, bitspersample=12))


HEADER: dict[str, Any] = {"Rows": 40, "Columns": 33, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
                          "PixelRepresentation": 0}  # fmt: skip
WINDOW: dict[str, Any] = {"WindowCenter": "2048", "WindowWidth": "4096"}
LARGE = np.tile(FILM, (6, 7))
ON_THE_PROCESSOR: dict[str, bytes] = {
    "lossy": dicom_bytes(encapsulate([lossy(FILM)]), "jpeg2000", **HEADER),
    "signed": dicom_bytes(FILM.astype(np.int16) - 2048, "jpeg2000_lossless", BitsStored=12),
    "colour": dicom_bytes(np.stack([FILM.astype(np.uint8)] * 3, -1), "jpeg2000_lossless", SamplesPerPixel=3,
                          PhotometricInterpretation="RGB"),
    "JPEG": dicom_bytes(FILM.astype(np.uint8), "jpeg_baseline"),
    "lossless JPEG": dicom_bytes(FILM, "jpeg_lossless_sv1", BitsStored=12),
    "RLE": dicom_bytes(FILM, "rle", BitsStored=12),
    "HTJ2K": dicom_bytes(FILM, "htj2k_lossless", BitsStored=12),
    "HTJ2K that is called JPEG 2000": dicom_bytes(
        encapsulate([bytes(imagecodecs.htj2k_encode(FILM, reversible=True))]), "jpeg2000_lossless", **HEADER),
    "fast": dicom_bytes(LARGE, "jpeg2000_lossless", BitsStored=12, **WINDOW),
}  # fmt: skip


@pytest.mark.parametrize("case", ON_THE_PROCESSOR)
def test_all_others_are_decoded_as_ever_and_counted(library: Pretended, tmp_path: Path, case: str) -> None:
    gpu, options = GpuFrames(), DecodeOptions(fast_side=50 if case == "fast" else None)
    (found,) = frames_of(tmp_path / "a.dcm", ON_THE_PROCESSOR[case], gpu, options)
    (other,) = decode(tmp_path / "a.dcm", options)
    np.testing.assert_array_equal(found.pixels, other.pixels)
    assert (found.decoder, found.steps) == (other.decoder, other.steps)
    assert (gpu.on_gpu, gpu.on_cpu) == (0, 1)


def test_pixels_that_are_not_compressed_are_not_counted(library: Pretended, tmp_path: Path) -> None:
    gpu = GpuFrames()
    assert frames_of(tmp_path / "a.dcm", dicom_bytes(FILM, BitsStored=12), gpu)[0].decoder == "numpy"
    assert (gpu.on_gpu, gpu.on_cpu) == (0, 0)


@pytest.mark.parametrize("answer", [None, FILM[:-1], FILM.astype(np.int16), FILM.astype(np.uint8),
                                    np.stack([FILM] * 3, -1)],
                         ids=["nothing", "a row less", "a sign", "8 bits", "three bands"])  # fmt: skip
def test_what_the_gpu_does_not_decode_the_processor_does(
    library: Pretended, tmp_path: Path, answer: np.ndarray | None
) -> None:
    gpu = GpuFrames()
    library.decode_one = lambda stream: answer
    (found,) = frames_of(tmp_path / "a.dcm", dicom_bytes(FILM, "jpeg2000", BitsStored=12), gpu)
    assert (found.decoder, gpu.on_gpu, gpu.on_cpu) == ("imagecodecs/jpeg2k", 0, 1)


def test_a_jp2_file_in_dicom_is_parsed_by_the_library_or_left_to_the_processor(
    library: Pretended, tmp_path: Path
) -> None:
    boxed = bytes(imagecodecs.jpeg2k_encode(FILM, codecformat="JP2", reversible=True, bitspersample=12))
    gpu = GpuFrames()
    (found,) = frames_of(tmp_path / "a.dcm", dicom_bytes(encapsulate([boxed]), "jpeg2000", **HEADER), gpu)
    assert (found.decoder, gpu.on_gpu, gpu.on_cpu) == ("imagecodecs/jpeg2k", 0, 1)


def test_the_processor_says_what_is_wrong_with_a_stream(library: Pretended, tmp_path: Path) -> None:
    gpu = GpuFrames()
    library.decode_one = lambda stream: None
    stream = bytearray(encode_frame(FILM, "jpeg2000_lossless", 12))
    stream[len(stream) // 2 : -2] = bytes(len(stream[len(stream) // 2 : -2]))
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom_bytes(encapsulate([bytes(stream[:-2])]), "jpeg2000", **HEADER))
    with pytest.raises(ImageError) as caught:
        list(decode(path, None, gpu))
    assert caught.value.code == "truncated"
    assert library.calls[-1] == 1  # of the first check: such a stream is never sent


def test_a_library_that_breaks_down_ends_the_run(library: Pretended) -> None:
    gpu = GpuFrames()

    def fails(stream: bytes) -> np.ndarray:
        raise MemoryError("SECRET")

    library.decode_one = fails
    with pytest.raises(RunError, match=r"GPU failed \(MemoryError\); run without --gpu-decode"):
        gpu(encode_frame(FILM, "jpeg2000_lossless", 12), J2K, SHAPE)
    library.decode_one = imagecodecs.jpeg2k_decode
    assert gpu(encode_frame(FILM, "jpeg2000_lossless", 12), J2K, SHAPE).decoder == NAME


def test_threads_that_wait_share_a_call_and_each_gets_its_own_frame(library: Pretended) -> None:
    gpu = GpuFrames()
    films = [np.roll(FILM, number) for number in range(2 * MOST_FRAMES)]
    first, go_on = threading.Event(), threading.Event()

    def held(stream: bytes) -> np.ndarray:
        first.set()
        assert go_on.wait(30)
        return np.asarray(imagecodecs.jpeg2k_decode(stream))

    library.decode_one = held
    library.calls.clear()
    with ThreadPoolExecutor(len(films)) as pool:
        streams = [encode_frame(film, "jpeg2000_lossless", 12) for film in films]
        found = [pool.submit(gpu, streams[0], J2K, SHAPE)]
        assert first.wait(30)
        found += [pool.submit(gpu, stream, J2K, SHAPE) for stream in streams[1:]]
        while gpu._requests.qsize() < len(films) - 1:
            threading.Event().wait(0.01)
        go_on.set()
        for film, each in zip(films, found, strict=True):
            np.testing.assert_array_equal(each.result().samples, film)
    assert library.calls == [1, MOST_FRAMES, MOST_FRAMES - 1]
    assert (gpu.on_gpu, gpu.on_cpu) == (len(films), 0)


def test_a_gpu_that_makes_other_pixels_is_not_used(library: Pretended) -> None:
    def shifted(stream: bytes) -> np.ndarray:
        samples = np.asarray(imagecodecs.jpeg2k_decode(stream))
        return samples << 4 if 0 < samples.max() < 4096 and samples.dtype == "u2" else samples

    library.decode_one = shifted
    with pytest.raises(DeviceError, match="JPEG 2000 of 10 bits to other pixels"):
        GpuFrames()


def test_without_nvjpeg2000_the_extra_is_named(library: Pretended) -> None:
    library.decode_one = lambda stream: None
    with pytest.raises(DeviceError, match=r"JPEG 2000 of 8 bits; is nvJPEG2000 installed \(extra nvjpeg2000\)"):
        GpuFrames()


def test_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    monkeypatch.setitem(sys.modules, "nvidia", None)
    with pytest.raises(MissingExtraError, match=r"cxrzero\[nvjpeg2000\]"):
        GpuFrames()


def test_without_a_gpu(library: Pretended) -> None:
    with pytest.raises(DeviceError, match=r"cannot use cuda:1 \(CUDA Runtime failure"):
        GpuFrames(device=1)


def test_predict_counts_and_scores_as_without(library: Pretended, tmp_path: Path, tiny_bundle: Path) -> None:
    films = tmp_path / "films"
    films.mkdir()
    for name, syntax in (("a", "jpeg2000"), ("b", "htj2k"), ("c", "rle"), ("d", "explicit")):
        (films / f"{name}.dcm").write_bytes(dicom_bytes(np.roll(FILM, ord(name)), syntax, BitsStored=12))
    tables = []
    for more in ([], ["--gpu-decode"]):
        out = tmp_path / f"{len(more)}.csv"
        command = ["predict", str(films), "--model", str(tiny_bundle), "--no-cache", "--out", str(out), *more]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        tables.append(out.read_bytes())
    assert tables[0] == tables[1]
    assert "Compressed DICOM frames: 1 decoded on the GPU, 2 on the processor" in result.output
    record = json.loads((tmp_path / "1.run.json").read_text())
    assert record["gpu_decode"] == {"on_gpu": 1, "on_cpu": 2}
    assert (record["options"]["gpu_decode"], record["options"]["decode_in"]) == (True, "threads")
    assert json.loads((tmp_path / "0.run.json").read_text())["gpu_decode"] is None


def test_not_together_with_fast_decoding(library: Pretended, tiny_bundle: Path) -> None:
    with pytest.raises(UsageError, match="take one of them"):
        Screener(str(tiny_bundle), fast_decode=True, gpu_decode=True)


def test_on_a_real_gpu(tmp_path: Path) -> None:
    try:
        gpu = GpuFrames()  # which compares frames of each kind, too
    except (DeviceError, MissingExtraError) as error:
        pytest.skip(str(error))
    for number, (syntax, bits) in enumerate([("jpeg2000", 12), ("jpeg2000", 16)]):
        film = np.random.default_rng(number).integers(0, 2**bits, (501, 433), np.uint16)
        (found,) = frames_of(tmp_path / "a.dcm", dicom_bytes(film, syntax, BitsStored=bits), gpu)
        np.testing.assert_array_equal(found.pixels, next(decode(tmp_path / "a.dcm")).pixels)
        assert found.decoder == NAME
    assert (gpu.on_gpu, gpu.on_cpu) == (2, 0)
