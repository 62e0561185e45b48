"""Bio_ClinicalBERT, which MedKLIP and MAVL take as it was published, and which their checkpoints do not hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from cxrzero.convert.published.bert import WORDS, Bert, build_bert
from cxrzero.convert.published.layout import part
from cxrzero.convert.source import Source
from cxrzero.convert.vocabulary import END, read_vocabulary
from cxrzero.convert.weights import StateDict, read_weights
from cxrzero.errors import ImportModelError

ORIGIN = "emilyalsentzer/Bio_ClinicalBERT"
FILES = ("pytorch_model.bin", "model.safetensors")
WRAPPER = "bert."  # it was published with the heads of its pretraining beside it
# How the code that converted it named a layer norm's numbers; transformers renames them when it reads the file.
OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


# Its names where a folder holds both it and the model, which are then read together.
OWN_NAMES = (WRAPPER, "cls.", "embeddings.", "encoder.", "pooler.")


@dataclass(frozen=True)
class TextEncoder:
    """A BERT from a file of its own, with its tokenizer.

    Attributes:
        end: id of [SEP].
        path: of its weights.
    """

    bert: Bert
    tokenizer: Tokenizer
    end: int
    path: Path

    @property
    def width(self) -> int:
        """Of the token that it gives of a sentence."""
        return int(self.bert.model.config.hidden_size)


def without_text_encoder(weights: StateDict, source: Source) -> StateDict:
    """The model's own tensors, where those of a whole folder were read."""
    own = {name: value for name, value in weights.items() if not name.startswith(OWN_NAMES)}
    return own if source.path.is_dir() else weights


def read_clinical_bert(source: Source, what: str) -> TextEncoder:
    """The text encoder of the folder that --tokenizer names, or that lies beside the weights.

    Text is lower-cased although the vocabulary is cased: the repository has no tokenizer_config.json, and both models'
    test.py call `BertTokenizer.from_pretrained`, whose `do_lower_case` is true where nothing says otherwise.

    Raises:
        ImportModelError: there is none, or it is no BERT.
    """
    folder = source.tokenizer or source.folder
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        raise ImportModelError(
            f"the weights of {what} hold no text encoder, its authors take {ORIGIN}'s: fetch {FILES[0]} and vocab.txt "
            "of that repository from Hugging Face, and name their folder with --tokenizer"
        )
    weights = _renamed(read_weights(path))
    weights = part(weights, WRAPPER) or weights
    bert = build_bert(weights, f"{what} ({path.name})")
    tokenizer = read_vocabulary(source, weights[WORDS].shape[0], lower_case=True, origin=ORIGIN)
    end = tokenizer.token_to_id(END)
    if end is None:
        raise ImportModelError(f"the vocabulary of {what} has no {END}, which ends sentences: it is another model's")
    return TextEncoder(bert, tokenizer, end, path)


def _renamed(weights: StateDict) -> StateDict:
    for old, new in OLD_NAMES.items():
        weights = {name.replace(old, new): value for name, value in weights.items()}
    return weights
