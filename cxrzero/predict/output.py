"""What a prediction run writes row by row: the table or into a database, the studies, a shard's log, the key map."""

from __future__ import annotations

import time
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from cxrzero.predict.growing import GrowingTable
from cxrzero.predict.highest import Highest
from cxrzero.predict.plan import Plan
from cxrzero.predict.shardlog import ShardLog
from cxrzero.prediction import Prediction
from cxrzero.tables.keymap import KeyMap
from cxrzero.tables.pseudonym import Pseudonymiser
from cxrzero.tables.studies import Studies, StudySummary
from cxrzero.tables.table import Table


class Output:
    """The files of a run, open; each is `.partial` until `commit`.

    Args:
        growing: the run in a database, open, if the rows go into one; else they go into a table.

    Attributes:
        seconds: wall time spent writing rows.
        highest: of the rows as they are written.
        highest_studies: the same of the table of studies, once that is complete.
        first_failure: the first failed row.
        studies_sha256: of the study table, once it is complete.

    Entering it raises OutputError where a place cannot be written.
    """

    def __init__(
        self,
        plan: Plan,
        pseudonymiser: Pseudonymiser | None,
        shardlog: ShardLog | None,
        growing: GrowingTable | None = None,
    ) -> None:
        self.seconds = 0.0
        self.first_failure: Prediction | None = None
        self.studies_sha256: str | None = None
        self._plan = plan
        self._pseudonymiser = pseudonymiser
        self._shardlog = shardlog
        self._growing = growing
        self._table = None if growing else self._new_table()
        labels = [prompt.label for prompt in plan.prompts]
        self.highest = Highest(labels, plan.options.top)
        self.highest_studies = Highest(labels, plan.options.top) if plan.studies else None
        self._studies = Studies(labels, plan.options.study_aggregate) if plan.studies else None
        self._key_map: KeyMap | None = None
        self._open = ExitStack()

    def _new_table(self) -> Table:
        options = self._plan.options
        return Table(self._plan.out, self._plan.form.columns, options.format, overwrite=options.overwrite)

    @property
    def table_sha256(self) -> str | None:
        """SHA-256 of the table, once it is complete; a database has none."""
        return self._table.sha256 if self._table else None

    def add(self, row: Prediction, picture: str) -> Prediction:
        """Write a row; returns it as it is written.

        Args:
            picture: what stands for its picture (`cxrzero.predict.inputs`).

        Raises:
            OutputError: the disk is full or went away.
            DatabaseError: the database cannot be written any more.
        """
        started = time.perf_counter()
        shown = self._pseudonymiser(row) if self._pseudonymiser else row
        if self._growing:
            self._growing.write(shown, picture)
        if self._table:
            for cells in self._plan.form.rows(shown):
                self._table.write(cells)
        if self._studies:
            self._studies.add(shown)
        if self._key_map:
            self._key_map.add(row, shown)
        self.seconds += time.perf_counter() - started
        self.highest.add(shown)
        if shown.status == "failed" and self.first_failure is None:
            self.first_failure = shown
        return shown

    def commit(self) -> None:
        """Give the files their names, the table last."""
        if self._studies:
            with Table(
                str(self._plan.studies), self._studies.columns, "csv", overwrite=self._plan.options.overwrite
            ) as table:
                for row in self._studies.rows():
                    table.write(list(row.values()))
                    if self.highest_studies:
                        self.highest_studies.add_study(row)
                table.commit()
            self.studies_sha256 = table.sha256
        if self._shardlog:
            self._shardlog.commit()
        if self._key_map:
            self._key_map.commit()
        if self._growing:
            self._growing.flush()
        if self._table:
            self._table.commit()

    @property
    def studies(self) -> StudySummary | None:
        """What --by study joined."""
        return self._studies.summary() if self._studies else None

    def __enter__(self) -> Self:
        with ExitStack() as opened:
            if self._shardlog:
                opened.enter_context(self._shardlog)
            if self._table:
                opened.enter_context(self._table)
            if self._plan.options.key_map:
                key_map = KeyMap(self._plan.options.key_map, overwrite=self._plan.options.overwrite)
                self._key_map = opened.enter_context(key_map)
            self._open = opened.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.__exit__(kind, error, trace)
