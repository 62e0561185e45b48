"""The two encoders of a model as modules with the bundle's inputs and outputs, whoever wrote the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from open_clip.timm_model import TimmModel
from open_clip.transformer import Transformer, VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from cxrzero.convert.last_block import is_plain_block, of_hugging_face, of_open_clip


@dataclass(frozen=True)
class Towers:
    """What is traced, and what the trace is compared with.

    Attributes:
        image: (N, 3, H, W) → image_embeds (N, D), and patch_embeds (N, h, w, D) if `has_patches`; rows of length 1.
        reference: (N, 3, H, W) → image_embeds, by the model's own forward pass.
        text: input_ids (N, L) → text_embeds (N, D).
    """

    image: nn.Module
    reference: nn.Module
    text: nn.Module
    has_patches: bool


@dataclass(frozen=True)
class AttentionTowers:
    """A model that scores by attention: what each film or sentence alone decides is in its tower, the rest in `scorer`.

    All three trace to standard operators with N and L free, and give a film and a sentence the same whatever N is.

    Attributes:
        image: pixel_values (N, 3, H, W) → image_tokens (N, T, D) float32.
        text: input_ids (L, S) → text_tokens (L, S', E) float32; a mask comes from the pad id, inside.
        scorer: (image_tokens, text_tokens) → logits (N, L), and attention (N, L, h, w) if `has_attention`: what of
            each place of the picture the scorer looks at, the picture's rows and columns in order.
    """

    image: nn.Module
    text: nn.Module
    scorer: nn.Module
    has_attention: bool


def open_clip_towers(model: Any) -> Towers:
    """Towers of open_clip's CLIP and CustomTextCLIP; patches where they share the projection of the picture."""
    visual, reference = model.visual, _Image(model.visual)
    text = _Text(model.text if hasattr(model, "text") else _EncodeText(model))
    if isinstance(visual, VisionTransformer) and _is_plain(visual):
        return Towers(_ViTPatches(visual), reference, text, True)
    if isinstance(visual, TimmModel) and _pools_linearly(visual):
        return Towers(_MeanOfPatches(visual), reference, text, True)
    return Towers(reference, reference, text, False)


def hugging_face_towers(model: Any) -> Towers:
    """Towers of transformers' CLIPModel (with patches) and SiglipModel (attention pooling: without)."""
    reference = _HuggingFaceImage(model)
    has_patches = hasattr(model, "visual_projection")
    image: nn.Module = _HuggingFacePatches(model) if has_patches else reference
    return Towers(image, reference, _HuggingFaceText(model), has_patches)


def _is_plain(visual: VisionTransformer) -> bool:
    by_token = visual.attn_pool is None and visual.pool_type == "tok" and not visual.final_ln_after_pool
    return by_token and type(visual.transformer) is Transformer and is_plain_block(visual.transformer.resblocks[-1])


def _pools_linearly(visual: TimmModel) -> bool:
    """Whether the picture's embedding is the mean of its projected places (a convolutional trunk, linear head)."""
    trunk = visual.trunk
    pool = getattr(getattr(trunk, "head", trunk), "global_pool", getattr(trunk, "global_pool", None))
    linear = [type(layer) for layer in visual.head] in ([nn.Dropout, nn.Linear], [nn.Linear])
    return linear and getattr(pool, "pool_type", None) == "avg"


class _Image(nn.Module):
    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixel_values: Tensor) -> Tensor:
        return functional.normalize(self.visual(pixel_values), dim=-1)


class _Text(nn.Module):
    def __init__(self, text: nn.Module) -> None:
        super().__init__()
        self.text = text

    def forward(self, input_ids: Tensor) -> Tensor:
        return functional.normalize(self.text(input_ids), dim=-1)


class _EncodeText(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor) -> Tensor:
        return torch.as_tensor(self.model.encode_text(input_ids))


class _MeanOfPatches(nn.Module):
    """The same numbers in another order: pooling and projection are linear, so each place can be projected first."""

    def __init__(self, visual: TimmModel) -> None:
        super().__init__()
        self.trunk, self.head = visual.trunk, visual.head

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.head(self.trunk.forward_features(pixel_values).permute(0, 2, 3, 1))
        return functional.normalize(patches.mean(dim=(1, 2)), dim=-1), functional.normalize(patches, dim=-1)


class _ViTPatches(nn.Module):
    """A ViT whose patch tokens go through the class token's norm and projection (MaskCLIP's reading, ECCV 2022)."""

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        self.visual = visual
        self.last_block = of_open_clip(visual.transformer.resblocks[-1])

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.visual._embeds(pixel_values)
        if not self.visual.transformer.batch_first:
            tokens = tokens.transpose(0, 1)
        for block in self.visual.transformer.resblocks[:-1]:
            tokens = block(tokens)
        if not self.visual.transformer.batch_first:
            tokens = tokens.transpose(0, 1)
        first, all_tokens = self.last_block(tokens)
        return self._embeds(first)[:, 0], _patches(self._embeds(all_tokens), self.visual.grid_size)

    def _embeds(self, tokens: Tensor) -> Tensor:
        tokens = self.visual.ln_post(tokens)
        return functional.normalize(tokens if self.visual.proj is None else tokens @ self.visual.proj, dim=-1)


class _HuggingFaceImage(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        pooled = self.model.vision_model(pixel_values=pixel_values).pooler_output
        projection = getattr(self.model, "visual_projection", None)
        return functional.normalize(pooled if projection is None else projection(pooled), dim=-1)


class _HuggingFacePatches(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.vision, self.projection = model.vision_model, model.visual_projection
        self.last_block = of_hugging_face(self.vision.encoder.layers[-1])
        side = model.config.vision_config.image_size // model.config.vision_config.patch_size
        self.grid = (side, side)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        tokens = self.vision.pre_layrnorm(self.vision.embeddings(pixel_values))
        for layer in self.vision.encoder.layers[:-1]:
            tokens = layer(tokens, None)
        first, all_tokens = self.last_block(tokens)
        return self._embeds(first)[:, 0], _patches(self._embeds(all_tokens), self.grid)

    def _embeds(self, tokens: Tensor) -> Tensor:
        return functional.normalize(self.projection(self.vision.post_layernorm(tokens)), dim=-1)


class _HuggingFaceText(nn.Module):
    def __init__(self, model: Any) -> None:
        super().__init__()
        self.text, self.projection = model.text_model, getattr(model, "text_projection", nn.Identity())

    def forward(self, input_ids: Tensor) -> Tensor:
        return functional.normalize(self.projection(self.text(input_ids=input_ids).pooler_output), dim=-1)


def _patches(embeds: Tensor, grid: tuple[int, int]) -> Tensor:
    """(N, 1 + h · w, D), the class token's first → (N, h, w, D)."""
    return embeds[:, 1:].reshape(embeds.shape[0], *grid, embeds.shape[-1])
