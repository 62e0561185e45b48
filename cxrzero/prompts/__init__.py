"""From the user's labels to the sentences that the text encoder reads, and tools that look at those sentences."""

from __future__ import annotations

from cxrzero.prompts.ask import own_prompts, resolve_prompts
from cxrzero.prompts.labels import LabelPrompts, build_prompts, check_labels, parse_labels

__all__ = ["LabelPrompts", "build_prompts", "check_labels", "own_prompts", "parse_labels", "resolve_prompts"]
