"""What `cxrzero compare` finds: numbers against SciPy and scikit-learn, joins frame by frame, films that flip."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrzero.compare import agreement
from cxrzero.compare.run import Comparison
from cxrzero.errors import UsageError
from tests.support.needs import modules, optional

sk = optional("sklearn.metrics")
scipy = optional("scipy.stats")

Table = Callable[..., Path]
Compare = Callable[..., Comparison]


def drawn(seed: int, n: int = 80) -> tuple[list[float], list[float]]:
    rng = np.random.default_rng(seed)
    common = rng.normal(size=n)
    one, other = ((1 / (1 + np.exp(-common - 0.8 * rng.normal(size=n)))).round(4).tolist() for _ in range(2))
    return one, other


def said(found: Comparison) -> str:
    return "\n".join(each.text for each in found.warnings)


def test_numbers_are_those_of_scipy_and_scikit_learn(table: Table, compared: Compare) -> None:
    a, b = drawn(1)
    decisions = [[int(x >= 0.6) for x in a], [int(x >= 0.4) for x in b]]
    one = table("a.csv", {"mass": a, "mass_decision": decisions[0]})
    other = table("b.csv", {"mass": b, "mass_decision": decisions[1]})
    (found,) = compared(one, other, threshold=0.5, share=(0.1, 0.25), n_resamples=200).labels
    assert found.spearman.value == pytest.approx(scipy.spearmanr(a, b).statistic, abs=1e-12)
    assert found.tau_b.value == pytest.approx(scipy.kendalltau(a, b).statistic, abs=1e-12)
    assert found.spearman.low < found.spearman_bootstrap.value < found.spearman.high
    assert found.spearman_bootstrap.n_resamples == 200
    assert found.shift is not None
    assert found.shift.largest_gap == pytest.approx(scipy.ks_2samp(a, b).statistic, abs=1e-12)
    assert found.shift.quantiles_a[2] == pytest.approx(np.median(a))
    stated, fixed, tenth, quarter = found.decisions
    flagged: list[Any] = [
        decisions,
        [[x >= 0.5 for x in each] for each in (a, b)],
        *([[x >= sorted(each)[-most] for x in each] for each in (a, b)] for most in (8, 20)),
    ]
    for each, (p, q) in zip((stated, fixed, tenth, quarter), flagged, strict=True):
        counts = sk.confusion_matrix(p, q)
        assert [[each.neither, each.only_b], [each.only_a, each.both]] == counts.tolist()
        assert each.kappa.value == pytest.approx(sk.cohen_kappa_score(p, q), abs=1e-12)
    assert stated.p == pytest.approx(scipy.binomtest(stated.only_a, stated.only_a + stated.only_b).pvalue)
    assert stated.flagged_gap.value == pytest.approx(np.mean(decisions[1]) - np.mean(decisions[0]))
    assert (tenth.both + tenth.only_a, tenth.both + tenth.only_b) == (8, 8)
    assert np.isnan(tenth.p)


def test_rows_of_one_patient_are_one_unit(table: Table, compared: Compare) -> None:
    """Each film twice, as films of one patient: the interval is that of the patients."""
    a, b = drawn(2, 40)
    patients = [n // 2 for n in range(80)]
    single = compared(table("a.csv", {"mass": a}), table("b.csv", {"mass": b}), threshold=0.5)
    twice = [np.repeat(each, 2).tolist() for each in (a, b)]
    one = table("c.csv", {"mass": twice[0]}, patient_id=patients)
    other = table("d.csv", {"mass": twice[1]}, patient_id=patients)
    double = compared(one, other, threshold=0.5)
    widths = [each.labels[0].spearman.high - each.labels[0].spearman.low for each in (single, double)]
    assert widths[1] == pytest.approx(widths[0], rel=0.05)
    gaps = [each.labels[0].decisions[0].flagged_gap for each in (single, double)]
    assert gaps[1].low == pytest.approx(gaps[0].low, rel=0.05)
    # Not McNemar's test, which would take the second film of a patient for another proof.
    z = gaps[1].value / ((gaps[1].high - gaps[1].low) / 2 / scipy.norm.ppf(0.975))
    assert double.labels[0].decisions[0].p == pytest.approx(2 * scipy.norm.sf(abs(z)))
    assert double.pairs.unit == "patient (patient_id)"
    assert single.pairs.unit == "image"
    assert double.labels[0].n_units == 40


def test_films_are_joined_whatever_their_order_and_folder(table: Table, compared: Compare) -> None:
    a, b = drawn(3, 30)
    order = np.random.default_rng(0).permutation(30)
    one = table("a.csv", {"mass": a})
    other = table("b.csv", {"mass": [b[i] for i in order]}, path=[f"elsewhere/f{i}.png" for i in order])
    found = compared(one, other)
    assert found.pairs.joined.key == "path (file name)"
    np.testing.assert_array_equal(found.pairs.scores["mass"][0], a)
    np.testing.assert_array_equal(found.pairs.scores["mass"][1], b)


def test_frames_are_compared_with_the_same_frames(table: Table, compared: Compare) -> None:
    paths = ["x.dcm", "x.dcm", "y.dcm", "z.dcm"]
    one = table("a.csv", {"mass": [0.1, 0.2, 0.3, 0.4]}, path=paths, frame=[1, 2, 1, 1])
    other = table("b.csv", {"mass": [0.22, 0.11, 0.33, 0.9]}, path=paths, frame=[2, 1, "", 3])
    found = compared(one, other)
    np.testing.assert_array_equal(found.pairs.scores["mass"][0], [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(found.pairs.scores["mass"][1], [0.11, 0.22, 0.33])
    assert found.pairs.frames == [1, 2, 1]
    assert "1 row is in A only" in said(found)
    assert "1 row is in B only" in said(found)


def test_films_that_are_there_twice_are_in_no_number(table: Table, compared: Compare) -> None:
    one = table("a.csv", {"mass": [0.1, 0.2, 0.3, 0.4]}, path=["p.png", "p.png", "q.png", "r.png"])
    other = table("b.csv", {"mass": [0.1, 0.2, 0.3, 0.9]}, path=["p.png", "q.png", "r.png", "r.png"])
    found = compared(one, other)
    assert found.pairs.paths == ["q.png"]
    assert "1 identifier stands for several rows of A" in said(found)
    assert "1 identifier stands for several rows of B" in said(found)


def test_what_only_one_table_scored_is_counted(table: Table, compared: Compare) -> None:
    states = [["ok", "failed", "ok", "skipped", "ok"], ["ok", "ok", "failed", "skipped", "ok"]]
    one = table("a.csv", {"mass": [0.1, None, 0.3, None, 0.5]}, status=states[0])
    other = table("b.csv", {"mass": [0.1, 0.2, None, None, 0.5]}, status=states[1])
    found = compared(one, other)
    joined = found.pairs.joined
    assert (joined.n_both, joined.n_only_a, joined.n_only_b, joined.n_neither) == (2, 1, 1, 1)
    assert (found.labels[0].n, found.labels[0].n_only_a, found.labels[0].n_only_b) == (2, 1, 1)
    assert "1 film scored in A failed or was skipped in B" in said(found)
    assert "1 film scored in B failed or was skipped in A" in said(found)


def test_labels_are_matched_by_name_alone_unless_the_user_says_more(table: Table, compared: Compare) -> None:
    a, b = drawn(4, 12)
    one = table("a.csv", {"Pleural_Effusion": a, "mass": a, "edema": a})
    other = table("b.csv", {"pleural effusion": b, "Lung Lesion": b, "nodule": b})
    found = compared(one, other)
    assert found.pairs.names == {"Pleural_Effusion": "pleural effusion"}
    assert "mass and edema are in A only" in said(found)
    assert "Lung Lesion and nodule are in B only" in said(found)
    mapped = compared(one, other, mapping=("mass=Lung Lesion",))
    assert mapped.pairs.names == {"Pleural_Effusion": "pleural effusion", "mass": "Lung Lesion"}
    with pytest.raises(UsageError, match="has the labels Pleural_Effusion"):
        compared(one, other, mapping=("mass=tumour",))


def test_flips_are_ranked_by_the_change_of_rank(table: Table, compared: Compare) -> None:
    """Film 0 has by far the largest change of score and none of rank; films 3 and 4 change places."""
    one = table("a.csv", {"mass": [0.99, 0.3, 0.2, 0.11, 0.10]})
    other = table("b.csv", {"mass": [0.40, 0.3, 0.2, 0.10, 0.11]})
    flips = compared(one, other).flips
    assert [(flip.path, flip.below_a, flip.below_b) for flip in flips] == [
        ("films/f3.png", 0.3, 0.1),
        ("films/f4.png", 0.1, 0.3),
    ]
    assert compared(one, other, top=1).flips == flips[:1]
    assert compared(one, other, top=0).flips == ()


def test_tied_films_are_flagged_together(table: Table, compared: Compare) -> None:
    one = table("a.csv", {"mass": [0.9, 0.9, 0.9, 0.1, 0.2]})
    other = table("b.csv", {"mass": [0.9, 0.8, 0.7, 0.1, 0.2]})
    found = compared(one, other, share=(0.2,))
    assert (found.labels[0].decisions[0].both, found.labels[0].decisions[0].only_a) == (1, 2)
    assert found.labels[0].tied_a == 0.6
    assert "share their score with another: mass" not in said(found)  # too few films to say anything of
    many = [table(f"{n}.csv", {"mass": [n * 0.1 + i // 10 / 10 for i in range(60)]}) for n in range(2)]
    assert "share their score with another: mass" in said(compared(*many))


@pytest.mark.parametrize("n", [1, 2])
def test_one_film_and_two(table: Table, compared: Compare, n: int) -> None:
    found = compared(table("a.csv", {"mass": [0.1, 0.2][:n]}), table("b.csv", {"mass": [0.3, 0.2][:n]}))
    assert "few" in found.labels[0].marks
    assert "too few to judge: mass" in said(found)
    if n == 1:
        assert np.isnan(found.labels[0].spearman.value)
    else:
        assert found.labels[0].spearman.value == pytest.approx(-1)


def test_a_constant_score_has_no_order(table: Table, compared: Compare) -> None:
    a, b = drawn(5, 20)
    found = compared(table("a.csv", {"mass": a, "edema": a}), table("b.csv", {"mass": [0.5] * 20, "edema": b}))
    assert np.isnan(found.labels[0].spearman.value)
    assert np.isnan(found.labels[0].tau_b.value)
    assert found.labels[0].marks == ("constant_b",)
    assert "B has one score for all films, so that there is no order: mass" in said(found)


def test_blank_cells_are_left_out_label_by_label(table: Table, compared: Compare) -> None:
    a, b = drawn(6, 20)
    found = compared(
        table("a.csv", {"mass": [*a[:5], *[None] * 15], "edema": a}), table("b.csv", {"mass": b, "edema": b})
    )
    assert [each.n for each in found.labels] == [5, 20]


def test_the_same_scores_are_said_to_be_the_same(table: Table, compared: Compare) -> None:
    a, _ = drawn(7, 20)
    found = compared(table("a.csv", {"mass": a}), table("b.csv", {"mass": a}))
    assert "Every score is the same in both tables." in said(found)
    assert found.flips == ()
    assert found.labels[0].spearman.value == pytest.approx(1)
    assert np.isnan(found.labels[0].spearman.low)


def test_labels_that_look_at_each_other_have_to_be_the_same(table: Table, compared: Compare) -> None:
    """A sentence that the model is asked along anyway changes nothing; a model of the other kind never minds."""

    def warned(labels: str, along: Sequence[str] = (), **second: Any) -> list[str]:
        scores, model = {"mass": [0.1, 0.2, 0.3]}, {"model": "kad", "labels": labels, "along": along}
        a, b = table("a.csv", scores, record=model), table("b.csv", scores, record=model | second)
        return [each.text for each in compared(a, b).warnings if "beside others" in each.text]

    assert warned("together", beside="edema") == [
        "A and B were asked other labels or other words, and kad gives a label another number beside others. "
        "To compare models, ask both the same."
    ]
    assert warned("together", words="a mass")
    assert not warned("together")
    assert not warned("together", beside="edema", along=["edema"])
    assert not warned("independent", beside="edema")


def test_of_many_rows_there_is_no_bootstrap(table: Table, compared: Compare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "BOOTSTRAP_ROWS", 19)
    a, b = drawn(8, 20)
    found = compared(table("a.csv", {"mass": a}), table("b.csv", {"mass": b}), n_resamples=100)
    assert found.labels[0].spearman_bootstrap.n_resamples == 0
    assert found.labels[0].spearman.low < found.labels[0].spearman.value


def test_json_lines_and_parquet_say_the_same(table: Table, compared: Compare, tmp_path: Path) -> None:
    a, b = drawn(9, 25)
    one, other = table("a.csv", {"mass": a}), table("b.csv", {"mass": b})
    expected = compared(one, other).labels
    with other.open(encoding="utf-8") as file:
        rows = [{**row, "mass": float(row["mass"])} for row in csv.DictReader(file)]
    lines = tmp_path / "b.jsonl"
    lines.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    assert compared(one, lines).labels == expected
    modules("pyarrow")
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "b.parquet")
    assert compared(one, tmp_path / "b.parquet").labels == expected


def test_tables_of_studies_are_compared_by_study(tmp_path: Path, compared: Compare, table: Table) -> None:
    a, b = drawn(10, 20)
    paths = []
    for name, scores in (("a.studies.csv", a), ("b.studies.csv", b)):
        paths.append(tmp_path / name)
        with paths[-1].open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(
                ["study", "study_instance_uid", "images_used", "images_left_out", "left_out_reasons", "mass"]
            )
            writer.writerows([f"1.2.{n}", f"1.2.{n}", 1, 0, "", score] for n, score in enumerate(scores))
    found = compared(*paths)
    assert found.pairs.joined.level == "study"
    assert found.pairs.joined.n_both == 20
    assert found.labels[0].spearman.value == pytest.approx(scipy.spearmanr(a, b).statistic)
    with pytest.raises(UsageError, match=r"is a table of studies and .* is not"):
        compared(paths[0], table("c.csv", {"mass": b}))


def test_with_labels_it_is_the_comparison_of_eval(table: Table, compared: Compare, tmp_path: Path) -> None:
    from cxrzero.evaluate.options import EvalOptions
    from cxrzero.evaluate.run import evaluate

    a, b = drawn(11)
    one, other = table("a.csv", {"mass": a}), table("b.csv", {"mass": b})
    labels = tmp_path / "labels.csv"
    truth = np.random.default_rng(0).random(80) < np.array(a)
    labels.write_text("path,mass\n" + "".join(f"films/f{i}.png,{int(t)}\n" for i, t in enumerate(truth)))
    found = compared(one, other, labels=labels, n_resamples=100)
    expected = evaluate(EvalOptions(str(one), str(labels), compare=(str(other),), n_resamples=100))
    assert found.evaluation is not None
    assert found.evaluation.comparisons == expected.comparisons
    assert found.evaluation.comparisons[0].auroc.this == pytest.approx(sk.roc_auc_score(truth, a))
    assert found.evaluation.comparisons[0].auroc.other == pytest.approx(sk.roc_auc_score(truth, b))


def bad(name: str, table: Table, tmp_path: Path) -> tuple[Path, Path]:
    """Two tables that cannot be compared."""
    a, b = drawn(12, 10)
    one, others = table("a.csv", {"mass": a}), [f"other/g{i}.png" for i in range(10)]
    long = tmp_path / "long.csv"
    long.write_text("path,status,label,probability\nx.png,ok,mass,0.5\n")
    database = tmp_path / "results.sqlite"
    database.write_bytes(b"SQLite format 3\0" + bytes(100))
    hidden = {"pseudonymise": True}
    made: dict[str, Any] = {
        "twice": lambda: one,
        "folder": lambda: tmp_path,
        "missing": lambda: tmp_path / "none.csv",
        "long": lambda: long,
        "database": lambda: database,
        "other films": lambda: table("b.csv", {"mass": b}, path=others),
        "other labels": lambda: table("b.csv", {"tumour": b}),
        "logits": lambda: table("b.csv", {"mass": [9.0, *b[1:]]}),
        "infinite": lambda: table("b.csv", {"mass": ["inf", *b[1:]]}),
        "no number": lambda: table("b.csv", {"mass": ["high", *b[1:]]}),
        "all failed": lambda: table("b.csv", {"mass": [None] * 10}, status=["failed"] * 10),
        "one hidden": lambda: table("b.csv", {"mass": b}, record=hidden, path=[f"9f/{i:x}" for i in range(10)]),
    }
    if name == "two keys":
        one = table("a.csv", {"mass": a}, record=hidden, path=[f"0a/{i:x}" for i in range(10)])
        return one, table("b.csv", {"mass": b}, record=hidden, path=[f"9f/{i + 64:x}" for i in range(10)])
    return one, made[name]()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("twice", "is given twice; a table agrees with itself"),
        ("folder", "is a folder; predict first"),
        ("missing", "no such file"),
        ("long", "a table of --long"),
        ("database", "cxrzero table DATABASE"),
        ("other films", "no film of .*a.csv is in .*b.csv by"),
        ("other labels", "no label in common: mass, and tumour"),
        ("logits", "not within"),
        ("infinite", "not within"),
        ("no number", "data row 1: 'high' is not a number"),
        ("all failed", "no film has a score in both tables"),
        ("one hidden", "one has pseudonyms and the other has not"),
        ("two keys", "only if they were made with the same key"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    name: str, words: str, table: Table, compared: Compare, tmp_path: Path
) -> None:
    one, other = bad(name, table, tmp_path)
    with pytest.raises(UsageError, match=words):
        compared(one, other)


def test_logits_are_compared_where_the_user_says_so(table: Table, compared: Compare) -> None:
    found = compared(*bad_logits(table), any_score=True)
    assert found.labels[0].n == 3


def bad_logits(table: Table) -> tuple[Path, Path]:
    return table("a.csv", {"mass": [-3.0, 2, 4]}), table("b.csv", {"mass": [-5.0, 9, 1]})


def test_somebody_elses_tables_are_joined_by_their_identifiers(tmp_path: Path, compared: Compare) -> None:
    (tmp_path / "a.csv").write_text("Image Index;mass;age\n1.png;0,1;40\n2.png;0,2;50\n3.png;0,4;60\n")
    (tmp_path / "b.csv").write_text("id,mass,age\n3,0.9,60\n1,0.2,40\n2,0.4,50\n")
    found = compared(tmp_path / "a.csv", tmp_path / "b.csv")
    assert list(found.pairs.names) == ["mass"]
    np.testing.assert_array_equal(found.pairs.scores["mass"][1], [0.2, 0.4, 0.9])
