"""CheXzero's computation written out from torch, torchvision and Pillow; nothing of cxrzero takes part.

Every step can be replaced by a plausible mistake, to show that the comparison would notice it.
"""

from __future__ import annotations

import html

import numpy as np
import torch
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from torch.nn import functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import normalize, resize

MEAN, STD = 101.48761, 83.43944
LABELS = ["pneumonia", "pleural effusion", "cardiomegaly", "enlarged cardiac silhouette"]
RELEASED = "best_64_5e-05_original_22000_0.864.pt"
FAULTS = ("gelu", "antialias", "stretch", "bicubic", "constant_image", "positive_twice")


def probabilities(state, paths, labels, image_size, fault=None):
    """(p, d) float64, each (N images, L labels), of a state dict in OpenAI's layout."""
    act = functional.gelu if fault == "gelu" else lambda x: x * torch.sigmoid(1.702 * x)
    pixels = torch.stack([picture(paths[0] if fault == "constant_image" else p, image_size, fault) for p in paths])
    images = image_embeds(state, pixels, act)
    positive = text_embeds(state, labels, act)
    negative = positive if fault == "positive_twice" else text_embeds(state, [f"no {x}" for x in labels], act)
    d = (images @ positive.T - images @ negative.T).double().numpy()
    cos_pos, cos_neg = (images @ positive.T).double().numpy(), (images @ negative.T).double().numpy()
    return np.exp(cos_pos) / (np.exp(cos_pos) + np.exp(cos_neg)), d


def picture(path, image_size, fault=None):
    """(3, size, size) float32."""
    image = Image.open(path).convert("L")
    kernel = Image.Resampling.BICUBIC if fault == "bicubic" else Image.Resampling.LANCZOS
    if fault == "stretch":
        square = image.resize((320, 320), kernel)
    else:
        ratio = 320 / max(image.size)
        size = int(image.width * ratio), int(image.height * ratio)
        square = Image.new("L", (320, 320))
        square.paste(image.resize(size, kernel), ((320 - size[0]) // 2, (320 - size[1]) // 2))
    values = torch.from_numpy(np.asarray(square, np.float32).copy()).expand(3, -1, -1)
    values = normalize(values, [MEAN] * 3, [STD] * 3)
    if image_size == 320:
        return values
    return resize(values, [image_size] * 2, InterpolationMode.BICUBIC, antialias=fault == "antialias")


def image_embeds(state, pixels, act):
    x = functional.conv2d(pixels, state["visual.conv1.weight"], stride=state["visual.conv1.weight"].shape[-1])
    x = x.flatten(2).permute(0, 2, 1)
    token = state["visual.class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([token, x], dim=1) + state["visual.positional_embedding"]
    x = norm(state, "visual.ln_pre", x)
    x = transformer(state, "visual.transformer", x, act, None)
    return functional.normalize(norm(state, "visual.ln_post", x[:, 0]) @ state["visual.proj"], dim=-1)


def text_embeds(state, texts, act):
    tokenizer = SimpleTokenizer()
    ids = torch.zeros(len(texts), 77, dtype=torch.int64)
    for row, text in zip(ids, texts, strict=True):
        encoded = tokenizer.encode(html.unescape(text))
        row[: len(encoded) + 2] = torch.tensor([tokenizer.sot_token_id, *encoded, tokenizer.eot_token_id])
    x = state["token_embedding.weight"][ids] + state["positional_embedding"]
    x = transformer(state, "transformer", x, act, torch.full((77, 77), -torch.inf).triu(1))
    x = norm(state, "ln_final", x)
    x = x[torch.arange(len(ids)), ids.argmax(dim=-1)]
    return functional.normalize(x @ state["text_projection"], dim=-1)


def transformer(state, prefix, x, act, mask):
    count = len(
        {name.split(".resblocks.")[1].split(".")[0] for name in state if name.startswith(f"{prefix}.resblocks")}
    )
    for block in (f"{prefix}.resblocks.{i}" for i in range(count)):
        x = x + attention(state, f"{block}.attn", norm(state, f"{block}.ln_1", x), mask)
        hidden = act(linear(state, f"{block}.mlp.c_fc", norm(state, f"{block}.ln_2", x)))
        x = x + linear(state, f"{block}.mlp.c_proj", hidden)
    return x


def attention(state, name, x, mask):
    """Heads of 64."""
    n, length, width = x.shape
    qkv = functional.linear(x, state[f"{name}.in_proj_weight"], state[f"{name}.in_proj_bias"])
    q, k, v = (part.view(n, length, width // 64, 64).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
    scores = q @ k.transpose(-1, -2) / 8
    if mask is not None:
        scores = scores + mask
    mixed = (scores.softmax(dim=-1) @ v).transpose(1, 2).reshape(n, length, width)
    return linear(state, f"{name}.out_proj", mixed)


def norm(state, name, x):
    return functional.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def linear(state, name, x):
    return functional.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])
