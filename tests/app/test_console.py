"""The SQL console of the Data page: off by default; questions, errors, limits, cancel, export, the address."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from filled_snapshot import RUN, SNAPSHOT, N
from streamlit.testing.v1 import AppTest

from app import fetch
from app.components import console
from engine.store import questions
from engine.store.locked import ALLOWED, Limits, Locked

Open = Callable[..., AppTest]


@pytest.fixture
def allowing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED, "1")


def settled(page: AppTest) -> AppTest:
    """The page once its question is answered."""
    until = time.monotonic() + 60
    while any("At work" in str(e.value) for e in page.markdown) and time.monotonic() < until:
        time.sleep(0.5)
        page.run()
    assert not page.exception, page.exception[0].value
    return page


def answer(page: AppTest) -> list[dict[str, object]]:
    return page.dataframe[-1].value.to_dict("records")


def test_off_by_default(open_page: Open, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for value in (None, "", "0"):
        monkeypatch.delenv(ALLOWED, raising=False)
        if value is not None:
            monkeypatch.setenv(ALLOWED, value)
        page = open_page("data", workspace, sql="SELECT 42 AS n")
        assert any("python -m app --allow-sql" in str(e.value) for e in page.caption)
        assert not [e for e in page.text_area if e.key == "sql"]
        assert "_console" not in page.session_state


@pytest.mark.usefixtures("allowing")
def test_a_link_with_sql_is_answered(open_page: Open, workspace: Path) -> None:
    page = settled(open_page("data", workspace, sql="SELECT count(*) AS n, $run AS run, [1, 2] AS l FROM items"))
    assert answer(page) == [{"n": N, "run": RUN, "l": "[1, 2]"}]
    assert not page.error
    assert any("1 row, all" in str(e.value) for e in page.caption)


@pytest.mark.usefixtures("allowing")
def test_a_ready_question_runs_and_is_in_the_address(open_page: Open, workspace: Path) -> None:
    page = open_page("data", workspace)
    assert any("Nothing was asked yet" in str(e.value) for e in page.info)
    page = settled(page.selectbox(key="ready").select("ranking").run())
    assert page.text_area(key="sql").value == questions.QUESTIONS["ranking"].sql.strip()
    assert page.selectbox(key="ready").value == "ranking"
    assert "sql" in page.query_params
    assert answer(page)[0]["rank"] == 1
    first = {page.text_input(key="ask-query").value, page.text_input(key="ask-limit").value}
    assert "20" in first
    page.text_input(key="ask-limit").set_value("3")
    page = settled(next(b for b in page.button if b.label == "Run").click().run())
    assert len(answer(page)) == 3


@pytest.mark.usefixtures("allowing")
@pytest.mark.parametrize("name", questions.QUESTIONS)
def test_every_ready_question_runs(name: str, open_page: Open, workspace: Path) -> None:
    page = settled(open_page("data", workspace, sql=questions.QUESTIONS[name].sql.strip()))
    assert not page.error, page.error[0].value


@pytest.mark.usefixtures("allowing")
@pytest.mark.parametrize(
    ("sql", "words"),
    [
        ("SELECT nonsense FROM items", "Names or types do not fit"),
        ("SELECT * FROM read_text('/etc/hostname')", "read\\_text() is not allowed"),
        ("DROP TABLE items", "Only a SELECT is run here"),
        ("SELECT 1; SELECT 2", "One SELECT at a time"),
    ],
)
def test_errors_in_plain_words(sql: str, words: str, open_page: Open, workspace: Path) -> None:
    page = settled(open_page("data", workspace, sql=sql))
    assert words.replace("\\", "") in page.error[0].value.replace("\\", "")
    assert "Traceback" not in page.error[0].value


@pytest.mark.usefixtures("allowing")
def test_limits_and_cancel(open_page: Open, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = Locked(Limits(seconds=60, rows=7))
    monkeypatch.setattr(console, "place", lambda: small)
    page = settled(open_page("data", workspace, sql="SELECT item_id FROM items"))
    assert len(answer(page)) == 7
    assert any("Cut off at 7 rows" in e.value for e in page.warning)
    page = open_page("data", workspace, sql="SELECT count(*) AS n FROM range(1000000000000)")
    assert any("At work" in str(e.value) for e in page.markdown)
    page = page.button(key="cancel-sql").click().run()
    page = settled(page)
    assert any("It was cancelled" in e.value for e in page.error)
    quick = Locked(Limits(seconds=2))
    monkeypatch.setattr(console, "place", lambda: quick)
    page = settled(open_page("data", workspace, sql="SELECT count(*) AS n FROM range(999999999999)"))
    assert any("stopped after 2 seconds" in e.value for e in page.error)


@pytest.mark.usefixtures("allowing")
def test_the_export_holds_the_rows_and_the_sql(
    open_page: Open, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, object] = {}
    monkeypatch.setattr(
        "app.components.figure.download", lambda title, data, **told: made.update({title: (data, told)})
    )
    settled(open_page("data", workspace, sql="SELECT title\nFROM items ORDER BY item_id"))
    rows, told = made["Answer"]  # type: ignore[misc]
    assert len(rows) == N
    assert told["filters"] == {"sql": "SELECT title FROM items ORDER BY item_id"}


@pytest.mark.usefixtures("allowing")
def test_the_schema_is_browsed(open_page: Open, workspace: Path, cursor: duckdb.DuckDBPyConnection) -> None:
    page = open_page("data", workspace)
    page.session_state["schema"] = True
    page.run()
    (shown,) = (f.value for f in page.dataframe if "meaning" in f.value.columns)
    (n,) = cursor.execute("SELECT count(*) FROM duckdb_columns() WHERE NOT internal").fetchone() or (0,)
    assert len(shown) == n
    page = page.selectbox(key="schema-table").select("loss_ledger").run()
    (shown,) = (f.value for f in page.dataframe if "meaning" in f.value.columns)
    assert set(shown["table"]) == {"loss_ledger"}
    assert any("is it on page one" in str(e.value) for e in page.markdown)


@pytest.mark.usefixtures("allowing")
def test_pages_stay_as_they_are(open_page: Open, workspace: Path) -> None:
    """What the console locks is its own: the connection that the pages share is not locked by it."""
    page = settled(open_page("data", workspace, sql="SELECT 1 AS n"))
    assert answer(page) == [{"n": 1}]
    with fetch.handles().cursor(workspace, SNAPSHOT) as cursor:
        assert cursor.execute("SELECT current_setting('lock_configuration')").fetchone() == (False,)
        assert cursor.execute("SELECT count(*) FROM items").fetchone() == (N,)
