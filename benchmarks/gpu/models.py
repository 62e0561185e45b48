"""A model with random weights for the rows to measure, and what ONNX Runtime's fp32 on the CPU makes of the films.

    W/NAME/bundle        in CheXzero's layout; cxrzero-mini is the one in the box
    W/NAME/bundle.fp16   the same with a file of fp16, which ONNX Runtime needs
    W/NAME/fitted.npy    (N, h, w) uint8, the films after the geometry of preprocessing
    W/NAME/exact.npy     (N, D) float32, their embeddings by the CPU
    W/NAME/info.json     its name, and the GFLOP of one film

The image tower is the architecture's own. The text tower, which is not measured, has one layer.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.gpu.worker import done, mark, parser

SEED = 0
TEXT = {"width": 64, "heads": 1, "layers": 1}


@dataclass(frozen=True)
class Source:
    """Where a model comes from.

    Attributes:
        title: as tables name it.
        arch: open_clip's name; None for the model in the box.
        films: of which deviations are measured.
    """

    title: str
    arch: str | None
    films: int = 96


SOURCES = {
    "vit-b-32": Source("ViT-B/32", "ViT-B-32-quickgelu"),
    "mini": Source("cxrzero-mini", None),
    "vit-b-16": Source("ViT-B/16", "ViT-B-16-quickgelu", 48),
    "vit-l-14-336": Source("ViT-L/14 at 336", "ViT-L-14-336-quickgelu", 24),
    "tiny": Source("tiny", "tiny", 12),  # to try the programs
}
TINY = {"embed_dim": 32, "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 32}}


def main() -> None:
    options = parser(__doc__)
    options.add_argument("name", choices=list(SOURCES))
    args = options.parse_args()
    source, folder = SOURCES[args.name], args.work / args.name
    folder.mkdir(parents=True, exist_ok=True)
    threads = max(1, len(os.sched_getaffinity(0)) // 3)  # several models are made at once, beside what is measured
    make_bundle(source, folder, threads)
    while not done(args.work, "png").exists():
        time.sleep(0.1)
    films = sorted((args.work / "png").iterdir())[: source.films]
    measure_on_cpu(source, folder, films, threads)
    mark(args.work, args.name)
    add_fp16(folder)
    mark(args.work, f"{args.name}.fp16")


def make_bundle(source: Source, folder: Path, threads: int) -> None:
    import torch

    from cxrzero.clip.architecture import build_model, load_arch
    from cxrzero.convert import import_model
    from cxrzero.model.bundle import bundled_folder

    torch.set_num_threads(threads)
    if source.arch is None:
        shutil.copytree(bundled_folder() / "cxrzero-mini", folder / "bundle")
        return
    described = folder / "arch.json"
    described.write_text(json.dumps(architecture(source.arch)), encoding="utf-8")
    torch.manual_seed(SEED)
    model = build_model(load_arch(str(described))).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim >= 2 and "embedding" not in name:
                weight.mul_(1.5)  # the activations of fresh weights are too near zero to tell films apart
    checkpoint = folder / "weights.pt"
    torch.save(model.state_dict(), checkpoint)
    import_model(checkpoint, folder / "bundle", name=source.title, card="chexzero", arch=str(described))
    checkpoint.unlink()


def architecture(name: str) -> dict[str, object]:
    """open_clip's configuration with a small text tower."""
    import open_clip

    text = {"context_length": 77, "vocab_size": 49408, **TEXT}
    config = dict(TINY) if name == "tiny" else dict(open_clip.get_model_config(name))
    return config | {"quick_gelu": True, "architecture": f"open_clip {name}", "text_cfg": text}


def measure_on_cpu(source: Source, folder: Path, films: list[Path], threads: int) -> None:
    """The films after the geometry, their embeddings in fp32, and the arithmetic that one of them takes."""
    from torch.utils.flop_counter import FlopCounterMode

    from cxrzero.backends import open_encoder
    from cxrzero.images import decode
    from cxrzero.images.radiograph import DecodeOptions
    from cxrzero.model.bundle import load_bundle
    from cxrzero.model.preprocess import Preprocess

    bundle = load_bundle(folder / "bundle")
    preprocess = Preprocess(bundle.preprocess, bundle.image_size)
    steps = preprocess.value_steps
    assert steps is not None, "each of SOURCES has levels, and a bicubic resize at most"
    fitted = np.stack([preprocess.fit(next(decode(path, DecodeOptions())).pixels) for path in films])
    exact = open_encoder(bundle, "onnxruntime", "cpu", threads=threads).encode_images(steps(fitted))
    np.save(folder / "fitted.npy", fitted)
    np.save(folder / "exact.npy", exact)
    torch_encoder = open_encoder(bundle, "torch", "cpu", threads=threads)
    torch_encoder.fixed_batch = 1  # type: ignore[attr-defined]
    with FlopCounterMode(display=False) as counter:
        torch_encoder.encode_images(steps(fitted[:1]))
    info = {"title": source.title, "gflop": counter.get_total_flops() / 1e9, "films": len(films)}
    (folder / "info.json").write_text(json.dumps(info) + "\n", encoding="utf-8")


def add_fp16(folder: Path) -> None:
    """A second bundle over the same files: the first may be in use."""
    from cxrzero.convert.variants import add_unmeasured

    half = folder / "bundle.fp16"
    shutil.copytree(folder / "bundle", half, copy_function=os.link)
    (half / "model.json").unlink()
    shutil.copy(folder / "bundle" / "model.json", half)
    add_unmeasured(half, "fp16")


def differences(embeds: npt.NDArray[np.float32], labels: int = 14) -> npt.NDArray[np.float64]:
    """(N, labels) d = cos⁺ − cos⁻; random directions stand for the texts, the same for every backend."""
    texts = np.random.default_rng(SEED).normal(size=(2, labels, embeds.shape[1]))
    positive, negative = texts / np.linalg.norm(texts, axis=-1, keepdims=True)
    return embeds.astype(np.float64) @ (positive - negative).T


if __name__ == "__main__":
    main()
