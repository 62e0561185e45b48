"""The book of MedKLIP and MAVL: 75 findings, each with the sentences that stand for it in every question.

Both models were trained, and are tested by their authors, on all 75 at once: their decoder lets findings look at each
other. So the book is asked along with every question, and one of its findings by its description, not by its name.
The sentences are the authors' and come with their code; the user brings the files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from cxrzero.convert.published.sentences import BETWEEN
from cxrzero.convert.source import Source
from cxrzero.errors import ImportModelError

DESCRIPTIONS = "observation explanation.json"
LENGTH = 64  # tokens of a sentence: `max_length= 64, truncation=True` (get_tokenizer of both models' test.py)
MAX_BYTES = 4 * 2**20

# The findings in the authors' order, `original_class` of both models' test.py.
_NAMES = """
normal clear sharp sharply unremarkable intact stable free effusion opacity pneumothorax edema atelectasis tube
consolidation process abnormality enlarge tip low pneumonia line congestion catheter cardiomegaly fracture air tortuous
lead disease calcification prominence device engorgement picc clip elevation expand nodule wire fluid degenerative
pacemaker thicken marking scar hyperinflate blunt loss widen collapse density emphysema aerate mass crowd infiltrate
obscure deformity hernia drainage distention shift stent pressure lesion finding borderline hardware dilation chf
redistribution aspiration tail_abnorm_obs excluded_obs
"""
FINDINGS = tuple(_NAMES.split())
# MedKLIP's file lost a letter; its test goes by position, so the sentence is the right one all the same.
MISSPELT = {"pneumonia": "eumonia"}
# Which finding of the book the authors ask for a label of CheXpert's and NIH's lists (`chexpert_cls`, `chexray14_cls`
# and the replacement of PadChest's "pleural effusion" in MAVL's Zero-shot_classification/test.py).
ASKED_AS = {
    "no finding": "normal",
    "enlarged cardiomediastinum": "enlarge",
    "lung opacity": "opacity",
    "lung lesion": "lesion",
    "pleural effusion": "effusion",
    "pleural other": "abnormality",
    "support devices": "device",
    "infiltration": "infiltrate",
    "fibrosis": "tail_abnorm_obs",
    "pleural thickening": "thicken",
}


@dataclass(frozen=True)
class Book:
    """What was read.

    Attributes:
        prompts: finding → what it is asked by; the 75, and then what else they are called.
        files: that the sentences are from.
    """

    prompts: Mapping[str, str]
    files: tuple[Path, ...]

    @property
    def companions(self) -> list[str]:
        """What is asked along with every question."""
        return [self.prompts[finding] for finding in FINDINGS]


def read_book(source: Source, what: str, tokenizer: Tokenizer, aspects: str | None = None) -> Book:
    """The book of a model from the files that come with its code.

    Args:
        what: the model, for messages.
        tokenizer: sentences are cut where its authors' tokenizer cuts them.
        aspects: name of the file with more sentences of each finding (MAVL's), or None.

    Raises:
        ImportModelError: a file is missing, or says nothing of a finding.
    """
    files = [_find(source, name, what) for name in (DESCRIPTIONS, aspects) if name]
    descriptions, *more = (_read(path, what) for path in files)
    prompts = {}
    for finding in FINDINGS:
        sentences = [_sentence(descriptions, finding, what)]
        for content in more:
            sentences += _sentences(content, finding, what)
        prompts[finding] = BETWEEN.join(_cut(sentence, tokenizer) for sentence in sentences)
    return Book(prompts | {label: prompts[finding] for label, finding in ASKED_AS.items()}, tuple(files))


def _find(source: Source, name: str, what: str) -> Path:
    places = [source.folder, *([source.tokenizer] if source.tokenizer and source.tokenizer.is_dir() else [])]
    path = next((place / name for place in places if (place / name).is_file()), None)
    if path is None:
        raise ImportModelError(
            f'{what} is asked by sentences that its weights do not hold: put the file "{name}" of its code '
            f"beside the weights ({source.folder})"
        )
    return path


def _read(path: Path, what: str) -> Mapping[str, object]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImportModelError(f"{path} is larger than {MAX_BYTES:,} bytes: these are not the sentences of {what}")
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ImportModelError(f"{path} cannot be read ({type(error).__name__}); fetch it again") from error
    if not isinstance(content, dict):
        raise ImportModelError(f"{path} must hold a JSON object, finding by finding")
    return content


def _sentence(content: Mapping[str, object], finding: str, what: str) -> str:
    value = content.get(finding, content.get(MISSPELT.get(finding, finding)))
    if not isinstance(value, str) or not value.strip():
        raise ImportModelError(f'"{DESCRIPTIONS}" has no sentence for {finding!r}: it is not the file of {what}')
    return value


def _sentences(content: Mapping[str, object], finding: str, what: str) -> Sequence[str]:
    value = content.get(finding)
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise ImportModelError(f"the aspects of {what} have no sentences for {finding!r}: that is another file")
    return value


def _cut(sentence: str, tokenizer: Tokenizer) -> str:
    """Without the words that the authors' tokenizer drops, so that model.json states what is read."""
    encoding = tokenizer.encode(sentence, add_special_tokens=False)
    room = LENGTH - 2  # [CLS] and [SEP]
    return sentence if len(encoding.ids) <= room else sentence[: encoding.offsets[room - 1][1]]
