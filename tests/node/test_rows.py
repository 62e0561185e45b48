"""Rows that the queue keeps are the rows that were scored."""

from __future__ import annotations

from cxrzero.images.radiograph import Facts
from cxrzero.node.rows import pack, unpack
from cxrzero.prediction import Prediction

LABELS = dict.fromkeys(["mass, left", "édème"])


def test_rows_come_back_to_the_bit() -> None:
    full = Prediction(
        "folder/a",
        LABELS,
        "ok",
        frame=2,
        facts=Facts("DX", "PA", "MONOCHROME1", "1.2", "1.3", "1.4"),
        flags=frozenset({"lateral", "duplicate"}),
        scores={"mass, left": 0.30000001192092896, "édème": 1.401298464324817e-45},  # float32: 0.3, the least above 0
        sd={"mass, left": 0.0, "édème": 0.1},
        calibrated={"mass, left": None, "édème": 0.5},
        decision={"mass, left": None, "édème": 1},
    )
    failed = Prediction("folder/a", LABELS, "failed", error="truncated: it ends early", code="truncated")
    assert unpack(pack([full, failed]), "folder/a") == [full, failed]
    assert list(unpack(pack([full]), "x")[0].labels) == ["mass, left", "édème"]


def test_what_is_not_scored_has_no_rows() -> None:
    assert unpack("", "x") == []
