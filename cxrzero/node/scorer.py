"""The process that scores: the model is loaded once, files go in, the rows that `predict` would write come out.

It is a process of its own so that a film that crashes its decoder, or takes all memory, ends this process and not the
node, which goes on receiving and starts another. It ends with the node, however that ends.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

from cxrzero.errors import CxrzeroError
from cxrzero.node.config import NodeConfig
from cxrzero.pipeline.items import Frame, Item
from cxrzero.pipeline.workers import end_with_parent
from cxrzero.predict.manifest import begun_manifest
from cxrzero.predict.options import PredictOptions
from cxrzero.predict.plan import Plan, open_screener
from cxrzero.predict.run import scorer_of
from cxrzero.prediction import Prediction
from cxrzero.prompts.bank import BUILT_IN
from cxrzero.prompts.remarks import lines
from cxrzero.screener import Screener
from cxrzero.sources import ImageRef
from cxrzero.tables.rows import row_form
from cxrzero.tables.table import STDOUT

# Keys of the configuration that mean what they mean to `predict`.
AS_PREDICT = (
    "labels", "prompts", "model", "calibration", "device", "backend", "precision", "batch_size", "workers", "invert",
    "skip", "only",
)  # fmt: skip

# Paths of a study's files; and for each of them its rows.
Study = Sequence[str]
StudyRows = list[list[Prediction]]


class StudyScorer:
    """A model, ready to score studies.

    Attributes:
        record: of the run: versions, device, models, prompts, calibration, by the keys of a prediction's run record.
        notices: what there is to say of the labels and the calibration.

    Raises: see `cxrzero.screener.Screener`.
    """

    def __init__(self, config: NodeConfig) -> None:
        asked: dict[str, Any] = {name: getattr(config, name) for name in AS_PREDICT}
        # no cache: each object is scored once, and its file is gone afterwards
        options = PredictOptions((), decode_in="threads", cache=False, **asked)
        self.notices: list[str] = []
        self._screener = open_screener(options, self.notices.append)
        plan = _plan(options, self._screener)
        self._prompts, self._scorer = plan.prompts, scorer_of(plan)
        self._skips_duplicates = "duplicate" in self._screener.selection.skip
        self.notices += lines(plan.remarks)
        self.notices += plan.calibration.notes() if plan.calibration else []
        self.record = begun_manifest(plan, "cxrzero listen", datetime.now(UTC))

    def score(self, studies: Sequence[Study]) -> list[StudyRows]:
        """The rows of each file of each study; all go through the model together.

        A picture that equals an earlier one of its own study is flagged `duplicate`, as by `predict` on that study
        alone: what else happens to be scored with it changes nothing.
        """
        if self._skips_duplicates:
            return [self._score([study])[0] for study in studies]
        return self._score(studies)

    def _score(self, studies: Sequence[Study]) -> list[StudyRows]:
        items: list[Item] = []
        refs = [ImageRef(path) for study in studies for path in study]
        rows = list(self._screener.stream(refs, self._scorer, self._prompts, on_item=items.append))
        of_path: dict[str, list[tuple[Item, Prediction]]] = {ref.path: [] for ref in refs}
        for item, row in zip(items, rows, strict=True):
            of_path[row.path].append((item, row))
        for study in studies:
            _flag_duplicates(pair for path in study for pair in of_path[path])
        return [[[row for _, row in of_path[path]] for path in study] for study in studies]


def _plan(options: PredictOptions, screener: Screener) -> Plan:
    """What `predict` would do, but for the files."""
    prompts = screener.prompts(options.labels, options.prompts, options.calibration)
    calibration = screener.calibration(options.calibration, prompts) if options.calibration else None
    is_typed = options.labels is not None or options.prompts not in (None, BUILT_IN)
    remarks = tuple(screener.remarks(prompts, is_typed=is_typed))
    form = row_form([prompt.label for prompt in prompts], long=False)
    return Plan(options, screener, prompts, STDOUT, form, calibration=calibration, remarks=remarks)


def _flag_duplicates(study: Iterable[tuple[Item, Prediction]]) -> None:
    """Flag pictures that equal an earlier one of the study, and no others."""
    seen: set[int] = set()
    for item, row in study:
        if isinstance(item, Frame) and item.left_out is None:
            row.flags = item.own_flags | {"duplicate"} if item.digest in seen else item.own_flags
            seen.add(item.digest)


def serve(connection: Connection, config: NodeConfig) -> None:
    """Work in a process of its own until the connection is closed.

    Answers with (record, notices) first, then with the rows of each batch that it is sent; with the error instead,
    where there is one, which ends it.
    """
    # A stop signal goes to all processes of a terminal or a service. The node ends this one once its batch is done.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        scorer = StudyScorer(config)
        connection.send((scorer.record, scorer.notices))
        while True:
            connection.send(scorer.score(connection.recv()))
    except (EOFError, BrokenPipeError):
        return
    except CxrzeroError as error:
        connection.send(error)
