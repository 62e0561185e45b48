"""The last block for the class token alone gives what the whole block gives, and so do the patches."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from cxrzero.convert.last_block import is_plain_block, of_hugging_face, of_open_clip  # noqa: E402
from cxrzero.convert.towers import hugging_face_towers, open_clip_towers  # noqa: E402
from tests.support.checkpoints import clip  # noqa: E402


def shaken(model):
    """Every weight random, biases and scales too, which start as zeros and ones."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn(weight.shape, generator=generator))
    return model.double().eval()  # in which another order of sums shows far below a wrong one


def hugging_face_clip():
    torch.manual_seed(0)
    vision = {"image_size": 64, "patch_size": 16, "hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 99}
    text |= {"bos_token_id": 1, "eos_token_id": 2}
    config = transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=32)
    return shaken(transformers.CLIPModel(config))


@torch.no_grad()
def test_of_open_clip():
    block = shaken(clip().visual.transformer.resblocks[-1])
    tokens = torch.randn(3, 5, 128).double()
    first, every = of_open_clip(block)(tokens)
    torch.testing.assert_close(every, block(tokens))
    torch.testing.assert_close(first, every[:, :1])


@torch.no_grad()
def test_of_hugging_face():
    layer = hugging_face_clip().vision_model.encoder.layers[-1]
    tokens = torch.randn(3, 17, 48).double()
    first, every = of_hugging_face(layer)(tokens)
    torch.testing.assert_close(every, layer(tokens, None))
    torch.testing.assert_close(first, every[:, :1])


@torch.no_grad()
def test_towers_give_the_models_own_embeddings_and_patch_tokens():
    pixels = torch.randn(3, 3, 64, 64).double()
    model = shaken(clip())
    towers = open_clip_towers(model)
    embeds, patches = towers.image(pixels)
    torch.testing.assert_close(embeds, towers.reference(pixels))
    tokens = model.visual.transformer(model.visual._embeds(pixels))
    expected = torch.nn.functional.normalize(model.visual.ln_post(tokens) @ model.visual.proj, dim=-1)
    torch.testing.assert_close(patches.flatten(1, 2), expected[:, 1:])

    model = hugging_face_clip()
    towers = hugging_face_towers(model)
    embeds, patches = towers.image(pixels)
    torch.testing.assert_close(embeds, towers.reference(pixels))
    tokens = model.vision_model(pixel_values=pixels).last_hidden_state
    expected = model.visual_projection(model.vision_model.post_layernorm(tokens))
    torch.testing.assert_close(patches.flatten(1, 2), torch.nn.functional.normalize(expected, dim=-1)[:, 1:])


def test_a_block_of_another_kind_is_not_taken_for_one():
    block = clip().visual.transformer.resblocks[-1]
    assert is_plain_block(block)
    block.attn.in_proj_bias = None
    assert not is_plain_block(block)
    assert not is_plain_block(torch.nn.TransformerEncoderLayer(128, 2))
