"""Whatever form a pair was exported in, the bundle gives what its own graphs give."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from cxrzero.backends import open_encoder
from cxrzero.convert.own import importer
from cxrzero.model.bundle import Bundle
from cxrzero.model.model_json import TOKENIZER, Scoring
from cxrzero.model.preprocess import Preprocess
from cxrzero.model.tokenizer import Tokenizer
from cxrzero.model.weights import IMAGE_WEIGHTS, TEXT_WEIGHTS, stored_tensors
from cxrzero.phantom import draw
from cxrzero.registry.verify import verify
from tests.convert.own.conftest import Import
from tests.support.ownencoders import CONTEXT, ROWS, SIDE, STEPS, WIDTH, Image, Pair, Text, word_tokenizer

SENTENCES = ("pneumonia", "there is no pleural effusion")
IMAGES = {
    "as the contract": Image("pixel_values", "image_embeds"),
    "the contract's names swapped": Image("image_embeds", "pixel_values"),
    "not normalised": Image(normalised=False),
    "its output called as the normalised one": Image(output="image_embeds", normalised=False),
    "half precision": Image(dtype=TensorProto.FLOAT16),
    "batch fixed to 1": Image(batch=1),
    "batch fixed to 3": Image(batch=3),
    "one channel": Image(channels=1),
    "channels last": Image(channels_last=True, name="pixel_values"),
    "one channel, last, in half precision": Image(channels=1, channels_last=True, dtype=TensorProto.FLOAT16),
    "sizes free": Image(size=("H", "W")),
    "opset 11": Image(opset=11),
    "opset 20": Image(opset=20),
}
TEXTS = {
    "as the contract": Text("input_ids", "text_embeds"),
    "mask": Text(mask=TensorProto.INT64),
    "mask and kinds": Text(name="input_ids", mask=TensorProto.INT64, kinds=TensorProto.INT64),
    "int32": Text(dtype=TensorProto.INT32, mask=TensorProto.INT32),
    "mask of truth values": Text(mask=TensorProto.BOOL),
    "mask of half precision": Text(mask=TensorProto.FLOAT16, normalised=False),
    "fixed length and batch": Text(length=CONTEXT, batch=1, kinds=TensorProto.INT32),
}


def unit(rows: Any) -> np.ndarray[Any, Any]:
    rows = np.asarray(rows, np.float64)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


def pixels(bundle: Bundle) -> np.ndarray[Any, Any]:
    preprocess = Preprocess(bundle.preprocess, bundle.image_size)
    return np.stack([preprocess(draw(seed, (60, 50)).to_uint8()) for seed in (3, 4)])


def of_image_graph(image: Image, rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """What the user's own file gives, each picture in a call."""
    session = onnxruntime.InferenceSession(image.model().SerializeToString(), providers=["CPUExecutionProvider"])
    found = []
    for row in rows[:, None, : image.channels]:
        given = np.moveaxis(row, 1, -1) if image.channels_last else row
        given = given.repeat(image.batch if isinstance(image.batch, int) else 1, axis=0)
        found.append(session.run(None, {image.name: given.astype(helper.tensor_dtype_to_np_dtype(image.dtype))})[0][:1])
    return unit(np.concatenate(found))


def of_text_graph(text: Text, sentences: tuple[str, ...]) -> np.ndarray[Any, Any]:
    session = onnxruntime.InferenceSession(text.model().SerializeToString(), providers=["CPUExecutionProvider"])
    tokenizer, found = word_tokenizer(), []
    for sentence in sentences:
        ids = tokenizer.encode(sentence).ids
        count = CONTEXT if text.length == CONTEXT else len(ids)
        row = np.array([ids + [0] * (count - len(ids))])
        given = {text.name: row.astype(helper.tensor_dtype_to_np_dtype(text.dtype))}
        if text.mask is not None:
            given["attention_mask"] = (row > 0).astype(helper.tensor_dtype_to_np_dtype(text.mask))
        if text.kinds is not None:
            given["token_type_ids"] = np.zeros(row.shape, helper.tensor_dtype_to_np_dtype(text.kinds))
        found.append(session.run(None, given)[0][:1])
    return unit(np.concatenate(found))


@pytest.mark.parametrize("form", IMAGES)
def test_image_encoders_of_every_form(form: str, pair: Pair, imported: Import) -> None:
    bundle, _ = imported(pair.but(image=IMAGES[form]))
    given = pixels(bundle)
    found = open_encoder(bundle, "onnxruntime", "cpu").encode_images(given)
    np.testing.assert_allclose(found, of_image_graph(IMAGES[form], given), atol=2e-3 if "half" in form else 2e-6)


@pytest.mark.parametrize("form", TEXTS)
def test_text_encoders_of_every_form(form: str, pair: Pair, imported: Import) -> None:
    bundle, lines = imported(pair.but(text=TEXTS[form]))
    ids = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id)(SENTENCES)
    found = open_encoder(bundle, "onnxruntime", "cpu").encode_texts(ids)
    np.testing.assert_allclose(found, of_text_graph(TEXTS[form], SENTENCES), atol=2e-6)
    assert not any("NOTE" in line for line in lines)


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino", "torch"])
def test_every_backend_runs_what_is_added(backend: Any, pair: Pair, imported: Import) -> None:
    pytest.importorskip(backend)
    image = Image(channels=1, channels_last=True, normalised=False, batch=1)
    text = Text(mask=TensorProto.INT64, kinds=TensorProto.INT64, normalised=False)
    bundle, _ = imported(pair.but(image=image, text=text))
    given = pixels(bundle)
    encoder = open_encoder(bundle, backend, "cpu")
    np.testing.assert_allclose(encoder.encode_images(given), of_image_graph(image, given), atol=2e-6)
    ids = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id)(SENTENCES)
    np.testing.assert_allclose(encoder.encode_texts(ids), of_text_graph(text, SENTENCES), atol=2e-6)


def test_the_bundle_says_what_was_stated_and_what_was_done(pair: Pair, imported: Import) -> None:
    changed = pair.but(image=Image(normalised=False, batch=1), text=Text(mask=TensorProto.INT64))
    bundle, lines = imported(changed, scoring=Scoring("sigmoid", 112.0, -16.5), licence="MIT", pad_id=0)
    card = bundle.card
    assert card["schema_version"] == 2
    assert (bundle.name, bundle.embed_dim, bundle.image_size) == ("mine", WIDTH, (SIDE, SIDE))
    assert (bundle.context_length, bundle.pad_id, card["license"]) == (CONTEXT, 0, "MIT")
    assert (bundle.scoring.rule, bundle.scoring.scale, bundle.scoring.bias) == ("sigmoid", 112.0, -16.5)
    assert [dict(step) for step in bundle.preprocess] == STEPS
    assert (card["training_data"], card["intended_use"], card["results"]) == (None, None, [])
    assert set(card["provenance"]["source"]) == {"image.onnx", "text.onnx", "tokenizer.json", "steps.json"}
    assert str(pair.folder) not in bundle.file("model.json").read_text(encoding="utf-8")
    text = "\n".join(lines)
    for said in (
        "image: image.onnx, opset 17, 'x' (1, 3, 16, 16) float → 'y' (1, 8) float, 8 numbers",
        "a normalisation to length 1 was added",
        "its batch was fixed to 1 and is free now",
        "attention_mask is derived from the padding id inside the graph",
        "context length 16, where the tokenizer cuts texts off; padding id 0, as stated",
        f"the tokenizer has {ROWS} tokens, the text encoder's table {ROWS} rows",
        "sigmoid, p = σ(112·cos⁺ -16.5)",
        "exactness: cosine with your graphs at least 1.0000000",
    ):
        assert said in text
    assert all(check.ok for check in verify(bundle))


def test_large_numbers_go_to_the_file_of_weights_and_documentation_goes(pair: Pair, imported: Import) -> None:
    model = pair.image.model()
    model.doc_string = model.graph.node[0].doc_string = "/home/przybylski/towers.py"
    model.producer_name = "przybylski"
    onnx.save(model, pair.image_file)
    bundle, _ = imported(pair)
    [stored] = stored_tensors(bundle.file("image_encoder.onnx"))
    assert (stored.name, stored.shape, stored.length) == ("w", (48, WIDTH), 48 * WIDTH * 4)
    assert bundle.file(IMAGE_WEIGHTS).stat().st_size == stored.length
    assert b"przybylski" not in bundle.file("image_encoder.onnx").read_bytes()


def test_one_file_may_hold_both_encoders(pair: Pair, imported: Import) -> None:
    """As exporters of whole CLIPs write it: each encoder gets the part that it needs."""
    image = Image("pixel_values", "image_embeds").model()
    text = Text("input_ids", "text_embeds", mask=TensorProto.INT64).model()
    both = onnx.compose.merge_models(
        image, onnx.compose.add_prefix(text, "t_", rename_inputs=False, rename_outputs=False), io_map=[]
    )
    both.graph.output.append(onnx.helper.make_tensor_value_info("flat", TensorProto.FLOAT, ["N", 48]))
    onnx.save(both, pair.image_file)
    pair.text_file.unlink()
    bundle, _ = imported(pair, text=pair.image_file)
    operators = [node.op_type for node in onnx.load(bundle.file("text_encoder.onnx")).graph.node]
    assert "AveragePool" not in operators
    assert "Gather" in operators
    assert set(bundle.card["provenance"]["source"]) == {"image.onnx", "tokenizer.json", "steps.json"}


def test_a_text_that_ends_with_the_padding_token_keeps_its_end(pair: Pair, imported: Import) -> None:
    """CLIP of Hugging Face pads with its end token, of which the first is part of the text."""
    text = Text(mask=TensorProto.INT64)
    bundle, _ = imported(pair.but(text=text), pad_id=3)
    ids = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id)(SENTENCES)
    assert (ids[0] == 3).sum() == CONTEXT - 2
    found = open_encoder(bundle, "onnxruntime", "cpu").encode_texts(ids)
    np.testing.assert_allclose(found, of_text_graph(text, SENTENCES), atol=2e-6)


def test_a_wrong_padding_id_is_noticed_where_the_graph_shows_it(pair: Pair, imported: Import) -> None:
    _, lines = imported(pair, pad_id=1)
    [note] = [line for line in lines if line.startswith("NOTE")]
    assert "the padding id or the context length is wrong" in note


def test_numbers_of_two_files_in_the_folder(pair: Pair, imported: Import) -> None:
    (pair.folder / "w").mkdir()
    for file in (pair.image_file, pair.text_file):
        outside = {"save_as_external_data": True, "location": f"w/{file.stem}.bin", "size_threshold": 0}
        onnx.save(onnx.load(file), file, **outside)
    assert (pair.folder / "w" / "image.bin").stat().st_size > 0
    bundle, _ = imported(pair)
    given = pixels(bundle)
    found = open_encoder(bundle, "onnxruntime", "cpu").encode_images(given)
    np.testing.assert_allclose(found, of_image_graph(pair.image, given), atol=2e-6)
    assert {"image.bin", "text.bin"} < set(bundle.card["provenance"]["source"])
    assert stored_tensors(bundle.file("text_encoder.onnx")) == ()


def test_a_text_encoder_that_fits_no_protobuf_has_weights_of_its_own(
    pair: Pair, imported: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "MAX_INSIDE", 1000)
    text = Text(rows=40, mask=TensorProto.INT64)
    outside = {"save_as_external_data": True, "location": "t.bin", "size_threshold": 0}
    onnx.save(text.model(), pair.text_file, **outside)
    bundle, _ = imported(pair)
    assert bundle.card["schema_version"] == 3
    [table] = stored_tensors(bundle.file("text_encoder.onnx"))
    assert (table.name, bundle.file(TEXT_WEIGHTS).stat().st_size) == ("table", 40 * 12 * 4)
    ids = Tokenizer(bundle.file(TOKENIZER), bundle.context_length, bundle.pad_id)(SENTENCES)
    found = open_encoder(bundle, "onnxruntime", "cpu").encode_texts(ids)
    np.testing.assert_allclose(found, of_text_graph(text, SENTENCES), atol=2e-6)
