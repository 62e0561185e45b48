"""`cxrzero eval FOLDER LABELS.csv`: ask the folder's images for the findings of the label table, then evaluate."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from cxrzero.errors import LabelError
from cxrzero.evaluate.config import EvalConfig
from cxrzero.evaluate.match import parse_mapping
from cxrzero.evaluate.run import Predict
from cxrzero.predict.config import PredictConfig
from cxrzero.tables.labelled import LabelTable
from cxrzero.tables.labels import LabelRules
from cxrzero.tables.names import PATIENT_NAMES, fold, identifier_columns
from cxrzero.tables.read import open_table


def predictor(
    config: EvalConfig, models: Sequence[str], labels: Sequence[str] | None, overwrite: bool, table: Path
) -> Predict:
    """A function that predicts a folder into `table` and returns its path.

    Args:
        models: several are an ensemble; none is the default model.
        labels: what to ask; None asks the findings of the label table (explicit maps under their predicted name).
    """

    def predict(folder: Path, references: Path) -> Path:
        from cxrzero.predict.run import prepare, run

        asked = tuple(labels) if labels is not None else asked_labels(config, references)
        request = PredictConfig((str(folder),), labels=asked, out=str(table), overwrite=overwrite)
        run(prepare(dataclasses.replace(request, model=tuple(models)) if models else request))
        return table

    return predict


def asked_labels(config: EvalConfig, references: Path) -> tuple[str, ...]:
    """The findings of a label table as labels to ask, with spaces for underscores.

    Raises:
        LabelError: it has none.
    """
    rules = LabelRules(parse_mapping(config.mapping), config.list_column)
    source = open_table(references)
    apart = {*identifier_columns(source.columns, None), *config.by}
    apart.update(column for column in source.columns if fold(column) in PATIENT_NAMES)
    names, _ = LabelTable(source, rules, apart=apart).findings()
    mapped = {fold(source) for sources in (rules.mapping or {}).values() for source in sources}
    plain = [name.replace("_", " ") for name in names if fold(name) not in mapped]
    asked = tuple(dict.fromkeys([*(rules.mapping or {}), *plain]))
    if not asked:
        raise LabelError(f"{references}: no finding to ask for; name them with --labels")
    return asked
