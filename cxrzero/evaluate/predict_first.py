"""`cxrzero eval FOLDER LABELS.csv`: ask the folder's images for the findings of the label table, then evaluate."""

from __future__ import annotations

from pathlib import Path

from cxrzero.choices import Notify, silent
from cxrzero.errors import LabelError
from cxrzero.evaluate.match import parse_mapping
from cxrzero.evaluate.options import EvalOptions
from cxrzero.evaluate.run import Predict
from cxrzero.predict.options import PredictOptions
from cxrzero.tables.labelled import LabelTable
from cxrzero.tables.labels import LabelRules
from cxrzero.tables.names import PATIENT_NAMES, fold, identifier_columns
from cxrzero.tables.read import open_table


def predictor(options: EvalOptions, table: Path, notify: Notify = silent) -> Predict:
    """A function that predicts a folder into `table` and returns its path; `notify` is told what there is to say first.

    What is asked, unless the options say it, is the findings of the label table (explicit maps under their predicted
    name).
    """

    def predict(folder: Path, references: Path) -> Path:
        from cxrzero.predict.plan import prepare
        from cxrzero.predict.run import run
        from cxrzero.prompts.remarks import lines

        asked = options.asked if options.asked is not None else asked_labels(options, references)
        plan = prepare(
            PredictOptions(
                (str(folder),),
                labels=asked,
                out=str(table),
                overwrite=options.overwrite,
                model=options.model,
            ),
            notify,
        )
        for line in lines(plan.remarks):
            notify(f"Note: {line}")
        run(plan)
        return table

    return predict


def asked_labels(options: EvalOptions, references: Path) -> tuple[str, ...]:
    """The findings of a label table as labels to ask, with spaces for underscores.

    Raises:
        LabelError: it has none.
    """
    rules = LabelRules(parse_mapping(options.mapping), options.list_column)
    source = open_table(references)
    apart = {*identifier_columns(source.columns, None), *options.by}
    apart.update(column for column in source.columns if fold(column) in PATIENT_NAMES)
    names, _ = LabelTable(source, rules, apart=apart).findings()
    mapped = {fold(source) for sources in (rules.mapping or {}).values() for source in sources}
    plain = [name.replace("_", " ") for name in names if fold(name) not in mapped]
    asked = tuple(dict.fromkeys([*(rules.mapping or {}), *plain]))
    if not asked:
        raise LabelError(f"{references}: no finding to ask for; name them with --labels")
    return asked
