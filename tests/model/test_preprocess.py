"""Each lineage's steps against torch and Pillow primitives written out here."""

from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrzero.errors import BundleError, ImageError
from cxrzero.model.preprocess import Preprocess
from tests.support.needs import optional
from tests.support.pictures import picture

torch = optional("torch")

CHEXZERO_MEAN, CHEXZERO_STD = 101.48761, 83.43944
CHEXZERO: list[dict[str, Any]] = [
    {"step": "resize_longest", "size": 320, "interpolation": "lanczos"},
    {"step": "pad_to_square", "size": 320, "fill": 0},
    {"step": "rescale", "factor": 1},
    {"step": "normalize", "mean": [CHEXZERO_MEAN] * 3, "std": [CHEXZERO_STD] * 3},
    {"step": "resize_tensor", "size": 224, "interpolation": "bicubic", "antialias": False},
]
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
CLIP: list[dict[str, Any]] = [
    {"step": "resize_shortest", "size": 224, "interpolation": "bicubic"},
    {"step": "center_crop", "height": 224, "width": 224},
    {"step": "rescale", "factor": 1 / 255},
    {"step": "normalize", "mean": CLIP_MEAN, "std": CLIP_STD},
]
SIGLIP: list[dict[str, Any]] = [
    {"step": "resize", "height": 384, "width": 384, "interpolation": "bicubic"},
    {"step": "rescale", "factor": 1 / 255},
    {"step": "normalize", "mean": [0.5] * 3, "std": [0.5] * 3},
]
MEDCLIP: list[dict[str, Any]] = [
    {"step": "expand_to_square", "minimum": 224, "fill": 0},
    {"step": "resize", "height": 224, "width": 224, "interpolation": "bilinear"},
    {"step": "rescale", "factor": 1 / 255},
    {"step": "normalize", "mean": [0.5862785803043838] * 3, "std": [0.27950088968644304] * 3},
]


@pytest.mark.parametrize("size", [(500, 400), (400, 500), (320, 320), (101, 997), (50, 60)])
def test_chexzero(size: tuple[int, int]) -> None:
    pixels = picture(1, size)
    image = Image.fromarray(pixels)
    ratio = 320 / max(image.size)
    width, height = (int(side * ratio) for side in image.size)
    square = Image.new("L", (320, 320))
    square.paste(image.resize((width, height), Image.Resampling.LANCZOS), ((320 - width) // 2, (320 - height) // 2))
    result = Preprocess(CHEXZERO, (224, 224))(pixels)
    # torch's own float32 interpolation is off by up to 3e-5; in float64 only our float32 normalisation is left
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.float32, 5e-5)):
        tensor = torch.from_numpy(np.array(square)).to(dtype)[None, None].repeat(1, 3, 1, 1)
        tensor = (tensor - CHEXZERO_MEAN) / CHEXZERO_STD
        expected = torch.nn.functional.interpolate(tensor, 224, mode="bicubic", antialias=False, align_corners=False)
        np.testing.assert_allclose(result, expected[0].numpy(), atol=tolerance)


@pytest.mark.parametrize("size", [(500, 400), (401, 500), (224, 224), (333, 224)])
def test_clip(size: tuple[int, int]) -> None:
    from torchvision.transforms import v2

    pixels = picture(2, size)
    transform = v2.Compose(
        [
            v2.Resize(224, interpolation=v2.InterpolationMode.BICUBIC),
            v2.CenterCrop(224),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(CLIP_MEAN, CLIP_STD),
        ]
    )
    expected = transform(Image.fromarray(pixels).convert("RGB"))
    np.testing.assert_allclose(Preprocess(CLIP, (224, 224))(pixels), expected.numpy(), atol=1e-6)


def test_siglip() -> None:
    pixels = picture(3, (300, 200))
    resized = np.asarray(Image.fromarray(pixels).resize((384, 384), Image.Resampling.BICUBIC), np.float32)
    expected = np.repeat(((resized / 255 - 0.5) / 0.5)[None], 3, axis=0)
    np.testing.assert_allclose(Preprocess(SIGLIP, (384, 384))(pixels), expected, atol=1e-6)


BIOVIL: list[dict[str, Any]] = [
    {"step": "stretch", "rounding": "floor"},
    {"step": "resize_shortest", "size": 512, "interpolation": "bilinear"},
    {"step": "center_crop", "height": 448, "width": 448},
    {"step": "rescale", "factor": 1 / 255},
]


@pytest.mark.parametrize(("darkest", "brightest"), [(0, 255), (7, 201), (0, 1), (254, 255), (90, 130)])
def test_biovil(darkest: int, brightest: int) -> None:
    """Grey as hi-ml's `remap_to_uint8` stretches it, of the whole film before anything is cut off."""
    from torchvision import transforms

    pixels = np.clip(picture(5, (600, 700)), darkest, brightest)
    pixels[0, 0], pixels[-1, -1] = darkest, brightest  # in corners, which the crop loses
    array = pixels.astype(float)
    array -= array.min()
    array /= array.max()
    array *= 255
    transform = transforms.Compose([transforms.Resize(512), transforms.CenterCrop(448), transforms.ToTensor()])
    expected = transform(Image.fromarray(array.astype(np.uint8))).numpy()
    np.testing.assert_array_equal(Preprocess(BIOVIL, (448, 448))(pixels), np.repeat(expected, 3, axis=0))


def test_a_film_of_one_grey_has_nothing_to_stretch() -> None:
    assert not Preprocess(BIOVIL, (448, 448))(np.full((500, 500), 90, np.uint8)).any()


@pytest.mark.parametrize("size", [(500, 401), (401, 500), (224, 224), (100, 997), (51, 60), (300, 7)])
def test_medclip(size: tuple[int, int]) -> None:
    from torchvision.transforms import v2

    pixels = picture(4, size)
    side = max(224, *size)
    square = Image.new("L", (side, side))
    square.paste(Image.fromarray(pixels), (int((side - size[1]) / 2), int((side - size[0]) / 2)))
    transform = v2.Compose(
        [
            v2.Resize((224, 224)),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5862785803043838], [0.27950088968644304]),
        ]
    )
    result = Preprocess(MEDCLIP, (224, 224))(pixels)
    np.testing.assert_allclose(result, np.repeat(transform(square).numpy(), 3, axis=0), atol=1e-6)


def test_a_strip_is_refused_before_it_is_made_a_square() -> None:
    with pytest.raises(ImageError, match="too_many_pixels: a square around it would be of 20000 × 20000 pixels"):
        Preprocess(MEDCLIP, (224, 224))(np.zeros((3, 20000), np.uint8))


def test_channels_differ_where_their_means_do() -> None:
    result = Preprocess(CLIP, (224, 224))(picture(4))
    assert result.dtype == np.float32
    assert result.shape == (3, 224, 224)
    assert not np.allclose(result[0], result[2])


def without(steps: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [step for step in steps if step["step"] != name]


@pytest.mark.parametrize(
    "steps",
    [
        [{"step": "sharpen"}, *SIGLIP],
        without(SIGLIP, "rescale"),
        [*SIGLIP, {"step": "rescale", "factor": 1}],
        [SIGLIP[1], SIGLIP[0], SIGLIP[2]],
        [{"step": "stretch"}, *SIGLIP],
        [{"step": "stretch", "rounding": "up"}, *SIGLIP],
        [SIGLIP[0], SIGLIP[1], {"step": "stretch", "rounding": "floor"}, SIGLIP[2]],
        [{"step": "resize", "height": 384}, *SIGLIP[1:]],
        [{**SIGLIP[0], "extra": 1}, *SIGLIP[1:]],
        [{**SIGLIP[0], "interpolation": "guess"}, *SIGLIP[1:]],
        [{**SIGLIP[0], "height": 10**9}, *SIGLIP[1:]],
        [*SIGLIP[:2], {"step": "normalize", "mean": [0.5], "std": [0.5]}],
        [*SIGLIP[:2], {"step": "normalize", "mean": [0.5] * 3, "std": [0, 1, 1]}],
        [*CHEXZERO[:4], {**CHEXZERO[4], "antialias": True}],
        [{**SIGLIP[0], "height": 100}, *SIGLIP[1:]],
    ],
)
def test_a_wrong_list_of_steps_is_found_before_any_image(steps: list[dict[str, Any]]) -> None:
    with pytest.raises(BundleError):
        Preprocess(steps, (384, 384))


@pytest.mark.parametrize(("steps", "side"), [(CHEXZERO, 224), (CLIP, 224), (SIGLIP, 384)])
def test_the_steps_after_fit_give_the_same_bits_for_a_batch(steps: list[dict[str, Any]], side: int) -> None:
    preprocess = Preprocess(steps, (side, side))
    films = [picture(seed, (500 + seed, 400)) for seed in range(3)]
    assert preprocess.value_steps is not None
    batch = preprocess.value_steps(np.stack([preprocess.fit(film) for film in films]))
    assert batch.flags.c_contiguous
    np.testing.assert_array_equal(batch, np.stack([preprocess(film) for film in films]))


def test_steps_in_another_order_have_no_values_to_be_made_beside_the_encoder() -> None:
    resize, normalise = CHEXZERO[-1], CLIP[-1]
    assert Preprocess([*CLIP[:3], resize, normalise], (224, 224)).value_steps is None
