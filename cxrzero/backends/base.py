"""What all backends share: which file, how a batch is cut, and what an embedding must look like."""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cxrzero.backends.gpus import Gpu
from cxrzero.backends.in_calls import SCORED_FILMS, Run, one_after_the_other, score_in_calls
from cxrzero.errors import BundleError, ConfigError, CxrzeroError, RunError
from cxrzero.model.bundle import Bundle
from cxrzero.model.geometry import Geometry
from cxrzero.model.model_json import IMAGE_ENCODER, PATCH_ENCODER, SCORER, TEXT_ENCODER
from cxrzero.model.values import ValueSteps

# Of a CUDA call of images: the libraries choose an algorithm by the size of the batch, so it is always the same.
CUDA_BATCH = 64
# The most in a call of texts or patches, of which there are few.
CUDA_FEW = 64

# CUDA calls of images that are under way at once: while one computes, the pictures of the next are copied.
CUDA_CALLS = 2

# Parts of a batch that are encoded side by side on a CPU. Threads that share one part wait for each other after every
# operator: on two cores, each with a part of its own, ViT-B/32 in bf16 takes a seventh less processor time.
STREAMS = 2

# Bytes of a text encoder from which it is not kept in memory beside the image encoder.
LARGE_TEXTS = 2**30

# What onnxruntime's arena, torch and CUDA, and cuBLAS write.
OUT_OF_MEMORY = ("failed to allocate memory", "out of memory", "cublas_status_alloc_failed")


@dataclass(frozen=True, slots=True)
class Tower:
    """One graph of the contract: its file, inputs and output."""

    file: str
    inputs: tuple[str, ...]
    output: str

    @property
    def input(self) -> str:
        """The only one of an encoder."""
        [name] = self.inputs
        return name


IMAGE = Tower(IMAGE_ENCODER, ("pixel_values",), "image_embeds")
PATCH = Tower(PATCH_ENCODER, ("pixel_values",), "patch_embeds")
TEXT = Tower(TEXT_ENCODER, ("input_ids",), "text_embeds")
# Of a bundle with a scorer.
IMAGE_TOKENS = Tower(IMAGE_ENCODER, ("pixel_values",), "image_tokens")
TEXT_TOKENS = Tower(TEXT_ENCODER, ("input_ids",), "text_tokens")
LOGITS = Tower(SCORER, (IMAGE_TOKENS.output, TEXT_TOKENS.output), "logits")
ATTENTION = Tower(SCORER, LOGITS.inputs, "attention")


class BundleEncoder(ABC):
    """The graphs of a bundle; see `cxrzero.backends.Encoder`. A subclass opens them and sets the attributes.

    Attributes:
        least_batch: rows of the smallest call; a smaller one would be computed in another order.
        fixed_batch: rows of every call, where the order depends on their number in other ways; None leaves it free. A
            measurement may set it to another number before it encodes.
        runs_variants: a precision that the bundle has a file for is run from that file, not computed from the fp32 one.
        gpu: the card that computes; None on a CPU.
        takes_fitted: `encode_fitted` spares the processor the steps after the geometry.
        takes_films: `encode_films` spares it the geometry, too.
    """

    backend: str
    device: str
    precision: str
    reason: str
    least_batch: int = 1
    fixed_batch: int | None = None
    runs_variants: bool = True
    gpu: Gpu | None = None
    takes_fitted: bool = False
    takes_films: bool = False

    def __init__(self, bundle: Bundle, threads: int | None) -> None:
        self._bundle = bundle
        self._threads = threads
        self.image, self.text = (IMAGE_TOKENS, TEXT_TOKENS) if bundle.has_scorer else (IMAGE, TEXT)
        self._open_towers: dict[Tower, Run] = {}
        self._remarks: dict[str, str] = {}  # what `reason` says beside why this device and precision were chosen
        self._first_reason = ""  # without them

    @abstractmethod
    def _open(self, tower: Tower, path: Path) -> Run:
        """Load one tower; raises BundleError for a file that is not what the contract says."""

    def encode_images(self, pixel_values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self._encode(self.image, pixel_values)

    def encode_fitted(self, frames: Sequence[npt.NDArray[np.uint8]], steps: ValueSteps) -> npt.NDArray[np.float32]:
        return self.encode_images(steps(np.stack(frames)))

    def encode_films(
        self, films: Sequence[npt.NDArray[np.uint8]], geometry: Geometry, steps: ValueSteps
    ) -> npt.NDArray[np.float32]:
        return self.encode_fitted([geometry(film) for film in films], steps)

    def encode_patches(self, pixel_values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self._bundle.patch_encoder is None:
            raise ConfigError(f"the model {self._bundle.name} has no embeddings of patches")
        return self._encode(PATCH, pixel_values)

    def encode_texts(self, input_ids: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return self._encode(self.text, input_ids)

    def score(self, films: npt.NDArray[np.float32], texts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return self._score(LOGITS, films, texts)

    def attend(self, films: npt.NDArray[np.float32], texts: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if self._bundle.attention is None:
            raise ConfigError(f"the model {self._bundle.name} does not say where it looks")
        return self._score(ATTENTION, films, texts)

    def release(self) -> None:
        """Give back the memory of all that is open; what is asked again is opened again."""
        self._open_towers.clear()

    def _tower(self, tower: Tower) -> Run:
        """Opened at first use: where the cache knows everything, a large model need not be loaded."""
        if tower not in self._open_towers:
            if tower is not self.text and self._has_large_texts():
                self._open_towers.pop(self.text, None)  # sentences are asked before films, and then no more
            self._open_towers[tower] = self._open(tower, self._bundle.file(self._file(tower)))
        return self._open_towers[tower]

    def _has_large_texts(self) -> bool:
        sizes = (self._bundle.file(name).stat().st_size for name in self._bundle.text_encoder_files())
        return sum(sizes) >= LARGE_TEXTS

    def _file(self, tower: Tower) -> str:
        if tower is self.image and self.runs_variants:
            return self._bundle.image_encoder_files(self.precision)[0]
        # In schema 1 patches are a second output of the image encoder.
        return self._bundle.patch_encoder or tower.file if tower is PATCH else tower.file

    def _encode(self, tower: Tower, rows: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        run = self._tower(tower)
        if self.device == "cuda":
            return self._until_it_fits(tower, len(rows), partial(one_after_the_other, run, rows))
        size = self.fixed_batch or max(len(rows), self.least_batch)
        try:
            embeds = one_after_the_other(run, rows, size)
        except CxrzeroError:
            raise
        except Exception as error:  # the libraries' own errors share no base class
            raise self._failure(error, size) from error
        return self._checked(tower, embeds, len(rows))

    def _until_it_fits(
        self,
        tower: Tower,
        count: int,
        encode: Callable[[int], npt.NDArray[Any]],
        give_back: Callable[[], None] = lambda: None,
    ) -> npt.NDArray[np.float32]:
        """Encode `count` rows on a GPU in calls of one size, which is halved until its memory is enough.

        Args:
            encode: all rows, in calls of so many.
            give_back: what it holds on the GPU, after it failed.
        """
        while True:
            size = self._rows_of_a_call(tower)
            try:
                embeds = encode(size)
            except CxrzeroError:
                give_back()
                raise
            except Exception as error:  # the libraries' own errors share no base class
                if size == 1 or not ran_out_of_memory(error):
                    give_back()
                    raise self._failure(error, size) from error
            else:
                return self._checked(tower, embeds, count)
            give_back()  # here, where no traceback holds on to memory
            self._make_calls_smaller(size // 2)

    def _rows_of_a_call(self, tower: Tower) -> int:
        """On a GPU; of texts and patches at most a few: more would be filler."""
        size = self.fixed_batch or CUDA_BATCH
        return size if tower is self.image else min(size, CUDA_FEW)

    def _failure(self, error: Exception, size: int, *, is_fixed: bool = False) -> RunError:
        # A call of fixed size is filled up, so that a smaller --batch-size would not help.
        advice = "" if is_fixed or self.fixed_batch else "; a smaller --batch-size needs less memory"
        return RunError(
            f"the model {self._bundle.name} failed on a batch of {size} on {self.gpu or self.device}: "
            f"{first_line(error)}{advice}"
        )

    def _checked(self, tower: Tower, embeds: npt.NDArray[Any], count: int) -> npt.NDArray[np.float32]:
        """What `count` rows gave, if it is what the contract says: (N, F) float32, of patches (N, h, w, D).

        Tokens of a film or sentence are one row, those of a film rounded to what the bundle says.
        """
        row = self._bundle.text_shape if tower is self.text else self._bundle.image_shape
        rows = np.asarray(embeds, np.float32)
        if tower is self.image and self._bundle.image_dtype != "<f4":
            with np.errstate(over="ignore"):
                rows = rows.astype(self._bundle.image_dtype).astype(np.float32)
        if tower is PATCH:
            self._check_shape(tower, rows, (count, None, None, *row))
            return rows
        self._check_shape(tower, rows, (count, *row))
        return rows.reshape(count, math.prod(row))

    def _check_shape(self, tower: Tower, found: npt.NDArray[Any], shape: tuple[int | None, ...]) -> None:
        """Raises BundleError where an output is not finite, or of another shape; None stands for any number."""
        fits = found.ndim == len(shape) and all(n in (None, m) for n, m in zip(shape, found.shape, strict=True))
        if not fits or not np.isfinite(found).all():
            letters = iter("hw")
            named = ", ".join(next(letters) if n is None else str(n) for n in shape[1:])
            raise BundleError(f"{self._bundle.path}: {tower.output} is not finite with shape (N, {named})")

    def _score(
        self, tower: Tower, films: npt.NDArray[np.float32], texts: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """(N, F) films and (L, G) sentences → (N, L, …), in calls of one size."""
        run = self._tower(tower)
        image, text = (
            rows.reshape(-1, *shape)
            for rows, shape in ((films, self._bundle.image_shape), (texts, self._bundle.text_shape))
        )
        try:
            found = score_in_calls(run, image, text, together=self._bundle.scoring.together)
        except CxrzeroError:
            raise
        except Exception as error:  # the libraries' own errors share no base class
            raise self._failure(error, SCORED_FILMS, is_fixed=True) from error
        places = () if tower is LOGITS else self._bundle.attention or ()
        self._check_shape(tower, found, (len(image), len(text), *places))
        return found

    def _make_calls_smaller(self, size: int) -> None:
        self.fixed_batch = size
        self._remark("size", f"the GPU's memory ran out, so calls are of {size} rows")

    def _remark(self, subject: str, text: str) -> None:
        """Add to the reason what a run has shown; a later remark takes the place of an earlier one on its subject."""
        self._first_reason = self._first_reason if self._remarks else self.reason
        self._remarks[subject] = text
        self.reason = "; ".join((self._first_reason, *self._remarks.values()))


def ran_out_of_memory(error: Exception) -> bool:
    """Whether ONNX Runtime, torch or CUDA say that the GPU's memory is full; none has an error type of its own."""
    text = str(error).lower()
    return any(sign in text for sign in OUT_OF_MEMORY)


def check_names(path: Path, tower: Tower, inputs: Collection[str], outputs: Collection[str]) -> None:
    """Compare a loaded file with the contract.

    Raises:
        BundleError: other inputs, or no such output.
    """
    if set(inputs) != set(tower.inputs) or tower.output not in outputs:
        given = f"input{'s' if len(tower.inputs) > 1 else ''} {' and '.join(tower.inputs)}"
        raise BundleError(f"{path} must have the {given} and the output {tower.output}")


def first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


_most_cpus: int | None = None


def limit_cpus(most: int | None) -> None:
    """Have this process use so many cores at most, though the system would give it more; None takes the limit away."""
    global _most_cpus
    _most_cpus = most


def cpu_count() -> int:
    """Cores that this process may use (its affinity, which containers and job schedulers set; `limit_cpus`)."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(there, _most_cpus or there)
