"""Sentences, and ends of sentences, that speak of what to do and whom it was told, not of the picture."""

from __future__ import annotations

import re
from typing import Final

# Who was told, who signed.
_TOLD: Final = re.compile(
    r"\b(?:notified|notify|telephoned?|by phone|over the phone|via phone|paged|read[- ]?back|acknowledged? receipt"
    r"|message was (?:left|sent)|left (?:a )?message|wet read|dictated|transcribed|veriphy|resident"
    r"|results? (?:was|were )?(?:called|conveyed|relayed)|communicated|conveyed (?:to|by)"
    r"|(?:results?|findings?) notification|notification (?:was|documented)|(?:made aware|informed) (?:of|by)"
    r"|critical (?:results?|findings?) (?:was |were )?(?:discussed|reported|documented)"
    r"|(?:results?|findings?) (?:was |were )?(?:e-?mailed|entered|posted|flagged)|dashboard"
    r"|(?:was|were|been|be|have) discussed (?:with|by)|discussed (?:these|the|this) (?:case|findings?|results?)"
    r"|recommendations? (?:was|were) discussed|end of (?:the )?report|thank(?:s| you)"
    r"|(?:personally|have) reviewed the|attending (?:physician|radiologist)|discuss this case"
    r"|dr\.|drs\.|m\.d\.|signed by)(?!\w)",
    re.IGNORECASE,
)
# Advice. A sentence that also states a finding ("Nodule in the left apex, CT recommended.") loses its end only.
_SUBJECT: Final = (
    r"(?:(?:a|an|the|any|short[- ]term|interval|repeat|dedicated|further|additional|clinical|close|continued"
    r"|follow[- ]?up|pa|and|or|of|with|to|in|lateral|frontal|chest|thorax|contrast(?:[- ]enhanced)?|non-?contrast"
    r"|high[- ]resolution|low[- ]dose|cta?|mri|x-?rays?|radiographs?|radiography|films?|views?|imaging|images|scans?"
    r"|ultrasound|tomography|evaluation|correlation|exam(?:ination)?s?|study|studies|characterization|assessment"
    r"|comparison|document|resolution|completion|confirm|ensure|\d+(?:-\d+)?|weeks|months|clearing|complete)"
    r"[\s,/-]+){1,14}"
)
_VERB: Final = r"(?:(?:is|are|was|may|might|could|would|should|can|be|as|if|also|again|strongly|clinically)\s+){0,4}"
_ADVISED: Final = (
    r"(?:recommended|suggested|advised|warranted|indicated|considered|obtained|performed|helpful|useful|needed"
    r"|necessary|of benefit|beneficial)\b"
)
_ADVICE: Final = re.compile(
    r"^(?:however,?\s+)?(?:"
    r"(?:(?:would|we|i|please|strongly)\s+)*"
    r"(?:recommend(?:ed)?|advise|correlate|correlation|consider|suggest)\b(?! (?:atelect|pneumon|edema|effus|infilt))"
    r"|if\b.*\b(?:recommend|suggest|consider|advise|should|would|could|obtain|is warranted|further)"
    r"|please (?!note)|(?:is|are) recommended\b|consideration (?:may|should|could) be given\b"
    r"|clinical correlation (?:is|would be)\.?$"
    r"|(?:this|these|it|they)\b[^,;]*\b(?:could|should|can|may) be followed\b"
    rf"|{_SUBJECT}{_VERB}{_ADVISED}"
    # What opens like advice and ends like it, whatever stands between, unless it says what was seen.
    r"|(?:(?:a|an|the|short|interval)[\s-]+)*(?:follow[- ]?up|further|verification|clinical correlation)\b"
    r"(?!.*\b(?:shows?|demonstrates?|reveals?|there (?:is|are))\b)"
    rf"[^;]*?\b{_ADVISED})",
    re.IGNORECASE,
)
# "..., clinical correlation recommended." and its kind, at the end of a sentence that says more.
_WORDS: Final = r"(?:[ \t]+[\w-]+){0,6}?"
_LAST_CLAUSE: Final = re.compile(
    r"[,;]\s*(?:and\s+|for which\s+|please\s+|strongly\s+){0,2}"
    rf"(?:(?:(?:clinical )?correlation|follow[- ]?up|further|(?:chest )?ct){_WORDS}\s+{_ADVISED}"
    rf"|(?:recommend|correlate)\b{_WORDS})(?=[.\s]*$)",
    re.IGNORECASE,
)


def is_aside(sentence: str) -> bool:
    """Whether a sentence is only advice, or says who was told or who signed."""
    return bool(_TOLD.search(sentence) or _ADVICE.search(sentence))


def without_advice(sentence: str) -> str:
    """The sentence without a last clause that only advises."""
    return _LAST_CLAUSE.sub("", sentence)
