"""The node's side of the process that scores (`cxrzero.node.scorer`): it is started, asked, and started again."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any, Self

from cxrzero.errors import CxrzeroError, RunError
from cxrzero.node.config import NodeConfig
from cxrzero.node.scorer import Study, StudyRows, serve

# A batch that takes longer hangs: some decoders never come back from a damaged stream. It is generous, because a
# machine may be asleep or swapping; a batch takes seconds.
HANG_S = 600.0
# For the end of a process that was told to end, and has nothing to do any more.
END_S = 10.0


class ScoringDiedError(RunError):
    """The process ended, or hung, in the middle of a batch."""


class Scoring:
    """A process that scores, started when it is first needed.

    Args:
        config: what is asked of every film.
        hang_s: seconds after which a batch is given up.
    """

    def __init__(self, config: NodeConfig, hang_s: float = HANG_S) -> None:
        self._config, self._hang_s = config, hang_s
        self._process: multiprocessing.process.BaseProcess | None = None
        self.record: dict[str, Any] = {}
        self.notices: list[str] = []

    def start(self) -> None:
        """Load the model, unless a process has it.

        Raises:
            CxrzeroError: as `Screener` raises it.
            ScoringDiedError: the process ended first.
        """
        if self._process is not None:
            return
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._config), name="scorer", daemon=True)
        self._process.start()
        theirs.close()
        self.record, self.notices = self._answer()

    def score(self, studies: Sequence[Study]) -> list[StudyRows]:
        """The rows of each file of each study, see `StudyScorer.score`.

        Raises:
            ScoringDiedError: one of the files crashed the process, or hangs; another process will be started.
            CxrzeroError: the model cannot score.
        """
        self.start()
        found: list[StudyRows] = self._answer([list(study) for study in studies])
        return found

    def close(self) -> None:
        """End the process: at once if it is busy, for what it does can be done again."""
        if self._process is not None:
            self._connection.close()
            self._process.join(END_S)
            self._kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, asked: list[list[str]] | None = None) -> Any:
        assert self._process is not None
        answer = None
        with suppress(EOFError, OSError):  # it has ended, and closed its end
            if asked is not None:
                self._connection.send(asked)
            wait([self._connection, self._process.sentinel], self._hang_s)
            if self._connection.poll():  # what was said before the end is still there to be read
                answer = self._connection.recv()
        if answer is None or isinstance(answer, CxrzeroError):
            self._kill()
        if isinstance(answer, CxrzeroError):
            raise answer
        if answer is None:
            raise ScoringDiedError("the process that scores ended or hangs; a film may have crashed its decoder")
        return answer

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
            self._process = None
            self._connection.close()
