"""transformers' CLIPModel and SiglipModel, with their towers named as open_clip names them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from cxrzero.convert.towers import Towers, hugging_face_towers


class TransformersCLIP(nn.Module):
    """What training asks of a model: towers `visual` and `text`, `encode_image` and `encode_text`, scale and bias.

    Attributes:
        logit_scale: scalar, a logarithm.
        logit_bias: scalar, of SigLIP; None for CLIP.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.visual = _Tower(model.vision_model, getattr(model, "visual_projection", None))
        self.text = _Tower(model.text_model, getattr(model, "text_projection", None))
        self.logit_scale = nn.Parameter(model.logit_scale.detach().reshape(()).clone())
        bias = getattr(model, "logit_bias", None)
        self.logit_bias = None if bias is None else nn.Parameter(bias.detach().reshape(()).clone())
        self._config = model.config

    def encode_image(self, pixels: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, D), of any length."""
        return self.visual(pixel_values=pixels)

    def encode_text(self, ids: Tensor) -> Tensor:
        """(T, L) int64 → (T, D), of any length."""
        return self.text(input_ids=ids)

    def towers(self) -> Towers:
        """The two towers for the export, as an import has them."""
        return hugging_face_towers(_Parts(self.visual, self.text, self._config))


class _Tower(nn.Module):
    def __init__(self, model: Any, projection: nn.Module | None) -> None:
        super().__init__()
        self.model, self.projection = model, projection

    def forward(self, **inputs: Tensor) -> Tensor:
        pooled: Tensor = self.model(**inputs).pooler_output
        return pooled if self.projection is None else self.projection(pooled)


class _Parts(nn.Module):
    """The same parts under transformers' own names."""

    def __init__(self, visual: _Tower, text: _Tower, config: Any) -> None:
        super().__init__()
        self.vision_model, self.text_model, self.config = visual.model, text.model, config
        if visual.projection is not None:
            self.visual_projection = visual.projection
        if text.projection is not None:
            self.text_projection = text.projection
