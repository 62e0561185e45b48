"""`cxrzero eval FOLDER LABELS.csv`: ask the folder's images for the findings of the label table, then evaluate."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from cxrzero.errors import LabelError
from cxrzero.evaluate.config import EvalConfig
from cxrzero.evaluate.join import PATIENT_NAMES, identifier_columns
from cxrzero.evaluate.labels import LabelRules, find_list_column, fold, is_label_column, parse_mapping, vocabulary
from cxrzero.evaluate.run import Predict
from cxrzero.predict.config import PredictConfig
from cxrzero.tables.read import open_table, read_table


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
    column = find_list_column(source.columns, rules)
    if column is not None:
        names: Sequence[str] = vocabulary(read_table(source, categories=[column]).text[column])
    else:
        others = {*identifier_columns(source.columns, None), *config.by}
        candidates = [c for c in source.columns if c not in others and fold(c) not in PATIENT_NAMES]
        cells = read_table(source, categories=candidates).text
        names = [name for name in candidates if is_label_column(cells[name])]
    mapped = {fold(source) for sources in (rules.mapping or {}).values() for source in sources}
    plain = [name.replace("_", " ") for name in names if fold(name) not in mapped]
    asked = tuple(dict.fromkeys([*(rules.mapping or {}), *plain]))
    if not asked:
        raise LabelError(f"{references}: no finding to ask for; name them with --labels")
    return asked
