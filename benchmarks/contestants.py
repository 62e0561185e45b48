"""Ways to score films with one CLIP checkpoint: what users do today, and cxrzero. Used by end_to_end.py.

Each is a function of (work folder, label) that loads everything, encodes the texts, and returns a function from paths
to d = cos⁺ − cos⁻, (N,) float64. The weights are those of `checkpoint.pt` in CheXzero's layout, in each of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Score = Callable[[Sequence[str]], np.ndarray]
THREADS = 2
CHECKPOINT = "checkpoint.pt"
MEAN, STD = 101.48761, 83.43944


def reference(work: Path, label: str) -> Score:
    """As the reference system runs: one film at a time, on two threads, an image pass for each of the two prompts."""
    import torch
    from PIL import Image
    from torch.nn import functional

    model, texts = open_clip_model(work, label)

    def picture(path: str) -> Any:
        image = Image.open(path).convert("L")
        ratio = 320 / max(image.size)
        size = tuple(int(side * ratio) for side in image.size)
        square = Image.new("L", (320, 320))
        square.paste(image.resize(size, Image.Resampling.LANCZOS), ((320 - size[0]) // 2, (320 - size[1]) // 2))
        values = torch.from_numpy(np.array(square, np.float32)).expand(1, 3, -1, -1)
        return functional.interpolate((values - MEAN) / STD, 224, mode="bicubic", align_corners=False)

    def score(paths: Sequence[str]) -> np.ndarray:
        found = []
        for path in paths:
            with torch.inference_mode():
                pixels = picture(path)
                cosines = [
                    functional.normalize(model.encode_image(pixels), dim=-1) @ functional.normalize(text, dim=-1).T
                    for text in texts.split(1)
                ]
            found.append(float(cosines[0] - cosines[1]))
        return np.array(found)

    return score


def open_clip_loop(work: Path, label: str) -> Score:
    """A plain loop: open_clip's own transform in a DataLoader of two processes, batches of 32."""
    import open_clip
    import torch
    from PIL import Image
    from torch.nn import functional

    model, texts = open_clip_model(work, label)
    transform = open_clip.image_transform(224, is_train=False)
    texts = functional.normalize(texts, dim=-1)

    class Films(torch.utils.data.Dataset):
        def __init__(self, paths: Sequence[str]) -> None:
            self.paths = paths

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> Any:
            return transform(Image.open(self.paths[index]))

    def score(paths: Sequence[str]) -> np.ndarray:
        found = []
        loader = torch.utils.data.DataLoader(Films(paths), batch_size=32, num_workers=2, multiprocessing_context="fork")
        for pixels in loader:
            with torch.inference_mode():
                cosines = functional.normalize(model.encode_image(pixels), dim=-1) @ texts.T
            found.append((cosines[:, 0] - cosines[:, 1]).double().numpy())
        return np.concatenate(found)

    return score


def huggingface(work: Path, label: str) -> Score:
    """transformers' zero-shot-image-classification pipeline with its default batch, the same weights renamed."""
    import torch
    import transformers

    torch.set_num_threads(THREADS)
    transformers.logging.set_verbosity_error()
    config = transformers.CLIPConfig(
        text_config={"vocab_size": 49408, "hidden_act": "quick_gelu", "eos_token_id": 49407, "bos_token_id": 49406},
        vision_config={"patch_size": 32, "hidden_act": "quick_gelu"},
        projection_dim=512,
    )
    model = transformers.CLIPModel(config)
    left = model.load_state_dict(renamed(torch.load(work / CHECKPOINT, weights_only=True)), strict=False)
    assert not left.unexpected_keys, left
    assert all("position_ids" in name for name in left.missing_keys), left
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(work / "bundle" / "tokenizer.json"), pad_token="<end_of_text>", model_max_length=77
    )
    processor = transformers.CLIPImageProcessor()
    classify = transformers.pipeline(
        "zero-shot-image-classification", model=model.eval(), tokenizer=tokenizer, image_processor=processor
    )
    labels = [label, f"no {label}"]

    def score(paths: Sequence[str]) -> np.ndarray:
        found = []
        for answers in classify(list(paths), candidate_labels=labels, hypothesis_template="{}"):
            p = {answer["label"]: answer["score"] for answer in answers}
            found.append(np.log(p[labels[0]] / p[labels[1]]) / float(model.logit_scale.detach().exp()))
        return np.array(found)

    return score


def ours(backend: str, precision: str, work: Path, label: str) -> Score:
    """The pipeline behind `cxrzero predict`, without its cache."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the command does
    from cxrzero.screener import Screener
    from cxrzero.sources import find_images

    screener = Screener(
        work / "bundle",
        device="cpu",
        backend=backend,  # type: ignore[arg-type]
        precision=precision,  # type: ignore[arg-type]
        cache=False,
    )
    prompts = screener.prompts([label])
    scorer = screener.classifier(prompts)

    def score(paths: Sequence[str]) -> np.ndarray:
        rows = screener.stream(find_images(list(paths)), scorer, prompts)
        return np.array([row.cos_pos[label] - row.cos_neg[label] for row in rows], float)

    return score


CONTESTANTS: dict[str, Callable[[Path, str], Score]] = {
    "reference": reference,
    "open_clip loop": open_clip_loop,
    "Hugging Face pipeline": huggingface,
    "cxrzero onnxruntime fp32": partial(ours, "onnxruntime", "fp32"),
    "cxrzero openvino fp32": partial(ours, "openvino", "fp32"),
    "cxrzero openvino bf16": partial(ours, "openvino", "bf16"),
    "cxrzero auto": partial(ours, "auto", "auto"),
}


def open_clip_model(work: Path, label: str) -> tuple[Any, Any]:
    """The checkpoint in open_clip, and the embeddings of the label's two prompts."""
    import open_clip
    import torch

    torch.set_num_threads(THREADS)
    model = open_clip.model.CLIP(**open_clip.get_model_config("ViT-B-32-quickgelu")).eval()
    model.load_state_dict(torch.load(work / CHECKPOINT, weights_only=True))
    with torch.inference_mode():
        texts = model.encode_text(open_clip.tokenize([label, f"no {label}"]))
    return model, texts


def renamed(state: dict[str, Any]) -> dict[str, Any]:
    """A state dict of OpenAI's layout → transformers' CLIPModel."""
    tops = {
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "logit_scale": "logit_scale",
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    }
    found = {tops[name]: value for name, value in state.items() if name in tops}
    found["text_projection.weight"] = state["text_projection"].T
    found["visual_projection.weight"] = state["visual.proj"].T
    parts = {"ln_final": "text_model.final_layer_norm", "visual.ln_pre": "vision_model.pre_layrnorm"}
    parts["visual.ln_post"] = "vision_model.post_layernorm"
    inner = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    inner["attn.out_proj"] = "self_attn.out_proj"
    for name, value in state.items():
        stem, _, kind = name.rpartition(".")
        if stem in parts:
            found[f"{parts[stem]}.{kind}"] = value
        if ".resblocks." not in name:
            continue
        tower, _, rest = name.partition("transformer.resblocks.")
        number, _, rest = rest.partition(".")
        layer = f"{'vision' if tower else 'text'}_model.encoder.layers.{number}"
        if rest.startswith("attn.in_proj_"):
            for which, part in zip("qkv", value.chunk(3), strict=True):
                found[f"{layer}.self_attn.{which}_proj.{rest.removeprefix('attn.in_proj_')}"] = part
        else:
            module, _, kind = rest.rpartition(".")
            found[f"{layer}.{inner[module]}.{kind}"] = value
    return found
