"""The command line of a run, for its record: what was asked, with no secret in it and, if so wanted, no path."""

from __future__ import annotations

import os
import re
import shlex
import types
from collections.abc import Iterator
from typing import Any, Literal, Union, get_args, get_origin

from cxrzero.cards.card import card_names
from cxrzero.choices import OWN_CALIBRATION
from cxrzero.options import Option, options_of
from cxrzero.prompts.bank import BUILT_IN
from cxrzero.prompts.labels import listed
from cxrzero.tables.pseudonym import Pseudonymiser
from cxrzero.tables.table import STDOUT

HIDDEN = "***"

_SECRET = (
    r"[\w.-]*(?:token|secret|passw(?:or)?d|passphrase|\bpwd|signature|credential|(?:api|access|account|private)[_-]?key"
    r"|authorization|cookie|session_?id|\bsig\b|\bsas\b|\bpass\b|\bauth\b)[\w.-]*"
)
# Before the host of an address, greedily: a password may hold "@" and "/" where somebody forgot to escape them.
_USER = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?:[^\s/?#]*:[^\s?#]*@|[^\s/?#]*@)", re.IGNORECASE)
# The same where the scheme is left out, damaged or escaped.
_BARE_USER = re.compile(r"[^\s/\\@:*]+:[^\s/\\@:]+@(?=[\w.-])")
# After its path nothing but parameters comes, and a signed address has its signature there, under many names.
_PARAMETERS = re.compile(r"(?P<address>[a-z][a-z0-9+.-]*://[^\s?#]*)[?#]\S+", re.IGNORECASE)
_SCHEME = r"(?:bearer|basic|digest|negotiate)\s+"
_NAMED = re.compile(
    rf"(?P<name>{_SECRET}[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|(?:{_SCHEME})?[^\s&;,\"']+)", re.IGNORECASE
)
_BEARER = re.compile(rf"(?P<scheme>\b{_SCHEME})[\w.~+/=-]{{6,}}", re.IGNORECASE)
# What is known by its form: of Hugging Face, GitHub, GitLab, Slack, OpenAI and alike, Amazon, and JSON Web Tokens.
_SHAPED = re.compile(
    r"\b(?:hf_|gh[opsur]_|github_pat_|glpat-|xox[abeprs]-|sk-)[\w-]{8,}|\b(?:AKIA|ASIA)[A-Z0-9]{12,}|\beyJ[\w-]+\.[\w.-]+"
)


def blank_secrets(text: str) -> str:
    """A text without the passwords and tokens of the addresses and settings in it."""
    text = _USER.sub(rf"\g<scheme>{HIDDEN}@", text)
    text = _PARAMETERS.sub(rf"\g<address>?{HIDDEN}", text)
    text = _NAMED.sub(rf"\g<name>{HIDDEN}", text)
    text = _BEARER.sub(rf"\g<scheme>{HIDDEN}", text)
    return _SHAPED.sub(HIDDEN, _BARE_USER.sub(f"{HIDDEN}@", text))


def command_line(options: Any, pseudonymiser: Pseudonymiser | None = None, command: str = "predict") -> str:
    """The command that these options are, defaults left out; one that a shell reads.

    Args:
        options: of `command`.
        pseudonymiser: under --pseudonymise; paths are then as the table has them: a folder is what comes before the
            slash in the rows of its files.
    """
    words = ["cxrzero", command]
    for option in options_of(type(options)):
        value = getattr(options, option.name)
        if option.is_argument:
            words += _texts(option, value, pseudonymiser)
        elif value == option.default:
            continue
        elif option.type is bool:
            words.append(option.flags)
        else:
            for text in _texts(option, value, pseudonymiser):
                words += [option.flags, text]
    return shlex.join(words)


def _texts(option: Option, value: Any, pseudonymiser: Pseudonymiser | None) -> Iterator[str]:
    """An option's value as it is typed; several where it is given several times."""
    if re.fullmatch(_SECRET, option.name, re.IGNORECASE):
        yield HIDDEN
    elif option.parse:
        yield blank_secrets(listed(value) if isinstance(value, tuple) else str(value))
    elif isinstance(value, int | float) or any(get_origin(kind) is Literal for kind in _kinds(option.type)):
        yield str(value)
    else:
        for text in value if isinstance(value, tuple) else (value,):
            plain = os.fsencode(text).decode("utf-8", "backslashreplace")
            yield blank_secrets(plain) if pseudonymiser is None else _pseudonym(option, os.fspath(text), pseudonymiser)


def _kinds(kind: Any) -> tuple[Any, ...]:
    """Of a union its members."""
    return get_args(kind) if get_origin(kind) in (Union, types.UnionType) else (kind,)


def _pseudonym(option: Option, text: str, pseudonymiser: Pseudonymiser) -> str:
    """What may be a path: known words stay, films and folders are as the table has them, keys are not shown at all."""
    words = {"model": card_names(), "prompts": (BUILT_IN,), "out": (STDOUT,), "calibration": (OWN_CALIBRATION,)}
    known = words.get(option.name, ())
    if text in known:
        return text
    if not option.is_argument:
        return HIDDEN
    return pseudonymiser.argument(text)
