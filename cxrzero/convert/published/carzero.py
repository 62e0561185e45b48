"""CARZero (laihaoran/CARZero, fa4e09c): a ViT and a BERT whose tokens look at each other, both ways.

The checkpoint is Lightning's: every tensor below "CARZero.", with what training kept beside it. Two passes of one
decoder without self-attention make a logit: the sentence looks at the picture's tokens, the picture at the sentence's
words; an MLP reads each, and the logit is their mean (get_dqn_similarities of CARZero/CARZero.py, which inference.py
calls). What a film or a sentence decides alone is in its tower.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from tokenizers import Regex, Tokenizer, normalizers
from torch import Tensor, nn

from cxrzero.cards.card import load_card
from cxrzero.convert.loaded import LoadedModel
from cxrzero.convert.published.bert import WORDS, Bert, build_bert
from cxrzero.convert.published.decoder import CrossLayer, Decoder
from cxrzero.convert.published.layout import Layout, Source, fill, part, refuse_others
from cxrzero.convert.recognise import HEAD_WIDTH
from cxrzero.convert.towers import AttentionTowers
from cxrzero.convert.vocabulary import read_vocabulary
from cxrzero.convert.weights import StateDict
from cxrzero.errors import ImportModelError

NAME, PREFIX = "carzero", "CARZero."
FUSION, IMAGE, TEXT = "fusion_module.", "img_encoder.model.", "text_encoder.model."
VOCABULARY = "Laihaoran/BioClinicalMPBERT"  # configs/mimic_pretrain_llm_dqn_wo_self_atten_mlp_gl.yaml: bert_type
# What no tensor tells, from the same file, and CXR_MAE's numbers (build_transformation of CARZero/builder.py).
LAST_LAYERS, CONTEXT, LONGEST, MEAN, STD = 4, 97, 256, 0.4978, 0.2449
# As the checkpoint's hyper_parameters state it.
STATED: dict[tuple[str, ...], Any] = {
    ("model", "text", "last_n_layers"): LAST_LAYERS,
    ("model", "text", "aggregate_method"): "sum",
    ("model", "text", "agg_tokens"): True,
    ("model", "text", "norm"): False,
    ("data", "text", "word_num"): CONTEXT,
    ("data", "image", "imsize"): LONGEST,
    ("transforms", "norm"): "CXR_MAE",
}
CONTINUES = "##"  # how a piece begins that goes on with a word
# In the fusion module's tensors and never used (forward_pre of TransformerDecoderWoSelfAttenLayer), and the other name
# of the one norm that the towers' tokens and the decoder's answers go through, `decoder.norm`.
UNUSED = ("self_attn.", "norm1.", "logit_scale", "decoder_norm.")


class TextTower(nn.Module):
    """input_ids (L, S) → (L, 1 + S, D): the sentence, its words, then zeros, all behind the decoder's norm.

    Args:
        bert: its last LAST_LAYERS layers are added up.
        continues: (V,) whether a token of the vocabulary goes on with the word before it.
        norm: of the fusion module.
    """

    def __init__(self, bert: Bert, continues: Tensor, norm: nn.Module) -> None:
        super().__init__()
        self.bert, self.norm = bert, norm
        self.register_buffer("continues", continues.long())

    def forward(self, input_ids: Tensor) -> Tensor:
        pieces = torch.stack(self.bert.hidden_states(input_ids)[-LAST_LAYERS:]).sum(dim=0)
        words = self._words(input_ids).to(pieces.dtype) @ pieces
        # The authors' mean is over all places, those without a word too.
        return torch.as_tensor(self.norm(torch.cat([words.mean(dim=1, keepdim=True), words], dim=1)))

    def _words(self, input_ids: Tensor) -> Tensor:
        """(L, S, S): whether word w is made of piece s; [CLS] and [SEP] are words (BertEncoder.aggregate_tokens)."""
        word = (1 - self.continues[input_ids]).cumsum(dim=1) - 1
        places = torch.arange(input_ids.shape[1], device=input_ids.device)
        return (word[:, None, :] == places[None, :, None]) & (self.bert.mask(input_ids)[:, None, :] > 0)


class ImageTower(nn.Module):
    """pixel_values (N, 3, H, W) → (N, 1 + patches, D), behind the decoder's norm."""

    def __init__(self, trunk: VisionTransformer, norm: nn.Module) -> None:
        super().__init__()
        self.trunk, self.norm = trunk, norm

    def forward(self, pixel_values: Tensor) -> Tensor:
        return torch.as_tensor(self.norm(self.trunk.forward_features(pixel_values)))


class Scorer(nn.Module):
    """(image_tokens (N, T, D), text_tokens (L, 1 + S, D)) → logits (N, L), attention (N, L, h, w)."""

    def __init__(self, decoder: Decoder, head: nn.Module, grid: int) -> None:
        super().__init__()
        self.decoder, self.mlp_head, self.grid = decoder, head, grid

    def forward(self, image_tokens: Tensor, text_tokens: Tensor) -> tuple[Tensor, Tensor]:
        pictures, sentences = image_tokens[:, 0], text_tokens[:, 0]
        of_picture, looked = self.decoder(sentences.expand(pictures.shape[0], -1, -1), image_tokens)
        of_words, _ = self.decoder(pictures.expand(sentences.shape[0], -1, -1), text_tokens)
        logits = (self.mlp_head(of_picture)[..., 0] + self.mlp_head(of_words)[..., 0].transpose(0, 1)) / 2
        # conve_attention_map of CARZero/CARZero.py: the mean of the last four layers, without the class token.
        attention = torch.stack(looked[-4:]).mean(dim=0)[:, :, 1:]
        return logits, attention.unflatten(2, (self.grid, self.grid))


def recognises(weights: Mapping[str, Tensor]) -> bool:
    """By the name that its training gives the whole; the authors' other variants are told from it by `load`."""
    return any(name.startswith(PREFIX) for name in weights)


def load(weights: StateDict, source: Source) -> LoadedModel:
    """A checkpoint of CARZero.

    Raises:
        ImportModelError: a tower is missing, or tensors are not those of this model.
    """
    _check_config(source)
    weights = part(weights, PREFIX)
    refuse_others(weights, (FUSION, IMAGE, TEXT), "CARZero")
    image, text, fusion = (part(weights, prefix) for prefix in (IMAGE, TEXT, FUSION))
    if not image or not text:
        raise ImportModelError(f"{source.path} has no {'image' if not image else 'text'} tower; CARZero needs both")
    trunk = _trunk(image)
    scorer = _scorer(fusion, trunk.patch_embed.grid_size[0])
    width, side = trunk.embed_dim, trunk.patch_embed.img_size[0]
    tokens = text.get(WORDS, torch.zeros(0, 0)).shape[0]
    vocabulary = read_vocabulary(source, tokens, lower_case=True, origin=VOCABULARY)
    tower = TextTower(build_bert(text, "CARZero"), _continues(vocabulary), scorer.decoder.norm)
    bert = tower.bert.model.config
    if len({width, scorer.decoder.norm.normalized_shape[0], bert.hidden_size}) > 1:
        raise ImportModelError(f"{source.path}: its towers and its fusion module are of different widths")
    if bert.max_position_embeddings < CONTEXT:
        raise ImportModelError(f"{source.path} has places for {bert.max_position_embeddings} tokens, not for {CONTEXT}")
    return LoadedModel(
        model=None,
        towers=AttentionTowers(ImageTower(trunk, scorer.decoder.norm), tower, scorer, has_attention=True),
        architecture=f"CARZero: ViT patch {trunk.patch_embed.patch_size[0]} at {side} px, BERT, cross-attention",
        embed_dim=None,
        image_size=(side, side),
        preprocess=_steps(side),
        scoring={"rule": "scorer", "scale": 1.0, "bias": 0.0, "pairs": False, "labels": "independent"},
        tokenizer=cleaned(vocabulary),
        context_length=CONTEXT,
        pad_id=tower.bert.pad_id,
        activation="GELU; ReLU in the decoder",
        lineage=NAME,
        card=load_card(NAME),
        arch=None,
        stated=(
            f"architecture: {len(trunk.blocks)} + {bert.num_hidden_layers} layers of {width}, "
            f"{len(scorer.decoder.layers)} of cross-attention (by the shapes of its tensors)",
            f"text: the last {LAST_LAYERS} layers of BERT, {CONTEXT} tokens "
            f"({'hyper_parameters beside the weights' if source.config else 'as published; no tensor tells it'})",
        ),
    )


def _check_config(source: Source) -> None:
    """Where the file keeps its configuration, it must be the published one."""
    for path, published in STATED.items():
        found: Any = source.config
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        if found not in (None, published):
            raise ImportModelError(
                f"{source.path} was trained with {'.'.join(path)} = {found!r}; only the published CARZero is "
                f"supported, which has {published!r}"
            )


def _trunk(weights: StateDict) -> VisionTransformer:
    """MRM of CARZero/models/transformer_backbones.py, which is timm's ViT."""
    try:
        places, kernel = weights["pos_embed"], weights["patch_embed.proj.weight"]
        depth = len({name.split(".")[1] for name in weights if name.startswith("blocks.")})
        inner = weights["blocks.0.mlp.fc1.weight"].shape[0]
    except KeyError as error:
        raise ImportModelError(f"the image tower of CARZero has no {error.args[0]}") from None
    grid, patch, width = round((places.shape[1] - 1) ** 0.5), kernel.shape[-1], kernel.shape[0]
    if grid * grid + 1 != places.shape[1]:
        raise ImportModelError(f"the image tower of CARZero has {places.shape[1]} places, which are no square and one")
    if grid * patch > LONGEST:
        raise ImportModelError(f"the image tower of CARZero reads {grid * patch} px and would be given {LONGEST}")
    trunk = VisionTransformer(
        img_size=grid * patch,
        patch_size=patch,
        num_classes=0,
        global_pool="",
        embed_dim=width,
        depth=depth,
        num_heads=max(1, width // HEAD_WIDTH),
        mlp_ratio=inner / width,
    )
    return fill(trunk, weights, "the image tower of CARZero")


def _scorer(weights: StateDict, grid: int) -> Scorer:
    used = {name: value for name, value in weights.items() if not any(word in name for word in UNUSED)}
    try:
        inner, width = used["decoder.layers.0.linear1.weight"].shape
        shapes = [used[f"mlp_head.{place}.weight"].shape for place in (0, 3, 6, 9)]
    except KeyError as error:
        raise ImportModelError(f"the fusion module of CARZero has no {error.args[0]}") from None
    if [width, *(outputs for outputs, _ in shapes)] != [*(inputs for _, inputs in shapes), 1]:
        raise ImportModelError(f"the MLP of CARZero does not lead from {width} numbers to one")
    depth = len({name.split(".")[2] for name in used if name.startswith("decoder.layers.")})
    head: list[nn.Module] = []
    for outputs, inputs in shapes:  # the places between are ReLU and dropout
        head += [nn.Linear(inputs, outputs), nn.ReLU(), nn.Identity()]
    scorer = Scorer(Decoder(width, inner, depth, CrossLayer), nn.Sequential(*head[:-2]), grid)
    return fill(scorer, used, "the fusion module of CARZero")


def _continues(vocabulary: Tokenizer) -> Tensor:
    """(V,) bool, by id."""
    by_id = sorted(vocabulary.get_vocab().items(), key=lambda item: item[1])
    return torch.tensor([piece.startswith(CONTINUES) for piece, _ in by_id])


def cleaned(vocabulary: Tokenizer) -> Tokenizer:
    """What process_text does to a prompt (CARZero/models/CARZero_model_dqn_wo_self_atten_gl_mlp.py), then BERT's own.

    Lower case, words of ASCII letters, digits and "_" alone, no numbers of a list. The authors also drop a sentence of
    one word, which leaves nothing of the prompt "pneumonia"; here it stays.
    """
    theirs = [
        normalizers.Lowercase(),
        normalizers.Replace(Regex(r"[0-9]+\."), " "),
        normalizers.Replace(Regex(r"[^\p{L}\p{N}_]+"), " "),
        normalizers.Replace(Regex(r"[^\x00-\x7F]+"), ""),
    ]
    own = [vocabulary.normalizer] if vocabulary.normalizer else []
    vocabulary.normalizer = normalizers.Sequence([*theirs, *own])
    return vocabulary


def _steps(side: int) -> list[dict[str, Any]]:
    """process_img and _resize_img of the same file, build_transformation of CARZero/builder.py."""
    return [
        {"step": "resize_longest_area", "size": LONGEST},
        {"step": "pad_to_square", "size": LONGEST, "fill": 0},
        {"step": "center_crop", "height": side, "width": side},
        {"step": "rescale", "factor": 1 / 255},
        {"step": "normalize", "mean": [MEAN] * 3, "std": [STD] * 3},
    ]


CARZERO = Layout(NAME, recognises, load)
