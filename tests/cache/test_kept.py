"""What was kept before is found again: the keys of the cache and the fingerprints of models are what they always were.

The fingerprints were made by version 0.1.0 before its modules were regrouped, the keys by 0.2.0, whose decoders include
tifffile. Whoever has to change one makes every user embed every film again, and every calibration useless: raise the
version and say so in the changelog.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cxrzero.cache.contents import Contents
from cxrzero.cache.entries import Entries
from cxrzero.cache.images import ImageCache
from cxrzero.images.radiograph import DecodeOptions
from cxrzero.member import Member
from cxrzero.model.bundle import Bundle
from cxrzero.model.model_json import Scoring, Templates, Variant
from cxrzero.sources import ImageRef
from cxrzero.sources.refs import archived

FILES = {
    "image_encoder.onnx": "1" * 64,
    "text_encoder.onnx": "2" * 64,
    "tokenizer.json": "3" * 64,
    "image_encoder.fp16.onnx": "4" * 64,
}


REF = ImageRef("/archive/a/1.dcm", identity=(12, 1_700_000_000_000_000_000, 7))
# Where the content of REF is looked for, and the embedding of the content b"film", as --cache-by first had them.
HASHED = "00331a18e527f474561696b4cd192948"
CONTENT = "a48b8d28326b539209d6b3f668db756c"

FINGERPRINTS = [
    "557ccdbfc66703631203665407c64811a04bd5bf1d251bb2bbfeaadd7f122988",
    "35aced84f391aa8b20fb8c6a1fce42063ab796bde197cac258db9b6c231866b9",
    "557ccdbfc66703631203665407c64811a04bd5bf1d251bb2bbfeaadd7f122988",
]


class Asked:
    """A store that has nothing and remembers what it was asked for."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        self.keys += [key.hex() for key in keys]
        return {}

    def put(self, *_: Any) -> None:
        pass


@pytest.fixture
def bundle() -> Bundle:
    return Bundle(
        path=Path("kept"),
        name="kept",
        architecture="ViT",
        embed_dim=4,
        image_size=(224, 224),
        preprocess=({"step": "resize", "height": 224, "width": 224, "interpolation": "bicubic"},),
        context_length=77,
        pad_id=0,
        scoring=Scoring("softmax_pair", 1.0),
        templates=Templates(("{}",), ("no {}",)),
        labels=("pneumonia",),
        files=FILES,
        card={"schema_version": 1},
        variants={"fp16": Variant("image_encoder.fp16.onnx", None), "bf16": Variant(None, None)},
    )


def member(bundle: Bundle, precision: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Member, Asked]:
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0")
    monkeypatch.setattr("cxrzero.member.__version__", "0.1.0")
    store = Asked()
    encoder = SimpleNamespace(
        backend="onnxruntime 1.22.0", device="cpu", precision=precision, reason="", takes_fitted=False
    )
    return Member(bundle, None, None, encoder, store), store  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("precision", "options", "key"),
    [
        ("fp32", DecodeOptions(), "c3d7d5f421c49e728332ede251d0231a"),
        ("fp16", DecodeOptions(), "17d58f6021455c18f78e50febd8c784d"),
        ("fp32", DecodeOptions(invert="yes", fast_side=448), "21bd42dbd47eaf6e28c609c0188f59a7"),
    ],
)
def test_an_embedding_is_looked_for_where_it_was_kept(
    precision: str, options: DecodeOptions, key: str, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, store = member(bundle, precision, monkeypatch)
    cache = one.embedder(options).cache
    assert cache is not None
    cache.lookup([REF])
    assert store.keys == [key, HASHED]  # what is not there by its path may be there by its content


def test_a_film_whose_content_is_known_is_looked_for_by_that_and_then_by_its_path(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, store = member(bundle, "fp32", monkeypatch)
    cache = one.embedder(DecodeOptions()).cache
    assert cache is not None
    content = hashlib.blake2b(b"film", digest_size=32).digest()
    cache.lookup([REF._replace(content=content)])
    assert store.keys == [CONTENT, "c3d7d5f421c49e728332ede251d0231a"]


def test_an_instance_of_an_archive_is_looked_for_by_its_address() -> None:
    store = Asked()
    address = "dicom://pacs:104/A/studies/1.2/series/1.3/instances/1.4"
    entries = Entries(store, "image", "kept", {"a": 1})  # type: ignore[arg-type]
    cache = ImageCache(entries, 16, Contents(store))  # type: ignore[arg-type]
    cache.lookup([ImageRef(address, identity=archived(address)), ImageRef(address)])
    assert store.keys == ["9f68edddd05ecd226fa92246cf76453e"]  # by 0.2.0


def test_fingerprints_stay(bundle: Bundle) -> None:
    assert [bundle.fingerprint_at(precision) for precision in ("fp32", "fp16", "bf16")] == FINGERPRINTS
