"""The gradient of the loss over a whole batch, however few images fit in memory and however many processes share it.

The loss needs embeddings, not images. So each process embeds its share in chunks, all embeddings are gathered, the loss
is taken over all of them, and its gradient with respect to the embeddings is sent back through the encoders chunk by
chunk, each chunk being embedded a second time (GradCache: Gao et al., RepL4NLP 2021). One chunk needs no second pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from open_clip.model import CustomTextCLIP
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from cxrzero.choices import Loss
from cxrzero.train.data.batches import Batch
from cxrzero.train.distributed import World
from cxrzero.train.model.weights import tower_of
from cxrzero.train.step.loss import grouped_loss, sigmoid_loss

Encode = Callable[[Tensor], Tensor]
MAX_KNOWN = 1 << 16  # texts of a frozen tower whose embeddings are remembered; 100 MB at 384 dimensions
RandomState = tuple[Tensor, Tensor | None]


class Encoders:
    """Both towers of a model, from what a batch holds to embeddings of length 1.

    Args:
        model: an open_clip model.
        prepare: (B, H, W) float32 in [0, 1] → encoder input.
        bf16: whether the encoders run under autocast; embeddings are float32 all the same.

    A frozen text tower reads each text once: its answer never changes.
    """

    def __init__(self, model: CustomTextCLIP, prepare: Encode, device: torch.device, bf16: bool) -> None:
        self.model = model
        self._prepare = prepare
        self._device = device
        self._bf16 = bf16
        self._known: dict[bytes, Tensor] | None = {} if _is_frozen(model) else None

    def images(self, pixels: Tensor) -> Tensor:
        """(B, H, W) → (B, D) float32."""
        return self._embed(self.model.encode_image, self._prepare(pixels))

    def texts(self, ids: Tensor) -> Tensor:
        """(T, L) → (T, D) float32."""
        if self._known is None:
            return self._embed(self.model.encode_text, ids)
        keys = [row.tobytes() for row in ids.cpu().numpy()]
        new = {key: row for row, key in enumerate(keys) if key not in self._known}
        if len(self._known) + len(new) > MAX_KNOWN:
            self._known.clear()
            new = {key: row for row, key in enumerate(keys)}
        if new:
            with torch.no_grad():
                self._known |= zip(new, self._embed(self.model.encode_text, ids[list(new.values())]), strict=True)
        return torch.stack([self._known[key] for key in keys])

    def _embed(self, encode: Encode, inputs: Tensor) -> Tensor:
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bf16):
            embeds = encode(inputs)
        return functional.normalize(embeds.float(), dim=-1)


def _is_frozen(model: nn.Module) -> bool:
    """Whether no parameter of the text tower learns."""
    learns = [p.requires_grad for name, p in model.named_parameters() if tower_of(name) == "text"]
    return not any(learns)


def backward(
    encoders: Encoders, batch: Batch, world: World, micro_batch: int | None, loss_name: Loss = "soft"
) -> Tensor:
    """Add the loss's gradient to every parameter's `.grad`, the same in every process.

    Returns:
        The loss, scalar float32. If it is not finite, no gradient was computed.
    """
    model = encoders.model
    images = _Chunks(encoders.images, batch.pixels, micro_batch, model)
    texts = _Chunks(encoders.texts, batch.ids, micro_batch, model)
    all_images = world.gather(images.embeds, len(batch.images)).requires_grad_()
    all_texts = world.gather(texts.embeds, batch.truth.shape[1]).requires_grad_()
    known = (all_images, all_texts, batch.truth, batch.shown, batch.groups, model.logit_scale.exp())
    loss = sigmoid_loss(*known, model.logit_bias) if loss_name == "sigmoid" else grouped_loss(*known)
    if not torch.isfinite(loss):
        return loss.detach()
    torch.autograd.backward(loss)
    assert all_images.grad is not None
    assert all_texts.grad is not None
    images.backward(all_images.grad[world.part(len(all_images))])
    texts.backward(all_texts.grad[world.part(len(all_texts))])
    # Every process took the whole loss, so the logit scale's gradient is whole already.
    named = model.named_parameters()
    world.sum_gradients(p for name, p in named if p.requires_grad and tower_of(name) != "scale")
    return loss.detach()


class _Chunks:
    """One tower's embeddings of one process's share of a batch, whose gradient can be sent back.

    Attributes:
        embeds: (n, D) float32 without a graph.
    """

    def __init__(self, encode: Encode, inputs: Tensor, size: int | None, model: nn.Module) -> None:
        self._encode = encode
        self._chunks = torch.split(inputs, size or max(1, len(inputs)))
        self._whole: Tensor | None = None
        self._states: list[RandomState] = []
        if len(self._chunks) == 1:
            self._whole = encode(inputs)
            self.embeds = self._whole.detach()
            return
        parts = []
        with torch.no_grad(), _still_statistics(model):
            for chunk in self._chunks:
                self._states.append(_random_state(chunk.device))
                parts.append(encode(chunk))
        self.embeds = torch.cat(parts)

    def backward(self, gradient: Tensor) -> None:
        """(n, D) → the tower's parameters."""
        if self._whole is not None:
            if self._whole.requires_grad:
                torch.autograd.backward(self._whole, gradient)
            return
        after = _random_state(self.embeds.device)
        parts = torch.split(gradient, [len(chunk) for chunk in self._chunks])
        for chunk, state, part in zip(self._chunks, self._states, parts, strict=True):
            _set_random_state(state, chunk.device)  # the same dropout as the first time
            embeds = self._encode(chunk)
            if embeds.requires_grad:
                torch.autograd.backward(embeds, part)
        _set_random_state(after, self.embeds.device)


@contextmanager
def _still_statistics(model: nn.Module) -> Iterator[None]:
    """Running statistics stay: the second pass over the same chunk would count it twice."""
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


def _random_state(device: torch.device) -> RandomState:
    return torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None


def _set_random_state(state: RandomState, device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], device)
