"""Published models made small, with random weights: what an import is given."""

from __future__ import annotations

import json
import re
import zlib

import tokenizers
import torch
import transformers

WIDTH = 128
HALF = [0.5, 0.5, 0.5]


def clip(quick_gelu=True, seed=0, image_size=64, patch=32, custom_text=False):
    """A CLIP in OpenAI's layout whose towers are 2 layers of 128; weights large enough to matter."""
    from open_clip.model import CLIP, CustomTextCLIP

    torch.manual_seed(seed)
    kind = CustomTextCLIP if custom_text else CLIP
    vision = {"image_size": image_size, "patch_size": patch, "width": WIDTH, "layers": 2}
    text = {"context_length": 77, "vocab_size": 49408, "width": WIDTH, "heads": 2, "layers": 2}
    return spread(kind(64, vision, text, quick_gelu=quick_gelu))


def spread(model, factor=3.0):
    """Random weights of the first steps leave activations near zero, where QuickGELU and GELU agree."""
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2 and "embedding" not in name:
                weight.mul_(factor)
    return model.eval()


def random_state(shapes, seed=0, keep=r"logit_scale|temperature|relative_position_index|position_ids|attn_mask"):
    """Weights that are a function of their names, their shapes and the seed; the same on every machine.

    Matrices and kernels keep the size of what passes through them, norms are near 1, biases near 0, and embeddings of
    places are smaller than those of pictures, so that two films differ behind twelve layers as they do before them.

    Args:
        shapes: a state dict, or name → tensor; whole numbers, scalars, empty ones and what `keep` matches stay.
    """
    drawn = {name for name, value in shapes.items() if value.ndim and value.numel() and value.is_floating_point()}
    kept = {name for name in shapes if name not in drawn or re.search(keep, name)}
    return {name: value if name in kept else _drawn(name, value, seed) for name, value in shapes.items()}


def _drawn(name, like, seed):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()) + seed)
    values = torch.randn(like.shape, generator=generator, dtype=torch.float32)
    if "running_var" in name:
        return values.mul(0.2).exp()
    if re.search(r"embed|token|prompt|quer", name) and not re.search(r"(?i)proj|norm|bias", name):
        return values * 0.3
    if like.ndim >= 2:
        fan_in = like[0].numel()
        return values * 1.4 / fan_in**0.5
    return values * 0.1 + (0.0 if re.search(r"bias|running_mean", name) else 1.0)


def save(model, path, half=False, wrap=None, prefix=""):
    state = {
        prefix + name: value.half() if half and value.ndim >= 2 else value for name, value in model.state_dict().items()
    }
    torch.save({wrap: state, "epoch": 3, "name": "mine"} if wrap else state, path)
    return path


def word_tokenizer(path, words=("pneumonia", "edema", "no", "the", "cardiac", "silhouette", "is", "normal")):
    """A WordPiece tokenizer.json as BERT's: [CLS] … [SEP]."""
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3}
    for word in (*words, *"abcdefghijklmnopqrstuvwxyz", *("##" + letter for letter in "abcdefghijklmnopqrstuvwxyz")):
        vocabulary.setdefault(word, len(vocabulary))
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(path))
    return len(vocabulary)


def write_json(path, content):
    path.write_text(json.dumps(content), "utf-8")


def hf_folder(tmp_path, kind):
    folder = tmp_path / kind
    folder.mkdir()
    words = word_tokenizer(folder / "tokenizer.json")
    vision = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 16,
    }
    text = {
        "vocab_size": words,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 24,
        "pad_token_id": 0,
        "eos_token_id": 3,
        "bos_token_id": 2,
    }
    processor = {
        "do_resize": True,
        "resample": 3,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": HALF,
        "image_std": HALF,
    }
    torch.manual_seed(0)
    if kind == "clip":
        config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)
        model = transformers.CLIPModel(config)
        processor |= {"size": {"shortest_edge": 64}, "do_center_crop": True, "crop_size": {"height": 64, "width": 64}}
    else:
        config = transformers.SiglipConfig(text_config={**text, "projection_size": 64}, vision_config=vision)
        model = transformers.SiglipModel(config)
        processor |= {"size": {"height": 64, "width": 64}}
    spread(model).save_pretrained(folder)
    write_json(folder / "preprocessor_config.json", processor)
    return folder, model
