"""Who judged and where they disagree: every sentence and count of the Data page on it, recomputed from SQL and by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pytest
from filled_snapshot import HOSTILE, RUN
from scipy.stats import binomtest
from streamlit.testing.v1 import AppTest
from told import find, told

from app.components.agreement import LABELS
from app.queries import agreement as queries

Page = Callable[..., AppTest]
Sql = Callable[..., list[tuple[Any, ...]]]


def counted(n: int, one: str, many: str) -> str:
    return f"{n:,} {one if n == 1 else many}"


def frame(page: AppTest, *columns: str) -> pd.DataFrame:
    (found,) = (f.value for f in page.dataframe if set(columns) <= set(f.value.columns))
    return found


def ask(cursor: duckdb.DuckDBPyConnection) -> Sql:
    return lambda sql, *values: cursor.execute(sql, list(values)).fetchall()


def who_judged_is_true(page: AppTest, sql: Sql) -> None:
    [(n, unnamed)] = sql("SELECT count(*), count(*) - count(rater) FROM ratings")
    if not n:
        find(page, "^Nobody judged anything in this catalogue.")
        return
    pairs = sql("SELECT count(*) FROM ratings GROUP BY query_id, item_id")
    shared = sum(times > 1 for (times,) in pairs)
    line = find(page, rf"^{counted(n, 'rating', 'ratings')} of {counted(len(pairs), 'pair', 'pairs')}: ").string
    assert (
        f"{counted(shared, 'pair has', 'pairs have')} two ratings or more" if shared else "each pair has one"
    ) in line
    assert ("No rating names its rater" in line) == (unnamed == n)
    assert ("Every rating names its rater" in line) == (unnamed == 0)
    rows = frame(page, "n_ratings", "n_shared").set_index(["rater", "source"])
    told_of = sql(
        """SELECT coalesce(rater, 'not named'), ratings.source, count(*), count(DISTINCT query_id), avg(grade),
           100 * avg((grade >= relevant_grade)::INT) FROM ratings, snapshot GROUP BY 1, 2"""
    )
    assert len(rows) == len(told_of)
    for rater, source, *values in told_of:
        assert rows.loc[(rater, source), ["n_ratings", "n_queries", "mean", "relevant"]].tolist() == pytest.approx(
            values
        )
    [(compared,)] = sql("SELECT count(DISTINCT (kind, rater, against)) FROM rater_agreement")
    if compared:
        find(page, rf"^{counted(compared, 'comparison', 'comparisons')}, all; in brackets 95 % over queries · ")
    else:
        find(page, "^How far raters agree cannot be told: ")


def misplaced(sql: Sql, run: str) -> pd.DataFrame:
    """By loops over the pairs of each query: how many of the other side stand on the wrong side."""
    [(bar,)] = sql("SELECT relevant_grade FROM snapshot")
    rows = sql(
        """SELECT query_id, item_id, avg(grade), any_value(score) FROM ratings JOIN scores USING (query_id, item_id)
           WHERE run_id = ? AND ratings.source <> 'llm' GROUP BY ALL""",
        run,
    )
    table = pd.DataFrame(rows, columns=["query_id", "item_id", "people", "score"])
    found = []
    for query, part in table.groupby("query_id"):
        relevant, score = (part["people"] >= bar).to_numpy(), part["score"].to_numpy()
        for place, item in enumerate(part["item_id"]):
            others = score[relevant != relevant[place]]
            wrong = others > score[place] if relevant[place] else others < score[place]
            if wrong.any():
                low = binomtest(int(wrong.sum()), len(others)).proportion_ci(method="wilson").low
                found.append((query, item, int(wrong.sum()), len(others), low))
    return pd.DataFrame(found, columns=["query_id", "item_id", "against", "others", "sure"])


def disagreement_is_true(page: AppTest, sql: Sql, run: str) -> None:
    expected = misplaced(sql, run)
    [(of,)] = sql(
        """SELECT count(*) FROM (SELECT DISTINCT query_id, item_id FROM ratings WHERE source <> 'llm')
           JOIN scores USING (query_id, item_id) WHERE run_id = ?""",
        run,
    )
    n, sure = len(expected), int((expected["sure"] > 0.5).sum())
    find(
        page,
        rf"^On {n:,} of {counted(of, 'pair', 'pairs')} that people judged, the served ranking stands against .* {sure:,} surely so",
    )
    shown = frame(page, "against", "others")
    assert len(shown) == min(n, 200)
    both = shown.merge(expected, on=["query_id", "item_id"], suffixes=("", "_true"))
    assert len(both) == len(shown)
    assert both["against"].tolist() == both["against_true"].tolist()
    assert both["others"].tolist() == both["others_true"].tolist()
    assert both["sure"].to_numpy() / 100 == pytest.approx(both["sure_true"].to_numpy(), abs=1e-4)
    assert np.all(np.diff(shown["sure"]) <= 1e-9)
    assert shown["sure"].min() / 100 == pytest.approx(expected["sure"].nlargest(len(shown)).min(), abs=1e-4)
    for row in shown.head(20).to_dict("records"):
        assert row["open"].startswith("/explain?")
        assert f"run={run}" in row["open"]


def test_of_the_trained_marketplace(true_page: Page, sql: Sql) -> None:
    page = true_page("data")
    [(run,)] = sql("SELECT default_run FROM snapshot")
    who_judged_is_true(page, sql)
    disagreement_is_true(page, sql, run)


def test_of_several_raters_and_a_judge(open_page: Page, workspace: Path, cursor: duckdb.DuckDBPyConnection) -> None:
    sql, page = ask(cursor), open_page("data", workspace)
    who_judged_is_true(page, sql)
    disagreement_is_true(page, sql, RUN)
    shown = frame(page, "kappa_interval", "against")
    [(percent, low, high, n)] = sql(
        "SELECT 100 * value, 100 * low, 100 * high, n_pairs FROM rater_agreement WHERE kind = 'judge' AND measure = 'percent'"
    )
    assert shown.iloc[0]["percent_interval"] == f"{percent:.1f} [{low:.1f}, {high:.1f}]"
    find(
        page,
        rf"^judge-1 gives the same grade as people \(mean\) on {percent:.1f} \[.*\] % of {n} ratings; beyond chance, kappa is",
    )
    assert {*shown["kind"]} == {"a language model", "one rater, all others", "two raters"}
    assert "<b>" not in "\n".join(str(e.value) for e in page.markdown)
    assert HOSTILE in set(frame(page, "n_ratings", "n_shared")["rater"])


def test_a_judge_and_people_among_themselves(
    open_page: Page, workspace: Path, cursor: duckdb.DuckDBPyConnection
) -> None:
    sql = ask(cursor)
    stated = """SELECT query_id, item_id, list(grade) FILTER (source <> 'llm') AS people, avg(grade) FILTER (source = 'llm') AS judge
                FROM ratings GROUP BY ALL"""
    rows = sql(stated)
    judged = [(min(abs(g - j) for g in p), q, i) for q, i, p, j in rows if j is not None and sum(p) / len(p) != j]
    # Between the lowest and the highest rating there is no gap at all.
    judged = [
        (0 if min(p) <= j <= max(p) else gap, q, i)
        for gap, q, i in judged
        for q2, i2, p, j in rows
        if (q2, i2) == (q, i)
    ]
    page = open_page("data", workspace, against=LABELS["judge"])
    of = sum(j is not None for *_, j in rows)
    find(
        page,
        rf"^On {len(judged):,} of {of:,} pairs that both judged, .* on {sum(g >= 1 for g, *_ in judged):,} it is a grade or more",
    )
    shown = frame(page, "range", "open")
    assert {(r["sure"], r["query_id"], r["item_id"]) for r in shown.to_dict("records")} == set(judged)
    apart = [max(p) - min(p) for *_, p, _ in rows if len(p) > 1]
    page = open_page("data", workspace, against=LABELS["people"])
    find(
        page,
        rf"^On {sum(a > 0 for a in apart):,} of {len(apart):,} pairs that people rated twice or more, they differ; on {sum(a >= 1 for a in apart):,}",
    )


@pytest.mark.parametrize("kind", queries.KINDS)
def test_empties_say_what_would_fill_them(open_page: Page, bare_workspace: Path, kind: str) -> None:
    page = open_page("data", bare_workspace, against=LABELS[kind])
    assert not page.error
    words = " ".join(told(page))
    assert "Nobody judged anything in this catalogue." in words
    assert {"ranking": "No judged pair was scored", "judge": "No language model judged", "people": "No pair was rated twice"}[kind] in words  # fmt: skip
