"""The judging queue: what it shows and hides, what is kept, taken back and put off, and what a read-only workspace says."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from filled_snapshot import HOSTILE, RUN
from streamlit.testing.v1 import AppTest
from told import find, told

from app.components import judging
from app.queries import judging as queries
from engine.labeling.prompt import RULES, Prompt
from engine.store.judged import Answer, JudgedStore

Open = Callable[..., AppTest]


def begun(open_page: Open, workspace: Path, rater: str = "Ada", **params: str) -> AppTest:
    page = open_page("data", workspace, judge="true", **params)
    page.text_input(key="rater-name").set_value(rater)
    page.button(key="FormSubmitter:rater-Begin").click().run()
    assert not page.exception, page.exception[0].value
    assert not page.error, page.error[0].value
    return page


def pair(page: AppTest) -> tuple[str, str]:
    """The pair on screen, which the field for the reason is called after."""
    (field,) = (f.key for f in page.text_input if f.key and f.key.startswith("reason-"))
    query, item = field.removeprefix("reason-").split("-", 1)
    return query, item


def order(cursor: duckdb.DuckDBPyConnection, rater: str, part: str = "both", size: int = 20) -> list[tuple[str, str]]:
    rows = queries.queue(cursor, RUN, part, size, judging.seed(rater))
    return list(rows.itertuples(index=False, name=None))


# ---------------------------------------------------------------- the queue


def test_the_order_is_the_raters_own(cursor: duckdb.DuckDBPyConnection) -> None:
    mine, theirs = order(cursor, "Ada"), order(cursor, "Bob")
    assert mine == order(cursor, "Ada")
    assert mine != theirs
    assert set(mine) == set(theirs)
    assert len(set(mine)) == 20


def test_it_holds_what_is_disputed_and_what_is_seen_unjudged(cursor: duckdb.DuckDBPyConnection) -> None:
    def rows(sql: str) -> list[tuple[str, str]]:
        return cursor.execute(sql, {"run": RUN}).fetchall()

    unjudged = rows(
        """SELECT query_id, item_id FROM scores s JOIN queries q USING (query_id) WHERE run_id = $run AND rank <= 10 AND source <> 'synthetic'
           AND (query_id, item_id) NOT IN (SELECT (query_id, item_id) FROM judgments)
           ORDER BY frequency * ln(2) / ln(1 + rank) DESC, query_id, item_id LIMIT 20"""
    )
    assert set(order(cursor, "Ada", "unjudged")) == set(unjudged)
    disputed = order(cursor, "Ada", "disputed", 500)
    judged = set(rows("SELECT query_id, item_id FROM judgments WHERE $run IS NOT NULL"))
    assert disputed
    assert set(disputed) <= judged
    both = order(cursor, "Ada", "both", 20)
    assert sum(pair in judged for pair in both) == 10
    apart = rows(
        """SELECT query_id, item_id FROM ratings WHERE source <> 'llm' AND $run IS NOT NULL GROUP BY ALL HAVING max(grade) > min(grade)"""
    )
    assert set(apart) <= set(disputed)


# ---------------------------------------------------------------- the page


def test_nothing_on_the_page_tells_the_answer(
    open_page: Open, workspace: Path, cursor: duckdb.DuckDBPyConnection
) -> None:
    page = begun(open_page, workspace, judge_n="500")
    assert pair(page) == order(cursor, "Ada", size=500)[0]
    assert not page.dataframe
    assert [h.value for h in page.header] == ["Judge pairs"]
    words = "\n".join(told(page)).casefold()
    for secret in ("nDCG", "expects", "misplaced", "surely", "with SIDs", "rated"):
        assert secret.casefold() not in words, secret
    find(page, "neither the ranking's score nor anybody's grade before you answer")
    # The guidelines are the language model's own, word for word.
    for rule in RULES:
        find(page, rule[:40])
    for grade, said in Prompt.for_scale(3).definitions.items():
        find(page, f"{grade} {said}")
        assert page.button(key=f"grade-{grade}").label.startswith(f"{grade} · ")


def test_a_grade_is_kept_with_its_reason(
    open_page: Open, own_workspace: Path, cursor: duckdb.DuckDBPyConnection
) -> None:
    page = begun(open_page, own_workspace, "Ada")
    ordered = order(cursor, "Ada")
    page.text_input(key=f"reason-{'-'.join(ordered[0])}").set_value("another type")
    page.button(key="grade-0").click().run()
    [kept] = JudgedStore(own_workspace).standing()
    assert (kept.rater, kept.dataset, kept.query_id, kept.item_id, kept.grade, kept.reason, kept.max_grade) == (
        "Ada", "Test marketplace", *ordered[0], 0, "another type", 3.0,
    )  # fmt: skip
    assert pair(page) == ordered[1]
    assert page.text_input(key=f"reason-{'-'.join(ordered[1])}").value == ""
    find(page, "^1 judgment by 1 rater of this catalogue is kept in the workspace")
    page.button(key="skip").click().run()
    assert pair(page) == ordered[2]
    page.button(key="grade-3").click().run()
    page.button(key="undo").click().run()
    assert pair(page) == ordered[2]
    assert len(JudgedStore(own_workspace).standing()) == 1
    # Whoever returns goes on where they stopped; another rater begins anew, in another order.
    assert pair(begun(open_page, own_workspace, "Ada")) == ordered[1]
    assert pair(begun(open_page, own_workspace, "Bob")) == order(cursor, "Bob")[0]


def test_skipped_ones_come_again_and_the_end_is_told(open_page: Open, own_workspace: Path) -> None:
    page = begun(open_page, own_workspace)
    first = pair(page)
    page.button(key="skip").click().run()
    for _ in range(19):
        page.button(key="grade-1").click().run()
    assert pair(page) == first
    page.button(key="grade-1").click().run()
    find(page, "^All of them are judged")
    assert page.button(key="skip").disabled
    assert len(JudgedStore(own_workspace).standing()) == 20


def test_what_cannot_be_written_is_said(open_page: Open, own_workspace: Path) -> None:
    page = begun(open_page, own_workspace)
    (own_workspace / "judged").write_text("a file in the way, as a read-only workspace would be")
    first = pair(page)
    page.button(key="grade-1").click().run()
    assert "It was not kept:" in page.error[0].value
    assert pair(page) == first


def test_hostile_and_endless_titles_are_text(open_page: Open, own_workspace: Path) -> None:
    (path,) = (own_workspace / "snapshots").glob("*.duckdb")
    with duckdb.connect(str(path)) as connection:
        connection.execute("UPDATE items SET title = ? || repeat('😀x ', 4000)", [HOSTILE])
    page = begun(open_page, own_workspace)
    shown = "\n".join(str(e.value) for e in page.markdown)
    assert "😀x 😀x" in shown
    assert "<b>" not in shown
    assert ":red[" not in shown


@pytest.mark.parametrize("name", ["", "=+"])
def test_a_name_is_asked_for(open_page: Open, workspace: Path, name: str) -> None:
    page = open_page("data", workspace, judge="true")
    page.text_input(key="rater-name").set_value(name)
    page.button(key="FormSubmitter:rater-Begin").click().run()
    assert "a rater needs a name" in page.warning[0].value
    assert not [b for b in page.button if b.key and b.key.startswith("grade-")]


def test_nothing_to_judge(open_page: Open, bare_workspace: Path) -> None:
    find(begun(open_page, bare_workspace), "^There is nothing to judge")


def test_the_file_is_the_contracts(own_workspace: Path) -> None:
    store = JudgedStore(own_workspace)
    answer = Answer(rater="Ada", dataset="d", query_id="q", query="a, b", item_id="i", grade=2, max_grade=3, relevant_grade=2, reason="x")  # fmt: skip
    kept = store.add(answer)
    [row] = csv.DictReader(io.StringIO(judging.judgments_csv([kept]).decode()))
    assert row == {
        "query_id": "q", "query": "a, b", "item_id": "i", "grade": "2", "source": "human", "rater": "Ada", "reason": "x",
        "judged_at": kept.judged_at,
    }  # fmt: skip
