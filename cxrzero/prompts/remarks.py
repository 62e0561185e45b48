"""What whoever asks should know before the answer: about the words of the question, and how well it was measured."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from cxrzero.model.bundle import Bundle
from cxrzero.prompts.ask import BY_BOOK, is_normal
from cxrzero.prompts.bank import built_in_bank, key_of
from cxrzero.prompts.labels import LabelPrompts
from cxrzero.prompts.lint import Finding, lint
from cxrzero.prompts.measured import finding_key, results_of
from cxrzero.prompts.words import Pieces, denied_in, foreign_in, reads_english, unknown_in

CHANCE = "chance"
UNMEASURED = "unmeasured"
# Of what is none, nobody can have measured how well it is found.
NO_FINDING = frozenset({"empty", "negated", "several_labels", "language", "unknown_word"})
# Labels that are named one a line; more of the same share one.
LINES_OF_A_KIND = 3
NAMED = 20


def remarks_on(prompts: Sequence[LabelPrompts], bundles: Sequence[Bundle], pieces: Pieces) -> list[Finding]:
    """The linter's findings that need no embedding, and what is at chance or was never measured.

    Args:
        bundles: the models that are asked; the first one's templates and labels tell whether it reads English.
        pieces: of its tokenizer.
    """
    from_model = {prompt.label for prompt in prompts if prompt.is_from_model}
    # The sentences of a book are its authors'.
    asked = [prompt for prompt in prompts if prompt.source != BY_BOOK]
    found = lint(asked, pieces=pieces, is_english=is_english(bundles[0]), pairs=bundles[0].scoring.asks_pairs)
    # How a label reads in the model's templates is the templates' affair: "no multiple nodules".
    findings = [each for each in found if each.code != "grammar" or each.label not in from_model]
    no_finding = frozenset(finding.label for finding in findings if finding.code in NO_FINDING)
    return findings + how_measured(prompts, bundles, no_finding)


def how_measured(
    prompts: Sequence[LabelPrompts], bundles: Sequence[Bundle], no_finding: Collection[str] = ()
) -> list[Finding]:
    """What is at chance with a model, or was never measured with it, as far as its model.json says.

    Args:
        no_finding: labels of which nobody can have measured how well they are found.
    """
    asked = [each.label for each in prompts if each.label not in no_finding and not is_normal(each.label)]
    return [finding for bundle in bundles for finding in _measured(asked, bundle)]


def remarks_on_text(text: str, bundle: Bundle, pieces: Pieces) -> list[Finding]:
    """The same of a sentence to search for; what is no known finding is not expected to have been measured."""
    findings = []
    if denied_in(text) and not is_normal(text):
        message = "denies a finding; films are ranked by all words of a sentence, and a 'no' among them weighs little"
        findings.append(Finding("negated", text, message))
    if is_english(bundle):
        if foreign := foreign_in(text):
            findings.append(Finding("language", text, foreign))
        elif unknown := unknown_in(text, pieces):
            findings.append(Finding("unknown_word", text, unknown))
    if key_of(text) in built_in_bank().entries and not is_normal(text):
        findings += _measured([text], bundle)
    return findings


def is_english(bundle: Bundle) -> bool:
    """Whether a model reads English, as far as its own words tell; a label stands in the place of "{}"."""
    own = [*bundle.templates.positive, *bundle.templates.negative, *bundle.labels]
    return reads_english([text.replace("{}", " ") for text in own])


def lines(findings: Sequence[Finding]) -> Iterator[str]:
    """The remarks as lines to show, one for each; labels that were never measured share one where they are many."""
    unmeasured: dict[str, list[str]] = {}
    for finding in findings:
        if finding.code == UNMEASURED:
            unmeasured.setdefault(finding.message, []).append(finding.label)
    for finding in findings:
        alike = unmeasured.get(finding.message, []) if finding.code == UNMEASURED else []
        if len(alike) <= LINES_OF_A_KIND:
            yield f"{finding.label}: {finding.message}"
        elif finding.label == alike[0]:
            more = f" and {len(alike) - NAMED:,} more" if len(alike) > NAMED else ""
            yield f"{', '.join(alike[:NAMED])}{more}: {finding.message}"


def _measured(labels: Sequence[str], bundle: Bundle) -> Iterator[Finding]:
    """The mark in model.json adds to its results, and takes nothing away: a result at chance is always said."""
    results, marked = results_of(bundle), set(map(finding_key, bundle.at_chance))
    for label in labels:
        key = finding_key(label)
        found = results.get(key, ())
        if at_chance := [str(each) for each in found if each.is_chance]:
            yield Finding(CHANCE, label, f"measured at chance with {bundle.name} ({'; '.join(at_chance)})")
        elif key in marked:
            beside = f" ({'; '.join(map(str, found))})" if found else ""
            yield Finding(CHANCE, label, f"marked in the model.json of {bundle.name} as at chance{beside}")
        elif not found:
            yield Finding(UNMEASURED, label, f"never measured with {bundle.name}, as far as its model.json says")
