"""JPEG 2000 frames decoded by an NVIDIA GPU, many at once, through nvImageCodec and nvJPEG2000.

Only frames of which the GPU makes the same bits as the processor go there: lossless ones of one unsigned sample. So it
decides on no result, and is part of no cache key. That it does make the same bits is tried when it is opened, on a
drawn frame of each kind. JPEG and HTJ2K stay on the processor, which is fast enough, and says what is wrong with broken
streams: nvJPEG half fills them, and of 60 HTJ2K streams nvJPEG2000 decoded 11 that are refused here.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

import imagecodecs
import numpy as np

from cxrzero.errors import DeviceError, MissingExtraError, RunError
from cxrzero.images.codecs import DecodeFrame, Frame, FrameShape, Samples, checked_claim, decode_frame
from cxrzero.images.codestream import Claim

NAME = "nvimgcodec/nvjpeg2000"
EXTRA = "nvjpeg2000"
# PS3.5, A.4.4: JPEG 2000, lossless or not.
SYNTAXES = frozenset({"1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"})
# Frames of one call: on an H200, 32 are decoded at 97% of the rate of 64.
MOST_FRAMES = 32
# What the library says of broken streams it says on standard error; a row says it better. 0 is silence.
_VERBOSITY = "PYNVIMGCODEC_VERBOSITY"


@dataclass(slots=True)
class _Request:
    """A stream that a thread wants decoded; `image` and `error` are there once `done` is."""

    stream: Any
    image: Any = None
    error: Exception | None = None
    done: threading.Event = field(default_factory=threading.Event)


class GpuFrames:
    """Decodes frames for many threads: a thread waits for its own, and all that wait meanwhile are one call.

    Each thread fetches its frame from the GPU itself, so that these copies run beside each other and beside the next
    call; the library gives the interpreter up in both. What the GPU is not given, or cannot decode, the processor
    decodes, or says what is wrong with it.

    Attributes:
        on_gpu, on_cpu: compressed frames that were decoded, or refused, on each.

    Args:
        device: number of the GPU, as CUDA counts.
        cpu: decodes what the GPU does not.

    Raises:
        MissingExtraError: nvImageCodec is not installed.
        DeviceError: it cannot be used here, lacks nvJPEG2000, or does not make the bits that were encoded.
    """

    def __init__(self, device: int = 0, cpu: DecodeFrame = decode_frame) -> None:
        self._library = _library()
        kinds = self._library.BackendKind
        # CPU backends would take over where the GPU's fail, and say nothing of it.
        backends = [self._library.Backend(kind) for kind in (kinds.GPU_ONLY, kinds.HYBRID_CPU_GPU)]
        try:
            self._decoder = self._library.Decoder(device_id=device, backends=backends)
        except RuntimeError as error:
            why = str(error).partition(" at ")[0]  # behind it stands where in its source
            raise DeviceError(f"nvImageCodec cannot use cuda:{device} ({why})") from None
        self._as_stored = self._library.DecodeParams(
            apply_exif_orientation=False, color_spec=self._library.ColorSpec.UNCHANGED, allow_any_depth=True
        )
        self._cpu = cpu
        self.on_gpu = self.on_cpu = 0
        self._counting = threading.Lock()
        self._requests: SimpleQueue[_Request] = SimpleQueue()
        self._check()
        threading.Thread(target=self._serve, name="gpu-decode", daemon=True).start()

    def __call__(self, stream: bytes, transfer_syntax: str, shape: FrameShape, least_side: int | None = None) -> Frame:
        """Decode one frame as `cxrzero.images.codecs.decode_frame` does; with a `least_side` on the processor."""
        frame = None
        if transfer_syntax in SYNTAXES and least_side is None:
            claim = checked_claim(stream, transfer_syntax, shape)
            frame = self._on_gpu(stream, claim) if is_for_gpu(claim) else None
        with self._counting:
            self.on_gpu += frame is not None
            self.on_cpu += frame is None
        return frame or self._cpu(stream, transfer_syntax, shape, least_side)

    def _on_gpu(self, stream: bytes, claim: Claim) -> Frame | None:
        """The frame, or None where the library cannot decode it.

        Raises:
            RunError: the library broke down.
        """
        parsed = self._parsed(stream)
        if parsed is None:
            return None
        request = _Request(parsed)
        self._requests.put(request)
        request.done.wait()
        if request.error is not None:
            kind = type(request.error).__name__
            raise RunError(f"decoding on the GPU failed ({kind}); run without --gpu-decode") from request.error
        samples = _samples(request.image)
        if samples is None or samples.shape != (claim.rows, claim.columns):
            return None
        return Frame(samples, NAME, claim) if samples.dtype == ("u1" if claim.bits == 8 else "u2") else None

    def _parsed(self, stream: bytes) -> Any:
        try:
            return self._library.CodeStream(stream)
        except RuntimeError:  # not a stream that it knows
            return None

    def _serve(self) -> None:
        """Decode what waits, for as long as the process lives."""
        while True:
            requests = [self._requests.get()]
            while len(requests) < MOST_FRAMES and not self._requests.empty():
                requests.append(self._requests.get())
            self._decode(requests)

    def _decode(self, requests: list[_Request]) -> None:
        try:
            images = self._decoder.decode([request.stream for request in requests], params=self._as_stored)
            for request, image in zip(requests, images, strict=True):
                request.image = image
        except Exception as error:  # raised in the threads that wait
            for request in requests:
                request.error = error
        for request in requests:
            request.done.set()

    def _check(self) -> None:
        """Decode a frame of each kind, and compare it with what was encoded."""
        for kind, (stream, pixels) in drawn_frames().items():
            request = _Request(self._parsed(stream))
            if request.stream is not None:
                self._decode([request])
            if request.error is not None or (samples := _samples(request.image)) is None:
                raise DeviceError(f"nvImageCodec cannot decode {kind}; is nvJPEG2000 installed (extra {EXTRA})?")
            if samples.dtype != pixels.dtype or not np.array_equal(samples, pixels):
                raise DeviceError(f"nvJPEG2000 decodes {kind} to other pixels than were encoded; do not use it")


def is_for_gpu(claim: Claim) -> bool:
    """Whether a stream is of the kinds that are tried: lossless, one unsigned sample of 8 to 16 bits a pixel.

    A header may call HTJ2K JPEG 2000; the stream itself says what it is.
    """
    return not (claim.lossy or claim.signed or claim.extended) and claim.samples == 1 and 8 <= claim.bits <= 16


def drawn_frames() -> dict[str, tuple[bytes, Samples]]:
    """A stream of each kind, and its pixels: noise on a ramp, of sides that are multiples of nothing."""
    rows, columns = 251, 187
    noise = np.random.default_rng(0).random((rows, columns))
    ramp = np.add.outer(np.arange(rows), np.arange(columns)) / (rows + columns)
    frames: dict[str, tuple[bytes, Samples]] = {}
    for bits in (8, 10, 12, 14, 16):
        pixels = ((0.7 * ramp + 0.3 * noise) * (2**bits - 1)).astype("u1" if bits == 8 else "u2")
        stream = imagecodecs.jpeg2k_encode(pixels, codecformat="J2K", reversible=True, bitspersample=bits)
        frames[f"JPEG 2000 of {bits} bits"] = bytes(stream), pixels
    return frames


def _library() -> Any:
    os.environ.setdefault(_VERBOSITY, "0")
    try:
        from nvidia import nvimgcodec
    except ImportError:
        raise MissingExtraError("nvidia.nvimgcodec", EXTRA) from None
    return nvimgcodec


def _samples(image: Any) -> Samples | None:
    """(rows, columns) as they come from the GPU; None for no image, and for one of several bands."""
    if image is None:
        return None
    samples = np.asarray(image.cpu())
    return samples[..., 0] if samples.ndim == 3 and samples.shape[2] == 1 else None
