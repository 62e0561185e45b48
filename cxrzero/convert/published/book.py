"""The book of MedKLIP and MAVL: 75 findings, each with the sentences that stand for it in every question.

Both models were trained, and are tested by their authors, on all 75 at once: their decoder lets findings look at each
other. So the book is asked along with every question, and one of its findings by its description, not by its name.
The sentences are the authors' and come with their code; the user brings the files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from cxrzero.convert.published.sentences import SEPARATOR
from cxrzero.convert.source import Source
from cxrzero.errors import ImportModelError

DESCRIPTIONS = "observation explanation.json"
LENGTH = 64  # tokens of a sentence: `max_length= 64, truncation=True` (get_tokenizer of both models' test.py)
MAX_BYTES = 4 * 2**20

# The findings in the authors' order, `original_class` of both models' test.py.
FINDINGS = (
    "normal clear sharp sharply unremarkable intact stable free effusion opacity pneumothorax edema atelectasis tube "
    "consolidation process abnormality enlarge tip low pneumonia line congestion catheter cardiomegaly fracture air "
    "tortuous lead disease calcification prominence device engorgement picc clip elevation expand nodule wire fluid "
    "degenerative pacemaker thicken marking scar hyperinflate blunt loss widen collapse density emphysema aerate mass "
    "crowd infiltrate obscure deformity hernia drainage distention shift stent pressure lesion finding borderline "
    "hardware dilation chf redistribution aspiration tail_abnorm_obs excluded_obs"
).split()
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


def read_book(source: Source, what: str, tokenizer: Tokenizer, aspects: str | None = None) -> dict[str, str]:
    """The prompt of each finding, the 75 first and then what else they are called.

    Args:
        what: the model, for messages.
        tokenizer: sentences are cut where its authors' tokenizer cuts them.
        aspects: name of the file with more sentences of each finding (MAVL's), or None.

    Raises:
        ImportModelError: a file is missing, or says nothing of a finding.
    """
    descriptions = _read(source, DESCRIPTIONS, what)
    more = _read(source, aspects, what) if aspects else {}
    book = {}
    for finding in FINDINGS:
        sentences = [_sentence(descriptions, finding, what)]
        if aspects:
            sentences += _sentences(more, finding, aspects, what)
        book[finding] = SEPARATOR.join(_cut(sentence, tokenizer) for sentence in sentences)
    return book | {label: book[finding] for label, finding in ASKED_AS.items()}


def companions(book: Mapping[str, str]) -> list[str]:
    """What is asked along with every question."""
    return [book[finding] for finding in FINDINGS]


def _read(source: Source, name: str, what: str) -> Mapping[str, object]:
    places = [source.folder, *([source.tokenizer] if source.tokenizer and source.tokenizer.is_dir() else [])]
    path = next((place / name for place in places if (place / name).is_file()), None)
    if path is None:
        raise ImportModelError(
            f'{what} is asked by sentences that its weights do not hold: put the file "{name}" of its code '
            f"beside the weights ({source.folder})"
        )
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


def _sentences(content: Mapping[str, object], finding: str, name: str, what: str) -> Sequence[str]:
    value = content.get(finding)
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise ImportModelError(f'"{name}" has no sentences for {finding!r}: it is not the file of {what}')
    return value


def _cut(sentence: str, tokenizer: Tokenizer) -> str:
    """Without the words that the authors' tokenizer drops, so that model.json states what is read."""
    encoding = tokenizer.encode(sentence, add_special_tokens=False)
    room = LENGTH - 2  # [CLS] and [SEP]
    return sentence if len(encoding.ids) <= room else sentence[: encoding.offsets[room - 1][1]]
