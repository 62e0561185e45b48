"""What `cxrzero compare` is asked to do. Imports nothing heavy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cxrzero.errors import ConfigError
from cxrzero.evaluate.options import EvalOptions
from cxrzero.options import ADVANCED, argument, comma_list, option, option_of


def read_shares(text: str) -> tuple[float, ...]:
    """Read "0.05,0.1" as shares of films.

    Raises:
        ConfigError: one is no number between 0 and 1.
    """
    shares = []
    for part in comma_list(text):
        try:
            share = float(part)
        except ValueError:
            share = 0.0
        if not 0 < share < 1:
            raise ConfigError(f"--share {part!r} is not a number between 0 and 1")
        shares.append(share)
    return tuple(dict.fromkeys(shares))


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """One comparison; each field says what it is for."""

    a: str = argument("A.csv", "Give the table of predictions to start from, such as that of the model in use.")
    b: str = argument("B.csv", "Give the table to compare with it: another model or version, on the same films.")

    # What is written.
    out: Path | None = option(
        None,
        "Write compare.html, compare.csv and compare.json to this folder.",
        short="-o",
        metavar="DIR",
        decides="nothing",
        recorded=False,
    )
    images: Path | None = option(
        None,
        "Show the films that flip most, which are looked for in this folder.",
        metavar="DIR",
        decides="nothing",
        recorded=False,
    )
    overwrite: bool = option(False, "Replace results that are in DIR already.", decides="nothing", recorded=False)
    top: int = option(8, "Show the N films of each label that flip most.", metavar="N", minimum=0, maximum=1000)

    # What is compared.
    share: tuple[float, ...] = option(
        (0.1,),
        "Compare decisions where each table flags this share of the films, by default 0.1; several are joined by "
        "commas.",
        metavar="SHARES",
        parse=read_shares,
    )
    threshold: float | None = option(None, "Compare decisions at this one threshold of both tables too.", metavar="X")
    labels: Path | None = option(
        None, "Compare the AUROCs of both with these reference labels, as eval --compare does.", metavar="CSV"
    )

    # Which row belongs to which.
    mapping: tuple[str, ...] = option(
        (), "Say that the label X of A.csv is called Y in B.csv.", flag="--map", metavar="X=Y", panel=ADVANCED
    )
    on: str | None = option(None, "Join column X of A.csv to column Y of B.csv.", metavar="X=Y", panel=ADVANCED)
    patient: str | None = option_of(EvalOptions, "patient")
    any_score: bool = option_of(EvalOptions, "any_score")

    confidence: float = option_of(EvalOptions, "confidence")
    n_resamples: int = option(
        1000,
        "Draw N bootstrap resamples for the intervals of compare.csv; 0 draws none.",
        flag="--resamples",
        metavar="N",
        panel=ADVANCED,
    )
    seed: int = option_of(EvalOptions, "seed")

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ConfigError(f"--confidence {self.confidence:g} is not between 0 and 1")
        if self.n_resamples < 0 or 0 < self.n_resamples < 100:
            raise ConfigError(f"--resamples {self.n_resamples}: give at least 100, or 0 for no bootstrap")
