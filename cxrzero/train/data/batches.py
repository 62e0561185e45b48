"""What one optimiser step sees: drawn by the sampler, read from the store, augmented, tokenised.

Everything random follows from (seed, step, process), so a resumed run draws what the undisturbed one would have drawn.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from cxrzero.train.data.augment import augment
from cxrzero.train.data.pairs import Pairs
from cxrzero.train.data.sampler import Draw, Sampler
from cxrzero.train.data.store import Pictures
from cxrzero.train.data.truth import text_classes, truth_matrix
from cxrzero.train.data.vocabulary import encode
from cxrzero.train.distributed import World
from cxrzero.train.options import TrainOptions

AHEAD = 2  # batches that are made while the device computes


@dataclass(frozen=True)
class Batch:
    """One step's images and texts. `pixels` and `ids` are this process's share, the rest is the whole batch.

    Attributes:
        step: number of the step, from 0.
        images: (B,) indices into the pairs' images.
        truth: (B, T) float32: how true which text is of which image.
        shown: (B, T) bool: which texts were drawn for which images.
        groups: (B,) int64 on the CPU; images of one group are contrasted with each other only.
        pixels: (b, H, W) float32 in [0, 1], augmented; H and W may be smaller in the first steps.
        ids: (t, L) int64.
    """

    step: int
    images: npt.NDArray[np.int64]
    truth: Tensor
    shown: Tensor
    groups: Tensor
    pixels: Tensor
    ids: Tensor


@dataclass(frozen=True)
class Mix:
    """How a batch's images are blended.

    Attributes:
        partners: (B,) int64, places in the batch, each of the same group.
        share: of the image itself, 0.5 to 1; the rest is its partner's.
    """

    partners: Tensor
    share: float


class TextEncoder:
    """Texts to token ids.

    Args:
        cut: whether padding may be cut off, for text towers that mask it: it changes nothing there and costs time.
    """

    def __init__(self, tokenizer: Tokenizer, context_length: int, cut: bool, pad_id: int = 0) -> None:
        self._tokenizer = tokenizer
        self._context_length = context_length
        self._cut = cut
        self._pad_id = pad_id

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(T, L) int64."""
        ids = torch.from_numpy(encode(self._tokenizer, texts, self._context_length, self._pad_id))
        return ids[:, : int((ids != self._pad_id).sum(dim=1).max())] if self._cut and len(ids) else ids


class Batches:
    """The batches of a run.

    Args:
        pixels: (N, H, W) uint8, in the order of `pairs.images`.
    """

    def __init__(
        self, pairs: Pairs, pixels: Pictures, encode_texts: TextEncoder, options: TrainOptions, world: World
    ) -> None:
        self._pairs, self._pixels, self._encode_texts = pairs, pixels, encode_texts
        self._options, self._world = options, world
        self._sampler = Sampler(pairs, options.batch_size, options.texts_per_image, options.seed)
        self._classes = text_classes(pairs.texts)
        names = sorted(set(pairs.groups))
        self._groups = torch.tensor([names.index(group) for group in pairs.groups])

    @property
    def steps_per_epoch(self) -> int:
        return self._sampler.steps

    @property
    def steps(self) -> int:
        """The number of steps in the whole run."""
        return self._options.epochs * self.steps_per_epoch

    def first(self) -> Batch:
        """The batch of step 0."""
        return next(self._from(0))

    def starting_at(self, step: int) -> Iterator[Batch]:
        """Yield every batch from step `step` to the end of the last epoch."""
        batches = self._from(step)
        return ahead(batches, AHEAD) if self._world.device.type == "cuda" else batches

    def _from(self, step: int) -> Iterator[Batch]:
        for epoch in range(step // self.steps_per_epoch, self._options.epochs):
            first = epoch * self.steps_per_epoch
            skipped = max(0, step - first)
            for number, draw in enumerate(islice(self._sampler.epoch(epoch), skipped, None), first + skipped):
                yield self._make(number, draw)

    def _make(self, step: int, draw: Draw) -> Batch:
        images, texts = draw
        columns, shown = _columns(texts, self._options.loss == "clip")
        groups = self._groups[images]
        truth = shown.float()
        if self._options.loss != "clip":
            pairs = self._pairs
            truth = torch.from_numpy(truth_matrix(images, columns, pairs.true_texts, pairs.truths, self._classes))
        else:
            groups = torch.zeros_like(groups)
        mix = self._mix(step, groups) if self._options.mixup else None
        if mix is not None:
            truth = mix.share * truth + (1 - mix.share) * truth[mix.partners]
        mine = columns[self._world.part(len(columns))]
        device = self._world.device
        return Batch(
            step=step,
            images=images,
            truth=truth.to(device),
            shown=shown.to(device),
            groups=groups,
            pixels=self._read(step, images, mix),
            ids=self._encode_texts([self._pairs.texts[i] for i in mine]).to(device, non_blocking=True),
        )

    def _mix(self, step: int, groups: Tensor) -> Mix:
        """The same in every process: partners may be another's images."""
        rng = np.random.default_rng((self._options.seed, step))
        partners = np.arange(len(groups))
        for group in np.unique(groups.numpy()):
            members = np.flatnonzero(groups.numpy() == group)
            partners[members] = rng.permutation(members)
        share = float(rng.beta(self._options.mixup, self._options.mixup))
        return Mix(torch.from_numpy(partners), max(share, 1 - share))

    def _read(self, step: int, images: npt.NDArray[np.int64], mix: Mix | None) -> Tensor:
        part = self._world.part(len(images))
        pixels = self._load(images[part])
        if mix is not None:
            pixels = mix.share * pixels + (1 - mix.share) * self._load(images[mix.partners[part].numpy()])
        if self._options.first_size is not None and step < self._options.first_share * self.steps:
            pixels = _resized(pixels, self._options.first_size)
        if not self._options.augment:
            return pixels
        return augment(
            pixels, torch.Generator(pixels.device).manual_seed(step_seed(self._options.seed, step, self._world.rank))
        )

    def _load(self, images: npt.NDArray[np.int64]) -> Tensor:
        """(B, H, W) float32 in [0, 1]."""
        return torch.from_numpy(self._pixels[images]).to(self._world.device, non_blocking=True).float() / 255


def _resized(pixels: Tensor, side: int) -> Tensor:
    """(B, H, W) → (B, side, side)."""
    return functional.interpolate(pixels[:, None], size=(side, side), mode="bilinear", antialias=True)[:, 0]


def step_seed(seed: int, step: int, rank: int) -> int:
    """A seed of its own for every step of every process."""
    return int(np.random.SeedSequence((seed, step, rank)).generate_state(1, np.uint64)[0] >> np.uint64(1))


def ahead(batches: Iterator[Batch], depth: int) -> Iterator[Batch]:
    """The same batches, made by a thread while earlier ones are used; its error is raised here."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def make() -> None:
        try:
            for batch in batches:
                if not _put(ready, batch, stopped):
                    return
            _put(ready, None, stopped)
        except BaseException as error:  # handed over, whatever it is
            _put(ready, error, stopped)

    thread = threading.Thread(target=make, name="batches", daemon=True)
    thread.start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


def _put(
    ready: queue.Queue[Batch | BaseException | None], item: Batch | BaseException | None, stopped: threading.Event
) -> bool:
    while not stopped.is_set():
        try:
            ready.put(item, timeout=0.1)
            return True
        except queue.Full:
            continue
    return False


def _columns(texts: list[npt.NDArray[np.int64]], one_each: bool) -> tuple[npt.NDArray[np.int64], Tensor]:
    """The different texts of a batch, (T,), and which image showed which, (B, T); or one column for each image."""
    if one_each:
        return np.concatenate(texts), torch.eye(len(texts), dtype=torch.bool)
    columns, inverse = np.unique(np.concatenate(texts), return_inverse=True)
    shown = torch.zeros(len(texts), len(columns), dtype=torch.bool)
    shown[np.repeat(np.arange(len(texts)), [len(t) for t in texts]), inverse] = True
    return columns, shown
